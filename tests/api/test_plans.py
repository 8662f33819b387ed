"""Plans and daily budgets over the real store: exact under concurrency, pooled for teams, fresh at midnight UTC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from api.auth import NoApiAccess, Principal
from api.errors import ApiError, QuotaSpent, UnreadableTrace
from api.plans import DAY_S, PLANS, Budget, Plan, Plans, Usage, headers
from engine.store import Store

MIDNIGHT = 1_713_571_200.0  # 2024-04-20 00:00:00 UTC
NOON = MIDNIGHT - DAY_S / 2


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Watched:
    """The counts of the real store; reads are counted, and giving back can be cut off."""

    def __init__(self, quotas: Any) -> None:
        self.quotas = quotas
        self.reads = 0
        self.cut = False

    async def take(self, *wish: Any) -> Any:
        return await self.quotas.take(*wish)

    async def used(self, day: int, owner: str, team: str | None) -> tuple[int, int]:
        self.reads += 1
        counts: tuple[int, int] = await self.quotas.used(day, owner, team)
        return counts

    async def give_back(self, day: int, owner: str, team: str | None) -> None:
        if self.cut:
            raise ConnectionError("cut off")
        await self.quotas.give_back(day, owner, team)


class Bench:
    def __init__(self, quotas: Any, plans: Plans) -> None:
        self.clock = Clock()
        self.watched = Watched(quotas)
        self.plans = plans
        self.budget = self.another()

    def another(self) -> Budget:
        """The budget as another process has it."""
        return Budget(self.watched, self.plans, self.clock)


def over_store(tmp_path: Path, body: Callable[[Bench], Awaitable[None]], *plans: Plan) -> None:
    async def run() -> None:
        store = await Store.open(f"sqlite:///{tmp_path}/quotas.db", create=True)
        try:
            named = {plan.name: plan for plan in plans or PLANS}
            await body(Bench(store.quotas, Plans(named, default=next(iter(named)))))
        finally:
            await store.close()

    asyncio.run(run())


def user(owner: str = "ada", team: str | None = None, plan: str = "pro") -> Principal:
    return Principal(owner=owner, kind="key", team=team, plan=plan)


async def takes(budgets: list[Budget], principals: list[Principal], times: int) -> int:
    """How many of `times` takers were granted, all at once."""

    async def one(number: int) -> bool:
        try:
            await budgets[number % len(budgets)].take(principals[number % len(principals)])
        except QuotaSpent:
            return False
        return True

    return sum(await asyncio.gather(*(one(number) for number in range(times))))


# ---- plans ----


def test_the_documented_plans() -> None:
    plans = Plans()
    assert plans.of(user(plan="pro")) == Plan("pro", 100)
    assert plans.of(user(plan="teams")) == Plan("teams", 100, 300)
    assert plans.of(user(plan="")).name == "self-hosted"
    plans.admit(user(plan="pro"))


def test_plans_without_access_and_unknown_plans_are_refused() -> None:
    for plan in ("free", "gold", "Pro"):
        with pytest.raises(NoApiAccess) as refused:
            Plans().admit(user(plan=plan))
        assert (refused.value.status, refused.value.code) == (403, "plan.no_api_access")


def test_plans_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="default"):
        Plans({"pro": Plan("pro", 100)}, default="gold")
    with pytest.raises(ValueError, match="above 0"):
        Plans({"pro": Plan("pro", 0)}, default="pro")
    with pytest.raises(ValueError, match="above 0"):
        Plans({"pro": Plan("pro", 1, 0)}, default="pro")
    with pytest.raises(ValueError, match="is called"):
        Plans({"gold": Plan("pro", 1)}, default="gold")


# ---- one user ----


def test_taking_counts_down(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        first, second = await bench.budget.take(user()), await bench.budget.take(user())
        assert first == Usage("pro", used=1, remaining=99, limit=100, day=int(NOON) // DAY_S)
        assert (second.used, second.remaining, second.resets_at) == (2, 98, int(MIDNIGHT))
        assert headers(second) == {
            "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "98", "X-RateLimit-Reset": "1713571200",
        }  # fmt: skip
        assert (await bench.budget.take(user("bob"))).used == 1

    over_store(tmp_path, body)


def test_a_spent_budget_is_refused_with_everything_the_contract_names(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        for _ in range(3):
            await bench.budget.take(user(plan="tiny"))
        for _ in range(2):
            with pytest.raises(QuotaSpent) as spent:
                await bench.budget.take(user(plan="tiny"))
            assert (spent.value.status, spent.value.code) == (429, "rate.limited")
            assert str(spent.value) == "Rate limit of 3 requests a day exceeded"
            assert spent.value.headers == {
                "Retry-After": str(DAY_S // 2), "X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "1713571200",
            }  # fmt: skip
        assert (await bench.another().usage(user(plan="tiny"))).used == 3

    over_store(tmp_path, body, Plan("tiny", 3))


def test_plans_without_access_take_nothing(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        with pytest.raises(NoApiAccess):
            await bench.budget.take(user(plan="free"))
        assert (await bench.budget.usage(user(plan="free"))).used == 0

    over_store(tmp_path, body)


# ---- concurrency ----


def test_64_takers_of_one_budget_get_exactly_its_size(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        elsewhere = await Store.open(f"sqlite:///{tmp_path}/quotas.db")
        try:
            budgets = [bench.budget, bench.another(), Budget(elsewhere.quotas, bench.plans, bench.clock)]
            assert await takes(budgets, [user()], 64) == 64
            assert await takes(budgets, [user()], 64) == 36
            assert await takes(budgets, [user()], 64) == 0
            assert (await bench.another().usage(user())).used == 100
        finally:
            await elsewhere.close()

    over_store(tmp_path, body)


def test_a_team_shares_exactly_its_pool(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        team = [user(f"member{number}", "blue", "teams") for number in range(8)]
        assert await takes([bench.budget, bench.another()], team, 448) == 300
        told = [await bench.another().usage(member) for member in team]
        assert sum(usage.used for usage in told) == 300
        assert all(usage.used <= 100 and usage.remaining == 0 and usage.limit == 100 for usage in told)

    over_store(tmp_path, body)


# ---- teams ----


def test_remaining_is_the_smaller_of_both(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        ada, bob, eve = (user(owner, "blue", "duo") for owner in ("ada", "bob", "eve"))
        assert (await bench.budget.take(ada)).remaining == 3
        assert (await bench.budget.take(bob)).remaining == 3
        assert (await bench.budget.take(bob)).remaining == 2
        assert (await bench.budget.take(eve)).remaining == 1
        told = await bench.budget.usage(ada)
        assert (told.used, told.limit) == (1, 4)
        assert (await bench.another().usage(ada)).remaining == 1
        assert (await bench.budget.take(eve)).remaining == 0
        with pytest.raises(QuotaSpent, match="5 requests a day of the team") as spent:
            await bench.budget.take(ada)
        assert spent.value.headers["X-RateLimit-Remaining"] == "0"
        assert (await bench.another().usage(ada)).used == 1
        assert (await bench.budget.take(user("ada", "red", "duo"))).used == 2

    over_store(tmp_path, body, Plan("duo", 4, 5))


def test_one_member_cannot_take_the_whole_pool(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        assert await takes([bench.budget], [user("ada", "blue", "duo")], 20) == 4
        assert (await bench.budget.take(user("bob", "blue", "duo"))).remaining == 0

    over_store(tmp_path, body, Plan("duo", 4, 5))


def test_teams_without_a_pool_and_callers_without_a_team(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        assert (await bench.budget.take(user("ada", "blue", "pro"))).remaining == 99
        assert (await bench.budget.take(user("bob", None, "teams"))).remaining == 99
        assert (await bench.budget.take(user("eve", "blue", "teams"))).remaining == 99

    over_store(tmp_path, body)


# ---- midnight ----


def test_the_budget_is_new_at_midnight(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        bench.clock.now = MIDNIGHT - 0.1
        assert await takes([bench.budget], [user(plan="tiny")], 10) == 3
        with pytest.raises(QuotaSpent) as spent:
            await bench.budget.take(user(plan="tiny"))
        assert spent.value.headers["Retry-After"] == "1"
        bench.clock.now = MIDNIGHT
        usage = await bench.budget.usage(user(plan="tiny"))
        assert (usage.used, usage.resets_at) == (0, MIDNIGHT + DAY_S)
        assert await takes([bench.budget], [user(plan="tiny")], 10) == 3

    over_store(tmp_path, body, Plan("tiny", 3))


def test_a_clock_that_steps_back_opens_no_used_day(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await takes([bench.budget], [user(plan="tiny")], 3)
        bench.clock.now = MIDNIGHT + 5
        await bench.budget.take(user(plan="tiny"))
        bench.clock.now = NOON
        with pytest.raises(QuotaSpent):
            await bench.budget.take(user(plan="tiny"))

    over_store(tmp_path, body, Plan("tiny", 3))


# ---- giving back ----


def test_what_fails_is_given_back(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        ada = user("ada", "blue", "teams")
        for failure in (UnreadableTrace("no SIP"), RuntimeError("broken"), MemoryError()):
            with pytest.raises(type(failure)):
                async with bench.budget.spend(ada) as usage:
                    assert usage.used == 1
                    raise failure
            assert (await bench.budget.usage(ada)).used == 0
        async with bench.budget.spend(ada):
            pass
        assert (await bench.another().usage(ada)).used == 1
        assert await bench.watched.used(int(NOON) // DAY_S, "ada", "blue") == (1, 1)

    over_store(tmp_path, body)


def test_who_hangs_up_has_spent_it(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        async def analysing() -> None:
            async with bench.budget.spend(user()):
                await asyncio.Event().wait()

        task = asyncio.create_task(analysing())
        while not (await bench.another().usage(user())).used:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await bench.another().usage(user())).used == 1

    over_store(tmp_path, body)


def test_giving_back_goes_to_the_day_of_the_taking(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        bench.clock.now = MIDNIGHT - 0.1
        with pytest.raises(UnreadableTrace):
            async with bench.budget.spend(user()):
                bench.clock.now = MIDNIGHT + 0.1
                await bench.budget.take(user())
                raise UnreadableTrace("no SIP")
        yesterday = int(NOON) // DAY_S
        assert await bench.watched.used(yesterday, "ada", None) == (0, 0)
        assert await bench.watched.used(yesterday + 1, "ada", None) == (1, 0)

    over_store(tmp_path, body)


def test_a_store_that_fails_hides_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(bench: Bench) -> None:
        bench.watched.cut = True
        with pytest.raises(ApiError, match="no SIP"):
            async with bench.budget.spend(user()):
                raise UnreadableTrace("no SIP")

    over_store(tmp_path, body)
    assert "could not be given back" in caplog.text


# ---- what is told ----


def test_usage_is_told_from_memory_for_a_second(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        other = bench.another()
        for _ in range(10):
            assert (await bench.budget.usage(user())).used == 0
        assert bench.watched.reads == 1
        await bench.budget.take(user())
        await other.take(user())
        assert (await bench.budget.usage(user())).used == 1
        assert bench.watched.reads == 1
        bench.clock.now += 1.1
        assert (await bench.budget.usage(user())).used == 2
        assert bench.watched.reads == 2

    over_store(tmp_path, body)


def test_usage_follows_a_plan_that_changes(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.budget.take(user())
        told = await bench.budget.usage(user(plan="self-hosted"))
        assert (told.plan, told.used, told.limit) == ("self-hosted", 1, 1_000_000)

    over_store(tmp_path, body)
