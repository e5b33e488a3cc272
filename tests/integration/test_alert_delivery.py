"""Alerts from rows to people: real PostgreSQL, real receivers, a clock moved by hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from alerts.delivery import DATABASE_DOWN, DATABASE_DOWN_S, LEASE_S
from alerts.retries import GIVE_UP_S, RATE_LIMITED_S_MIN, RETRY_S_MAX
from domain.alerts import AlertStatus
from tests.support.alert_desk import AlertDesk, alert_desk
from tests.support.eventually import eventually_async
from tests.support.postgres import PostgresServer
from tests.support.receivers import ROUTING_KEY, SLACK_SECRET, Mailbox, Receiver


@pytest.fixture
async def desk(database_url: str, secret_files: Path, receiver: Receiver, mailbox: Mailbox) -> AsyncIterator[AlertDesk]:
    async with alert_desk(database_url, secret_files, receiver, mailbox) as desk:
        yield desk


@pytest.fixture
def root_log() -> Iterator[list[str]]:
    """What the root logger's handlers get at DEBUG, but for what the receivers of the test say themselves."""
    lines: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.name.startswith(("aiohttp.", "mail.log")):
                lines.append(record.getMessage())

    root, keeper = logging.getLogger(), Keeper()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(keeper)
    yield lines
    root.removeHandler(keeper)
    root.setLevel(level)


def paths(receiver: Receiver) -> list[str]:
    """Where was posted to: `services` is Slack, `pager` PagerDuty."""
    return sorted(path.split("/")[1] for path, _, _ in receiver.posts)


async def test_a_critical_alert_reaches_slack_mail_and_the_pager(
    desk: AlertDesk, receiver: Receiver, mailbox: Mailbox
) -> None:
    await desk.raise_("state_transition_failure", action="manual_review_required")
    await desk.turn()
    assert paths(receiver) == ["pager", "services"]
    assert len(mailbox.letters) == 1
    assert await desk.states() == {"slack": ("sent", 1), "mail": ("sent", 1), "pager": ("sent", 1)}


async def test_a_high_alert_reaches_slack_only_and_a_medium_one_is_stored(
    desk: AlertDesk, receiver: Receiver, mailbox: Mailbox
) -> None:
    await desk.raise_("intent_failed", "HIGH")
    await desk.raise_("state_discrepancy", "MEDIUM")
    await desk.turn()
    (text,) = receiver.texts()
    assert text.startswith("HIGH: intent_failed")
    assert (len(mailbox.letters), await desk.states()) == (0, {})
    assert [alert.alert_type for alert in await desk.alerts()] == ["state_discrepancy", "intent_failed"]


async def test_a_stuck_market_is_medium_in_the_record_and_reaches_slack_by_rule(
    desk: AlertDesk, receiver: Receiver
) -> None:
    await desk.raise_("stuck_market", "MEDIUM", state="ACTIVE")
    await desk.turn()
    assert (await desk.alerts())[0].severity == "MEDIUM"
    (text,) = receiver.texts()
    assert text.startswith("MEDIUM: stuck_market")


async def test_an_alert_raised_again_is_told_once_until_its_window_has_passed(
    desk: AlertDesk, receiver: Receiver
) -> None:
    for _ in range(5):
        await desk.raise_("intent_failed", "HIGH")
        await desk.turn()
        desk.clock.s += 700
    assert len(receiver.posts) == 1
    desk.clock.s += 100
    await desk.turn()
    assert [text.splitlines()[0] for text in receiver.texts()] == [
        "HIGH: intent_failed",
        "HIGH: still: intent_failed",
    ]
    assert "5 times since" in receiver.texts()[1]


async def test_nobody_is_reminded_of_what_was_acknowledged_and_the_pager_hears_of_the_end(
    desk: AlertDesk, receiver: Receiver
) -> None:
    await desk.raise_()
    await desk.turn()
    alert_id = (await desk.alerts())[0].alert_id
    await desk.reads.acknowledge(alert_id, desk.clock())
    await desk.raise_()
    desk.clock.s += 10_000
    await desk.turn()
    assert len(receiver.posts) == 2
    await desk.reads.resolve(alert_id, desk.clock())
    await desk.turn()
    assert [body["event_action"] for path, _, body in receiver.posts if path == "/pager"] == ["trigger", "resolve"]
    assert len(receiver.texts()) == 1


async def test_with_every_sink_failing_the_alert_is_stored_and_the_retries_arrive(
    desk: AlertDesk, receiver: Receiver, mailbox: Mailbox
) -> None:
    receiver.status, mailbox.refusal = 500, "554 not today"
    await desk.raise_()
    with capture_logs() as logs:
        await desk.turn()
    assert [log["log_level"] for log in logs if log["event"] == "alert"] == ["critical"]
    assert await desk.states() == dict.fromkeys(("slack", "mail", "pager"), ("pending", 1))
    await desk.turn()
    assert await desk.states() == dict.fromkeys(("slack", "mail", "pager"), ("pending", 1)), "not yet due"
    desk.clock.s += 60
    await desk.turn()
    receiver.status, mailbox.refusal = 200, None
    desk.clock.s += 60
    await desk.turn()
    assert await desk.states() == dict.fromkeys(("slack", "mail", "pager"), ("sent", 3))
    assert len(mailbox.letters) == 1


