"""Health checks: each within its time, together, the worst decides."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.health import Check, Health, Result, disk_check


async def good() -> Result:
    return Result("healthy", "fine")


async def bad() -> Result:
    return Result("unhealthy", "gone")


async def broken() -> Result:
    raise RuntimeError("secret details")


async def stuck() -> Result:
    await asyncio.Event().wait()
    return Result("healthy")


def statuses(*checks: Check) -> tuple[str, dict[str, Result]]:
    async def run() -> tuple[str, dict[str, Result]]:
        health = Health(checks)
        return await health.status(), await health.results()

    return asyncio.run(run())


def test_all_good_is_healthy() -> None:
    assert statuses(Check("a", good), Check("b", good, critical=True))[0] == "healthy"


def test_a_critical_check_makes_it_unhealthy_and_another_one_degraded() -> None:
    assert statuses(Check("a", bad, critical=True), Check("b", good))[0] == "unhealthy"
    status, results = statuses(Check("a", bad), Check("b", good, critical=True))
    assert status == "degraded"
    assert results["a"] == Result("degraded", "gone")


def test_a_check_that_hangs_or_breaks_counts_as_bad_and_tells_no_details() -> None:
    status, results = statuses(Check("a", stuck, critical=True, timeout_s=0.01), Check("b", broken))
    assert status == "unhealthy"
    assert results["a"].message == "no answer within 0.01 s"
    assert results["b"] == Result("degraded", "RuntimeError")


def test_checks_run_once_for_all_who_ask_within_a_moment() -> None:
    runs = []
    now = [0.0]

    async def counted() -> Result:
        runs.append(now[0])
        await asyncio.sleep(0)
        return Result("healthy")

    async def run() -> None:
        health = Health([Check("a", counted)], clock=lambda: now[0])
        await asyncio.gather(*(health.status() for _ in range(20)))
        assert len(runs) == 1
        now[0] += 0.9
        await health.status()
        assert len(runs) == 1
        now[0] += 0.2
        await health.status()
        assert len(runs) == 2

    asyncio.run(run())


def test_the_disk_of_the_data_is_looked_at(tmp_path: Path) -> None:
    result = asyncio.run(disk_check(tmp_path)())
    assert "MiB free" in result.message


def test_what_another_process_says_is_told_too_and_the_worse_of_two_answers() -> None:
    async def run() -> tuple[str, dict[str, Result]]:
        health = Health([Check("a", good), Check("b", bad)])

        async def told() -> dict[str, Result]:
            return {"a": Result("unhealthy", "there"), "b": Result("healthy"), "c": Result("not_configured"), "d": Result("unhealthy", "gone")}

        health.add_group("other", told)
        health.add_group("broken", broken)  # type: ignore[arg-type]
        return await health.status(), await health.results()

    status, results = asyncio.run(run())
    assert status == "degraded"  # another process's faults are critical there, not here
    assert results == {
        "a": Result("degraded", "there"), "b": Result("degraded", "gone"), "c": Result("not_configured"), "d": Result("degraded", "gone"),
        "broken": Result("degraded", "RuntimeError"),
    }
