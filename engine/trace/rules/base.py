"""What a rule is: which rows it is about, and how a person is told.

A rule is a value. Its condition is sighted natively (`engine/_native/c/conditions_<category>.c`), or it is selected here
from whole columns; either way `select` gives rows without touching texts, and `explain` runs only for what is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from engine.trace.finding import Evidence

if TYPE_CHECKING:
    from engine.trace.tables import Tables

Rows = npt.NDArray[np.uint32]
NONE = 0xFFFFFFFF


class Hits(msgspec.Struct):
    """Selected rows, as equally long columns (uint32 rows, NONE where there is none; int64 values)."""

    call: Rows
    row: Rows
    other: Rows
    code: npt.NDArray[np.uint16]
    value: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.call)

    def take(self, index: Any) -> Hits:
        """The hits at an index array or a boolean mask."""
        return Hits(self.call[index], self.row[index], self.other[index], self.code[index], self.value[index])


def _constant(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


_BLANK = _constant(np.full(64, NONE, np.uint32))
_CODES = _constant(np.zeros(64, np.uint16))
_VALUES = _constant(np.zeros(64, np.int64))
_NO_ROWS = _constant(np.zeros(0, np.uint32))
NO_HITS = Hits(_NO_ROWS, _NO_ROWS, _NO_ROWS, np.zeros(0, np.uint16), np.zeros(0, np.int64))


class Hit(msgspec.Struct, gc=False):
    """One selected row: `call`, `row` and `other` are NONE where they do not apply."""

    call: int
    row: int
    other: int
    code: int
    value: int


class Explanation(msgspec.Struct, gc=False):
    """What a person reads about a hit.

    `detail` carries the actual values. `evidence` may be empty: the runner then cites the hit's own row.
    `severity`, `confidence`, `title` and `recommendation` override the rule's where this hit deserves another.
    """

    detail: str
    evidence: list[Evidence] = []
    severity: str | None = None
    confidence: float | None = None
    title: str | None = None
    recommendation: str | None = None


class Rule(msgspec.Struct, frozen=True):
    """One diagnostic rule.

    `id` is the public name, which is also the name of its native condition. `subject` says what `row` is of:
    "message", "transaction", "call", "stream", "media_line", "endpoint", "event" or "trace".
    `select` is None for the usual case: every native sighting of the condition. It takes the tables and must be
    vectorised (numpy over columns), returning Hits; rules with a `select` and `needs` non-empty run only when one
    of those conditions was sighted; rules with `select` and no `needs` run on every trace (on every one with rows in the table `over` names), so keep
    those few and cheap.
    `group` is "peers" (one finding a pair of hosts, the default), "source" (one a source host), "call" (one a call) or
    "trace" (one in all). `symptoms` are the context.issue words it explains. `recommendation` names the fix and
    the platform options (Asterisk PJSIP, FreeSWITCH, Kamailio).
    """

    id: str
    severity: str
    category: str
    title: str
    recommendation: str
    explain: Callable[[Tables, Hit], Explanation]
    rfc: str = ""
    confidence: float = 0.9
    subject: str = "message"
    needs: tuple[str, ...] = ()
    over: str = ""
    select: Callable[[Tables], Hits] | None = None
    group: str = "peers"
    symptoms: tuple[str, ...] = ()
    escalates: bool = True


def one_hit() -> Hits:
    """One hit that is about the whole trace."""
    nowhere = np.array((NONE,), np.uint32)
    return Hits(nowhere, nowhere, nowhere, np.zeros(1, np.uint16), np.zeros(1, np.int64))


def hits_of(
    call: npt.ArrayLike,
    row: npt.ArrayLike | None = None,
    other: npt.ArrayLike | None = None,
    code: npt.ArrayLike | None = None,
    value: npt.ArrayLike | None = None,
) -> Hits:
    """Hits from columns; what is left out is NONE or 0."""
    calls = np.asarray(call, dtype=np.uint32)
    count = len(calls)
    if not count:
        return NO_HITS
    few = count <= len(_BLANK)  # making arrays takes longer than everything else for a few hits
    blank = _BLANK[:count] if few else np.full(count, NONE, dtype=np.uint32)

    def column(given: npt.ArrayLike | None) -> Rows:
        return blank if given is None else np.asarray(given, dtype=np.uint32)

    return Hits(
        calls,
        column(row),
        column(other),
        (_CODES[:count] if few else np.zeros(count, np.uint16)) if code is None else np.asarray(code, dtype=np.uint16),
        (_VALUES[:count] if few else np.zeros(count, np.int64)) if value is None else np.asarray(value, dtype=np.int64),
    )