async def test_a_sink_that_never_answers_keeps_neither_the_loop_nor_the_other_sinks_waiting(
    desk: AlertDesk, receiver: Receiver, mailbox: Mailbox
) -> None:
    receiver.gate.clear()
    await desk.raise_()
    await desk.delivery.turn()  # returns with slack and pager hanging

    async def mailed() -> bool:
        return len(mailbox.letters) == 1 and len(receiver.posts) == 2

    await eventually_async(mailed)
    await desk.raise_("database_full")
    await desk.delivery.turn()

    async def mailed_again() -> bool:
        await desk.delivery.turn()
        return len(mailbox.letters) == 2

    await eventually_async(mailed_again)
    assert len(receiver.posts) == 2, "nothing is sent behind what hangs"
    receiver.gate.set()
    await desk.delivery.settled()
    await desk.turn()
    assert paths(receiver) == ["pager", "pager", "services", "services"]


async def test_after_a_429_nothing_goes_to_that_sink_for_a_minute(desk: AlertDesk, receiver: Receiver) -> None:
    receiver.status = 429
    await desk.raise_("intent_failed", "HIGH")
    await desk.turn()
    receiver.status = 200
    await desk.raise_("approval_ready", "HIGH")
    desk.clock.s += RATE_LIMITED_S_MIN - 1
    await desk.turn()
    assert len(receiver.posts) == 1
    desk.clock.s += RATE_LIMITED_S_MIN
    await desk.turn()
    assert len(receiver.posts) == 2
    assert "intent_failed" in receiver.texts()[1] and "approval_ready" in receiver.texts()[1]


async def test_what_fails_for_a_day_is_given_up_and_said_so(desk: AlertDesk, receiver: Receiver) -> None:
    receiver.status = 500
    await desk.raise_("intent_failed", "HIGH")
    for _ in range(int(GIVE_UP_S / RETRY_S_MAX) + 2):
        desk.clock.s += RETRY_S_MAX * 1.2
        with capture_logs() as logs:
            await desk.turn()
        if any(log["event"] == "delivery given up" for log in logs):
            break
    assert (await desk.states())["slack"][0] == "given_up"
    assert (await desk.alerts())[0].status is AlertStatus.OPEN
    posts = len(receiver.posts)
    desk.clock.s += RETRY_S_MAX * 2
    await desk.turn()
    assert len(receiver.posts) == posts


async def test_a_message_of_a_process_that_died_before_marking_it_is_sent_again(
    desk: AlertDesk, receiver: Receiver
) -> None:
    await desk.raise_("intent_failed", "HIGH")
    await desk.delivery._announce()
    assert len(await desk.queue.claim("slack", desk.clock(), 10, LEASE_S)) == 1  # and then it dies
    await desk.turn()
    assert receiver.posts == []
    desk.clock.s += LEASE_S
    await desk.turn()
    assert (len(receiver.posts), await desk.states()) == (1, {"slack": ("sent", 2)})


async def test_no_secret_is_in_any_log_line_or_row(
    desk: AlertDesk,
    database_url: str,
    receiver: Receiver,
    mailbox: Mailbox,
    root_log: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    hidden = (*SLACK_SECRET.split("/"), ROUTING_KEY)
    mailbox.refusal = "554 not today"
    with capture_logs() as logs:
        for status in (500, 429, 302):
            receiver.status = status
            await desk.raise_(key=str(status), reason=f"{receiver.url}/services/{'/'.join(hidden)}")
            await desk.turn()
            desk.clock.s += 1000
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT sink, last_error FROM alert_deliveries WHERE last_error <> ''")
    await connection.close()
    assert {row["sink"] for row in rows} == {"slack", "mail", "pager"}
    told = capfd.readouterr()
    heard = [repr(logs), repr(rows), told.out, told.err, *root_log]
    assert len(logs) > 9
    assert [secret for secret in hidden for text in heard if secret in text] == []
    assert len(receiver.texts()) == 3
    assert [secret for secret in hidden for text in receiver.texts() if secret in text] == []


async def test_people_hear_that_the_database_is_away_and_that_it_is_back(
    desk: AlertDesk, database_url: str, postgres_server: PostgresServer, receiver: Receiver, mailbox: Mailbox
) -> None:
    name = database_url.rpartition("/")[2]
    server = await asyncpg.connect(postgres_server.url)
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await server.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = $1", name)
    await desk.turn()
    desk.clock.s += DATABASE_DOWN_S - 1
    await desk.turn()
    assert receiver.posts == [], "a restart is nobody's business"
    receiver.status = 500
    desk.clock.s += 1
    await desk.turn()
    assert (paths(receiver), len(mailbox.letters)) == (["pager", "services"], 1)
    receiver.status = 200
    for _ in range(6):
        desk.clock.s += 30
        await desk.turn()
    assert paths(receiver) == ["pager", "pager", "services", "services"], "tried again, and then not repeated"
    assert len(mailbox.letters) == 1
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await server.close()
    await desk.turn()
    assert receiver.texts()[-1].startswith(f"CRITICAL: resolved: {DATABASE_DOWN}")
    assert len(mailbox.letters) == 2
    (stored,) = await desk.alerts()
    assert (stored.alert_type, stored.status) == (DATABASE_DOWN, AlertStatus.RESOLVED)


async def test_the_running_process_is_woken_by_an_alert_and_stops_when_told(
    desk: AlertDesk, receiver: Receiver
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(desk.delivery.run(stop))
    await desk.raise_("intent_failed", "HIGH")

    async def sent() -> bool:
        return (await desk.states()) == {"slack": ("sent", 1)}

    await eventually_async(sent)
    stop.set()
    await running
    assert len(receiver.posts) == 1
