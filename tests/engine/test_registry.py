"""Finding the members of a plug-in folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine import registry


class Part:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "parts_on_trial"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("raise AssertionError('base is no member')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "parts_contract", type(sys)("parts_contract"))
    sys.modules["parts_contract"].Part = Part  # type: ignore[attr-defined]
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "parts_on_trial"]:
        del sys.modules[name]


def member(folder: Path, module: str, name: str) -> None:
    (folder / f"{module}.py").write_text(f"from parts_contract import Part\nPART = Part({name!r})\n")


def test_members_come_in_the_order_of_their_files_and_cannot_be_changed(folder):
    for module in ("zeta", "alpha", "mid"):
        member(folder, module, module.upper())
    found = registry.load("parts_on_trial", "PART", Part)
    assert list(found) == ["ALPHA", "MID", "ZETA"]
    with pytest.raises(TypeError):
        found["new"] = Part("new")  # type: ignore[index]


def test_two_of_one_name_are_refused(folder):
    member(folder, "one", "same")
    member(folder, "two", "same")
    with pytest.raises(ValueError, match=r"two.PART: 'same' is taken"):
        registry.load("parts_on_trial", "PART", Part)


def test_a_module_without_its_member_is_refused(folder):
    (folder / "empty.py").write_text("")
    with pytest.raises(TypeError, match=r"empty.PART is no Part"):
        registry.load("parts_on_trial", "PART", Part)
