"""Alerts on a real PostgreSQL: counted until resolved, announced by one, delivered under a lease."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from app.restarts import store_alert
from domain.alerts import AlertStatus, Occasion, Routed, Severity, StoredAlert
from domain.journal import AlertNote
from storage.alerts import AlertNews, AlertQueue, AlertReads
from storage.database import Database, database_pool
from tests.support.eventually import WAIT_S_MAX
from tests.support.markets import market_id

WINDOWS: dict[Severity, float | None] = {
    Severity.CRITICAL: 900.0,
    Severity.HIGH: 3600.0,
    Severity.MEDIUM: 86400.0,
    Severity.LOW: None,
}


class Desk:
    """One database, looked at by operators and by the delivery process; `now_s` starts at the server's own time."""

    def __init__(self, database: Database, now_s: float) -> None:
        self.queue, self.reads, self.now_s = AlertQueue(database), AlertReads(database), now_s

    async def raise_(self, key: str = "k", severity: str = "HIGH", kind: str = "kind", **data: str) -> None:
        await self.queue.raise_alert(AlertNote(kind, severity, key, market_id(), data))

    async def all(self) -> list[StoredAlert]:
        return list(await self.reads.list(None, None, None, None, 100))

    async def route(self, *sinks: str) -> list[StoredAlert]:
        """Announce whatever has to be announced to these sinks."""
        alerts = await self.queue.to_announce(WINDOWS, self.now_s, 100)
        told = await self.queue.announce([Routed(alert, sinks) for alert in alerts], self.now_s)
        return [alert for alert in alerts if alert.number in told]


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    database = await database_pool(database_url, 4)
    await AlertQueue(database).raise_alert(AlertNote("start", "LOW", "start", None, {}))
    (first,) = await AlertReads(database).list(None, None, None, None, 1)
    desk = Desk(database, first.created_at.timestamp() + 1)
    await desk.reads.resolve(first.alert_id, desk.now_s)
    yield desk
    await database.close()


async def test_whoever_holds_no_connection_stores_an_alert_by_one_of_its_own(desk: Desk, database_url: str) -> None:
    for _ in range(2):
        await store_alert(database_url, AlertNote("role_restarting", "HIGH", "r", None, {"role": "grpc"}))
    newest, _ = await desk.all()
    assert (newest.alert_type, newest.occurrences, newest.data) == ("role_restarting", 2, {"role": "grpc"})


async def test_an_alert_counts_up_until_it_is_resolved_and_shows_the_newest_facts(desk: Desk) -> None:
    await desk.raise_(seen="1")
    await desk.raise_(seen="2")
    newest, _ = await desk.all()
    assert (newest.occurrences, newest.data, newest.status) == (2, {"seen": "2"}, AlertStatus.OPEN)
    acknowledged = await desk.reads.acknowledge(newest.alert_id, desk.now_s)
    assert acknowledged is not None
    assert acknowledged.status is AlertStatus.ACKNOWLEDGED
    await desk.raise_(seen="3")
    newest, _ = await desk.all()
    assert (newest.occurrences, newest.status) == (3, AlertStatus.ACKNOWLEDGED)
    await desk.reads.resolve(newest.alert_id, desk.now_s)
    await desk.raise_(seen="4")
    again, before, _ = await desk.all()
    assert [(a.occurrences, a.status) for a in (again, before)] == [(1, AlertStatus.OPEN), (3, AlertStatus.RESOLVED)]


async def test_an_alert_raised_by_many_at_once_is_one(desk: Desk) -> None:
    await asyncio.gather(*(desk.raise_(f"key {number % 2}") for number in range(12)))
    assert [alert.occurrences for alert in await desk.all()][:2] == [6, 6]


async def test_acknowledging_and_resolving_twice_is_the_same_as_once(desk: Desk) -> None:
    await desk.raise_()
    alert_id = (await desk.all())[0].alert_id
    first = await desk.reads.acknowledge(alert_id, desk.now_s)
    assert await desk.reads.acknowledge(alert_id, desk.now_s + 60) == first
    resolved = await desk.reads.resolve(alert_id, desk.now_s + 60)
    assert await desk.reads.resolve(alert_id, desk.now_s + 90) == resolved
    assert resolved is not None
    assert first is not None
    assert resolved.acknowledged_at == first.acknowledged_at
    assert await desk.reads.resolve(str(uuid.uuid4()), desk.now_s) is None


