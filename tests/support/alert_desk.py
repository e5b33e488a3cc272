"""A delivery process in a test: real rows, real sinks, and a clock that the test moves."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alerts.delivery import AlertDelivery
from alerts.rules import read_rules
from alerts.sinks import open_sinks
from domain.alerts import StoredAlert
from domain.journal import AlertNote
from storage.alerts import AlertNews, AlertQueue, AlertReads
from storage.database import database_pool
from tests.support.markets import market_id
from tests.support.receivers import SLACK_SECRET, Mailbox, Receiver

RULES = """
[sinks.slack]
kind = "slack"
url_file = "slack"

[sinks.mail]
kind = "email"
host = "127.0.0.1"
port = {mail_port}
security = "none"
from = "zmart@example.org"
to = ["ops@example.org"]

[sinks.pager]
kind = "pagerduty"
routing_key_file = "routing_key"
events_url = "{url}/pager"

[[rules]]
severity = ["CRITICAL"]
sinks = ["slack", "mail", "pager"]

[[rules]]
severity = ["HIGH"]
sinks = ["slack"]

[[rules]]
type = "stuck_market"
sinks = ["slack"]
"""


class AlertDesk:
    """The delivery process, and the operators who look at the same rows."""

    def __init__(self, delivery: AlertDelivery, queue: AlertQueue, reads: AlertReads, clock: HandClock) -> None:
        self.delivery, self.queue, self.reads, self.clock = delivery, queue, reads, clock

    async def raise_(self, kind: str = "fee_cap", severity: str = "CRITICAL", key: str = "", **data: str) -> None:
        await self.queue.raise_alert(AlertNote(kind, severity, key or kind, market_id(), data))

    async def turn(self) -> None:
        """One turn, and whatever it began."""
        await self.delivery.turn()
        await self.delivery.settled()

    async def alerts(self) -> list[StoredAlert]:
        """Newest first."""
        return list(await self.reads.list(None, None, None, None, 100))

    async def states(self) -> dict[str, tuple[str, int]]:
        """Status and attempts of the newest alert's newest delivery to each sink."""
        return {state.sink: (state.status, state.attempts) for state in (await self.alerts())[0].deliveries}


class HandClock:
    """Unix seconds that a test moves; starts now, because rows are also stamped by the server."""

    def __init__(self) -> None:
        self.s = time.time()

    def __call__(self) -> float:
        return self.s


@asynccontextmanager
async def alert_desk(
    database_url: str, folder: Path, receiver: Receiver, mailbox: Mailbox, rules: str = RULES
) -> AsyncIterator[AlertDesk]:
    """A desk over that database; its slack and pager post to the receiver, its mail goes to the mailbox."""
    (folder / "slack").write_text(f"{receiver.url}/services/{SLACK_SECRET}")
    (folder / "rules.toml").write_text(rules.format(url=receiver.url, mail_port=mailbox.port))
    read = read_rules(folder / "rules.toml")
    sinks, unusable, redactor = open_sinks(read, {})
    assert unusable == {}
    database, news, clock = await database_pool(database_url, 4), AlertNews(database_url), HandClock()
    queue = AlertQueue(database)
    ids = (str(uuid.UUID(int=number)) for number in range(1, 1000))
    delivery = AlertDelivery(queue, news, read, sinks, redactor, clock, lambda: next(ids), random.Random(1))
    try:
        yield AlertDesk(delivery, queue, AlertReads(database), clock)
    finally:
        receiver.gate.set()
        await delivery.settled()
        await news.close()
        await database.close()
