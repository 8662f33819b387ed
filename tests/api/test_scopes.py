"""Scopes and roles, and that a route which says nothing is closed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Controller, Litestar, Router, WebSocket, asgi, get, route, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient
from litestar.types import ASGIApp, Receive, Scope, Send

from api.auth import ANONYMOUS, Forbidden, Principal, local_principal
from api.errors import ApiError, on_api_error
from api.scopes import (
    ADMIN,
    ALL,
    PUBLIC,
    ROLES,
    SCOPES,
    Roles,
    beyond,
    granted,
    guard,
    known,
    requires,
    undeclared,
)

SEED_NAMES = {
    "calls.transcription.read", "calls.transcription.write", "calls.summary.read", "calls.summary.write", "settings.read",
    "settings.write",
}  # fmt: skip


def test_every_scope_has_a_name_in_the_one_form_and_a_sentence() -> None:
    for name, sentence in SCOPES.items():
        assert name == ADMIN or re.fullmatch(r"[a-z]+(\.[a-z]+){1,2}", name), name
        assert sentence[0].isupper() and sentence.endswith("."), name


def test_the_documented_names_are_there() -> None:
    assert SEED_NAMES <= ALL


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        SCOPES["calls.read"] = "x"  # type: ignore[index]


def test_requires_takes_known_names_only() -> None:
    assert requires("calls.read", "calls.delete") == {"calls.read", "calls.delete"}
    with pytest.raises(ValueError, match=r"calls\.raed"):
        requires("calls.raed")
    with pytest.raises(ValueError, match="PUBLIC"):
        requires()


def test_admin_is_everything_and_strangers_are_nothing() -> None:
    assert granted(["admin"]) == ALL
    assert granted(["calls.read", "calls.fly", "Admin", "admin "]) == {"calls.read"}
    with pytest.raises(ValueError, match=r"calls\.fly"):
        known(["calls.read", "calls.fly"])


def test_nobody_passes_on_more_than_he_has() -> None:
    held = granted(["keys.write", "calls.read"])
    assert beyond(["calls.read"], held) == PUBLIC
    assert beyond(["calls.read", "calls.delete"], held) == {"calls.delete"}
    assert beyond(["admin"], held) == ALL - held
    assert beyond(["admin"], ALL) == PUBLIC
    with pytest.raises(ValueError, match=r"nothing\.here"):
        beyond(["nothing.here"], ALL)


def test_roles_grow_from_viewer_to_admin() -> None:
    viewer, analyst, operator, admin = (granted(ROLES[name]) for name in ("viewer", "analyst", "operator", "admin"))
    assert viewer < analyst < operator < admin == ALL
    assert "calls.dial" not in analyst and "traces.raw.read" not in viewer
    for name, scopes in ROLES.items():
        assert known(scopes) == scopes, name
    assert not {"keys.write", "audit.read", "compliance.erase"} & operator


def test_roles_can_be_configured() -> None:
    roles = Roles({"billing": ["calls.read"], "viewer": ["status.read"]})
    assert roles.scopes(["billing", "viewer"]) == {"calls.read", "status.read"}
    assert roles.scopes(["nobody", ""]) == PUBLIC
    assert roles.scopes(["admin"]) == {ADMIN}
    assert "billing" in roles.names and "operator" in roles.names
    assert Roles().scopes(["viewer"]) == ROLES["viewer"]
    with pytest.raises(ValueError, match=r"billing.*calls\.eat"):
        Roles({"billing": ["calls.eat"]})


# ---- routes ----


@get("/health", opt={"scopes": PUBLIC})
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@get("/calls", opt={"scopes": requires("calls.read")})
async def calls() -> list[int]:
    return [1]


@get("/erase", opt={"scopes": requires("calls.read", "compliance.erase")})
async def erase() -> list[int]:
    return []


@get("/silent")
async def silent() -> str:
    return "told nobody"


@get("/text", opt={"scopes": "calls.read"})
async def text() -> str:
    return "a text is no set"


@get("/unknown", opt={"scopes": frozenset({"calls.raed"})})
async def unknown() -> str:
    return "no such scope"


@route("/both", http_method=["POST", "PUT"])
async def both() -> None:
    return None


@websocket("/live")
async def live(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()


@asgi("/mounted", is_mount=True, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("never called")


class Kept(Controller):
    path = "/kept"
    opt = {"scopes": requires("recordings.read")}  # noqa: RUF012

    @get()
    async def listed(self) -> list[int]:
        return [7]

    @get("/silent", opt={"scopes": None})
    async def taken_back(self) -> list[int]:
        return []


def test_routes_that_say_nothing_are_named() -> None:
    inner = Router("/v1", route_handlers=[silent, calls])
    app = Litestar([health, calls, inner, text, unknown, both, live, mounted, Kept], openapi_config=None)
    assert undeclared(app) == [
        "ASGI /mounted", "GET /kept/silent", "GET /text", "GET /unknown", "GET /v1/silent", "POST /both", "PUT /both",
        "WEBSOCKET /live",
    ]  # fmt: skip


def test_an_application_that_says_everything_has_none() -> None:
    assert undeclared(Litestar([health, calls], openapi_config=None)) == []


# ---- the guard ----


def as_caller(principal: Principal | None) -> Any:
    def middleware(app: ASGIApp) -> ASGIApp:
        async def called(scope: Scope, receive: Receive, send: Send) -> None:
            if principal is not None:
                scope["principal"] = principal  # type: ignore[typeddict-unknown-key]
            await app(scope, receive, send)

        return called

    return middleware


def guarded(principal: Principal | None) -> TestClient[Litestar]:
    app = Litestar(
        [health, calls, erase, silent, text, Kept, live],
        guards=[guard],
        middleware=[as_caller(principal)],
        exception_handlers={ApiError: on_api_error},
        openapi_config=None,
    )
    return TestClient(app)


def holding(*scopes: str) -> Principal:
    return Principal(owner="ada", kind="key", scopes=granted(scopes))


@pytest.fixture
def reader() -> Iterator[TestClient[Litestar]]:
    with guarded(holding("calls.read")) as client:
        yield client


def test_who_holds_what_is_needed_passes(reader: TestClient[Litestar]) -> None:
    assert reader.get("/calls").json() == [1]
    assert reader.get("/health").json() == {"status": "healthy"}


def test_who_lacks_a_scope_is_told_which(reader: TestClient[Litestar]) -> None:
    answer = reader.get("/erase")
    assert answer.status_code == 403
    assert answer.json()["code"] == "auth.forbidden"
    assert "missing: compliance.erase" in answer.json()["error"]
    assert answer.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="calls.read compliance.erase"')
    assert reader.get("/kept").status_code == 403


@pytest.mark.parametrize("path", ["/silent", "/text", "/kept/silent"])
def test_a_route_that_says_nothing_is_closed_even_to_admins(path: str) -> None:
    with guarded(local_principal()) as client:
        assert client.get(path).status_code == 403
        assert client.get("/erase").status_code == 200
        assert client.get("/kept").json() == [7]


def test_without_anybody_only_public_routes_answer() -> None:
    for nobody in (None, ANONYMOUS):
        with guarded(nobody) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/calls").status_code == 403


def test_options_tell_methods_to_anybody() -> None:
    with guarded(None) as client:
        answer = client.options("/calls")
        assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, OPTIONS")


def test_the_guard_closes_websockets_too() -> None:
    with guarded(local_principal()) as client, pytest.raises(WebSocketDisconnect), client.websocket_connect("/live"):
        pass


def test_demands() -> None:
    caller = holding("calls.read", "status.read")
    caller.demand(PUBLIC)
    caller.demand(requires("calls.read"))
    assert caller.may("calls.read") and not caller.may("calls.write")
    with pytest.raises(Forbidden):
        caller.demand(requires("calls.read", "calls.write"))