async def test_lists_are_by_severity_status_and_market_newest_first(desk: Desk) -> None:
    for number, severity in enumerate(["LOW", "HIGH", "LOW", "CRITICAL"]):
        await desk.raise_(str(number), severity)
    everything = await desk.all()
    assert [alert.dedupe_key for alert in everything] == ["3", "2", "1", "0", "start"]
    low = await desk.reads.list(Severity.LOW, AlertStatus.OPEN, market_id(), None, 100)
    assert [alert.dedupe_key for alert in low] == ["2", "0"]
    older = await desk.reads.list(Severity.LOW, None, None, low[0].number, 100)
    assert [alert.dedupe_key for alert in older] == ["0", "start"]
    assert await desk.reads.list(None, None, market_id(2), None, 100) == []


async def test_an_alert_is_announced_once_by_one_and_again_after_its_window_if_it_went_on(desk: Desk) -> None:
    await desk.raise_()
    both = await asyncio.gather(desk.route("a"), desk.route("b"))
    assert sorted(len(told) for told in both) == [0, 1]
    await desk.raise_()
    desk.now_s += 3599
    assert await desk.route("a") == []
    desk.now_s += 1
    (reminded,) = await desk.route("a")
    assert (reminded.occasion, reminded.occurrences) == (Occasion.REMINDER, 2)
    desk.now_s += 86400
    assert await desk.route("a") == [], "it did not go on"


async def test_a_severity_without_a_window_is_announced_once(desk: Desk) -> None:
    await desk.raise_(severity="LOW")
    assert len(await desk.route("a")) == 1
    await desk.raise_(severity="LOW")
    desk.now_s += 10**7
    assert await desk.route("a") == []


async def test_acknowledging_ends_reminders_and_the_end_is_announced_once(desk: Desk) -> None:
    await desk.raise_()
    await desk.route("a")
    await desk.raise_()
    alert_id = (await desk.all())[0].alert_id
    await desk.reads.acknowledge(alert_id, desk.now_s)
    desk.now_s += 10**6
    assert await desk.route("a") == []
    await desk.reads.resolve(alert_id, desk.now_s)
    assert [alert.occasion for alert in await desk.route("a")] == [Occasion.RESOLVED]
    assert await desk.route("a") == []


async def test_what_ended_before_anybody_was_told_is_not_announced(desk: Desk) -> None:
    await desk.raise_()
    await desk.queue.resolve_key("k", desk.now_s)
    assert await desk.route("a") == []


async def test_a_delivery_is_held_by_one_and_comes_back_when_its_holder_dies(desk: Desk) -> None:
    await desk.raise_()
    await desk.route("a", "b")
    assert await desk.queue.due_sinks(desk.now_s) == {"a", "b"}
    claims = await asyncio.gather(*(desk.queue.claim("a", desk.now_s, 10, 60.0) for _ in range(4)))
    assert sorted(len(claim) for claim in claims) == [0, 0, 0, 1]
    assert await desk.queue.due_sinks(desk.now_s) == {"b"}
    (again,) = await desk.queue.claim("a", desk.now_s + 60, 10, 60.0)
    assert again.attempts == 2
    await desk.queue.mark_sent([again], desk.now_s + 61)
    assert await desk.queue.due_sinks(desk.now_s + 1000) == {"b"}


async def test_a_failed_delivery_waits_and_is_given_up_in_the_end(desk: Desk) -> None:
    await desk.raise_()
    await desk.route("a")
    claimed = await desk.queue.claim("a", desk.now_s, 10, 60.0)
    await desk.queue.mark_failed(claimed, "answered 500\0", desk.now_s + 30)
    assert await desk.queue.due_sinks(desk.now_s + 29) == frozenset()
    assert await desk.queue.due_sinks(desk.now_s + 30) == {"a"}
    assert await desk.queue.give_up(desk.now_s, desk.now_s + 30) == []
    assert await desk.queue.give_up(desk.now_s + 1, desk.now_s + 30) == ["a"]
    (state,) = (await desk.all())[0].deliveries
    assert (state.sink, state.status, state.attempts, state.last_error) == ("a", "given_up", 1, "answered 500")
    await desk.queue.prune(desk.now_s + 31)
    assert (await desk.all())[0].deliveries == ()


async def test_whoever_listens_is_woken_by_an_alert_and_by_its_end(desk: Desk, database_url: str) -> None:
    news = AlertNews(database_url)
    await news.wait(0)  # connects
    async with asyncio.timeout(WAIT_S_MAX):
        await desk.raise_()
        await news.wait(600)
        await desk.queue.resolve_key("k", desk.now_s)
        await news.wait(600)
    await news.close()
