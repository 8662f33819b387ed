"""Plans, and what is left of them today: exact counts in the store, a day from midnight to midnight UTC.

An analysis that is accepted counts; one that fails, whoever is to blame, is given back. A team's members share its limit on top
of their own.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

import msgspec

from api.auth import NoApiAccess, Principal
from api.errors import QuotaSpent

log = logging.getLogger("trunkline.plans")

DAY_S: Final = 86_400
SEEN_MAX: Final = 4096


class Plan(msgspec.Struct, frozen=True):
    """Analyses a day for each user, and for a whole team when that has a limit of its own."""

    name: str
    calls_per_day: int
    calls_per_day_team: int | None = None
    api_access: bool = True


PLANS: Final = (
    Plan("free", 100, api_access=False),
    Plan("pro", 100),
    Plan("teams", 100, 300),
    Plan("self-hosted", 1_000_000),
)


class Plans:
    """The plans of a server, by name."""

    def __init__(self, plans: Mapping[str, Plan] | None = None, *, default: str = "self-hosted") -> None:
        """`default` is the plan of callers that have none. Raises ValueError for a plan under another's name, a limit below 1 and a
        default that is no plan."""
        self._plans = dict(plans) if plans is not None else {plan.name: plan for plan in PLANS}
        for name, plan in self._plans.items():
            if name != plan.name:
                raise ValueError(f"plan {name} is called {plan.name}")
            if plan.calls_per_day < 1 or (plan.calls_per_day_team is not None and plan.calls_per_day_team < 1):
                raise ValueError(f"plan {name}: limits must be above 0")
        if default not in self._plans:
            raise ValueError(f"the default plan {default} is no plan")
        self._plans[""] = self._plans[default]

    def known(self, name: str) -> bool:
        """Whether there is a plan of that name; "" is the default one."""
        return name in self._plans

    def of(self, principal: Principal) -> Plan:
        """The caller's plan. Raises NoApiAccess for one this server does not know."""
        plan = self._plans.get(principal.plan)
        if plan is None:
            raise NoApiAccess(f"This server has no plan {principal.plan}")
        return plan

    def admit(self, principal: Principal) -> None:
        """Raises NoApiAccess for a plan without the API."""
        plan = self.of(principal)
        if not plan.api_access:
            raise NoApiAccess(f"The plan {plan.name} does not include API access")


class Taken(Protocol):
    """What the store says to a wish: whether it was granted, and the counts after it."""

    @property
    def granted(self) -> bool: ...

    @property
    def owner_used(self) -> int: ...

    @property
    def team_used(self) -> int: ...


class QuotaStore(Protocol):
    """What is needed of the store of counts. `take` is atomic over all processes."""

    async def take(
        self, day: int, owner: str, owner_limit: int, team: str | None, team_limit: int | None, amount: int = 1
    ) -> Taken: ...

    async def used(self, day: int, owner: str, team: str | None) -> tuple[int, int]: ...

    async def give_back(self, day: int, owner: str, team: str | None) -> None: ...


class Usage(msgspec.Struct, frozen=True):
    """Today's analyses of a user. `remaining` heeds the team's limit too; `day` counts from 1970, `resets_at` is the midnight after
    it in seconds."""

    plan: str
    used: int
    remaining: int
    limit: int
    day: int

    @property
    def resets_at(self) -> int:
        """The next midnight UTC, in seconds since 1970."""
        return (self.day + 1) * DAY_S


def headers(usage: Usage) -> dict[str, str]:
    """The X-RateLimit headers."""
    return {
        "X-RateLimit-Limit": str(usage.limit),
        "X-RateLimit-Remaining": str(usage.remaining),
        "X-RateLimit-Reset": str(usage.resets_at),
    }


class Budget:
    """Takes analyses from the daily budget."""

    def __init__(self, quotas: QuotaStore, plans: Plans, clock: Callable[[], float] = time.time, fresh_s: float = 1.0) -> None:
        """`fresh_s` is how old the counts may be that `usage` tells, which only other processes make differ."""
        self._quotas = quotas
        self._plans = plans
        self._clock = clock
        self._fresh_s = fresh_s
        self._seen: OrderedDict[tuple[str, str | None, str], tuple[float, Usage]] = OrderedDict()

    def _today(self) -> int:
        return int(self._clock() // DAY_S)

    async def take(self, principal: Principal) -> Usage:
        """Counts one analysis. Raises QuotaSpent (429) when the user or the team has none left, NoApiAccess (403)."""
        plan = self._plans.of(principal)
        self._plans.admit(principal)
        day = self._today()
        team, team_limit = _pool(plan, principal)
        taken = await self._quotas.take(day, principal.owner, plan.calls_per_day, team, team_limit)
        usage = self._tell(principal, plan, day, taken.owner_used, taken.team_used)
        if not taken.granted:
            raise self._spent(plan, usage)
        return usage

    async def give_back(self, principal: Principal, usage: Usage) -> None:
        """Uncounts an analysis, on the day it was taken."""
        plan = self._plans.of(principal)
        team, _ = _pool(plan, principal)
        self._seen.pop(_who(principal), None)
        await self._quotas.give_back(usage.day, principal.owner, team)

    @asynccontextmanager
    async def spend(self, principal: Principal) -> AsyncIterator[Usage]:
        """Takes one analysis for the length of the block, and gives it back when the block fails. A caller who hangs up has spent
        it. Raises as `take` does."""
        usage = await self.take(principal)
        try:
            yield usage
        except Exception:
            try:
                await self.give_back(principal, usage)
            except Exception as error:
                log.warning("an analysis could not be given back: %s", error)
            raise

    async def usage(self, principal: Principal) -> Usage:
        """What is spent and left, from memory when that is at most `fresh_s` old."""
        plan, day = self._plans.of(principal), self._today()
        told_at, usage = self._seen.get(_who(principal), (-math.inf, None))
        if usage is not None and usage.day == day and 0 <= self._clock() - told_at <= self._fresh_s:
            return usage
        team, _ = _pool(plan, principal)
        return self._tell(principal, plan, day, *await self._quotas.used(day, principal.owner, team))

    def _tell(self, principal: Principal, plan: Plan, day: int, owner_used: int, team_used: int) -> Usage:
        left = plan.calls_per_day - owner_used
        _, team_limit = _pool(plan, principal)
        if team_limit is not None:
            left = min(left, team_limit - team_used)
        usage = Usage(plan.name, owner_used, max(0, left), plan.calls_per_day, day)
        self._seen[_who(principal)] = (self._clock(), usage)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return usage

    def _spent(self, plan: Plan, usage: Usage) -> QuotaSpent:
        whose = f"{plan.calls_per_day:,} requests a day"
        if usage.used < plan.calls_per_day:
            whose = f"{plan.calls_per_day_team:,} requests a day of the team"
        wait_s = max(1, math.ceil(usage.resets_at - self._clock()))
        return QuotaSpent(f"Rate limit of {whose} exceeded", {"Retry-After": str(wait_s), **headers(usage)})


def _who(principal: Principal) -> tuple[str, str | None, str]:
    return principal.owner, principal.team, principal.plan


def _pool(plan: Plan, principal: Principal) -> tuple[str | None, int | None]:
    """The team that shares a limit and the limit; nothing when the plan pools nothing."""
    if principal.team is None or plan.calls_per_day_team is None:
        return None, None
    return principal.team, plan.calls_per_day_team


__all__ = ["DAY_S", "PLANS", "Budget", "Plan", "Plans", "QuotaStore", "Taken", "Usage", "headers"]
