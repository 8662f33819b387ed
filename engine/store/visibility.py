"""What somebody may see of a table whose rows have an owner and a team."""

from __future__ import annotations

import sqlalchemy as sa

from engine.store.rows import Owner


def visible(table: sa.Table, to: Owner | None) -> sa.ColumnElement[bool]:
    """The condition: theirs or their team's; everything for None, who is the server itself or an administrator."""
    if to is None:
        return sa.true()
    own = table.c.owner == to.owner
    return own if to.team is None else sa.or_(own, table.c.team == to.team)


__all__ = ["visible"]
