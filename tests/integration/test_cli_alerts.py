"""`zmart alerts` against a real server with real rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.alert_views import followed
from app.cli import main
from app.operator_door import TOKEN_VARIABLE
from app.wiring_alert_book import Alerts
from domain.journal import AlertNote
from identity import Tier
from storage.alerts import AlertQueue, AlertReads
from storage.database import database_pool
from tests.support.grpc_parts import served
from tests.support.markets import market_id
from zmart.v1.ops_service_pb2 import Alert


class Terminal:
    """An operator's terminal on the machine of a running system."""

    def __init__(self, folder: Path, queue: AlertQueue, connection: dict[str, str]) -> None:
        self.folder, self.queue, self.connection = folder, queue, connection
        (folder / "connection.json").write_text(json.dumps(connection))

    async def run(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        """In a thread, for the server lives in this loop."""
        command = ["alerts", "--data-dir", str(self.folder), *arguments]
        return await asyncio.to_thread(CliRunner().invoke, main, command, env=env)

    async def alerts(self, *arguments: str) -> list[dict[str, Any]]:
        result = await self.run("--json", *arguments)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.output.splitlines()]

    async def raise_(self, key: str, severity: str = "HIGH", **data: str) -> None:
        await self.queue.raise_alert(AlertNote("fee_cap", severity, key, market_id(), data))


@pytest.fixture
async def terminal(database_url: str, tmp_path: Path) -> AsyncIterator[Terminal]:
    database = await database_pool(database_url, 2)
    async with served(alerts=Alerts(AlertReads(database))) as running:
        ((_, bearer),) = running.bearer(None, Tier.ADMIN)
        connection = {"grpc_target": running.target, "operator_token": bearer.removeprefix("Bearer ")}
        yield Terminal(tmp_path, AlertQueue(database), connection)
    await database.close()


async def test_alerts_are_listed_acknowledged_and_resolved(terminal: Terminal) -> None:
    await terminal.raise_("a", "LOW")
    await terminal.raise_("b", "CRITICAL", spent="5")
    newest, oldest = await terminal.alerts()
    assert (newest["dedupe_key"], oldest["dedupe_key"]) == ("b", "a")
    assert (newest["severity"], newest["status"], newest["data"]) == ("CRITICAL", "open", {"spent": "5"})
    assert [alert["dedupe_key"] for alert in await terminal.alerts("--severity", "LOW")] == ["a"]
    assert [alert["dedupe_key"] for alert in await terminal.alerts("--limit", "1")] == ["b"]
    (noted,) = await terminal.alerts("--ack", newest["id"])
    assert noted["status"] == "acknowledged"
    (over,) = await terminal.alerts("--resolve", newest["id"])
    assert over["status"] == "resolved"
    assert [alert["dedupe_key"] for alert in await terminal.alerts("--status", "open")] == ["a"]


async def test_people_read_a_paragraph_that_cannot_command_their_terminal(terminal: Terminal) -> None:
    assert (await terminal.run()).output == "no alerts\n"
    await terminal.raise_("a", reason="\x1b[2Jred\nalert")
    await terminal.raise_("a", reason="\x1b[2Jred\nalert")
    output = (await terminal.run()).output
    assert output.startswith("HIGH fee_cap x2 [open] ")
    assert "\n  reason:  [2Jred alert\n" in output
    assert f"\n  market: {market_id()}\n" in output


async def test_what_fails_is_a_sentence(terminal: Terminal) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    failed = await terminal.run("--ack", unknown)
    assert (failed.exit_code, f"NOT_FOUND: there is no alert {unknown}" in failed.output) == (1, True)
    away = await terminal.run("--target", "127.0.0.1:1")
    assert (away.exit_code, "UNAVAILABLE" in away.output) == (1, True)
    both = await terminal.run("--follow", "--ack", unknown)
    assert (both.exit_code, "--follow only looks" in both.output) == (2, True)


async def test_elsewhere_the_target_and_a_token_are_given(terminal: Terminal) -> None:
    await terminal.raise_("a")
    (terminal.folder / "connection.json").unlink()
    target, token = terminal.connection["grpc_target"], terminal.connection["operator_token"]
    assert "no connection.json to read" in (await terminal.run("--target", target)).output
    found = await terminal.run("--target", target, env={TOKEN_VARIABLE: token})
    assert (found.exit_code, "fee_cap" in found.output) == (0, True)


def test_following_shows_what_is_new_and_what_changed_once() -> None:
    first, second = Alert(id="1", status="open", occurrences=1), Alert(id="2", status="open", occurrences=1)
    looks = iter(
        [
            [second, first],
            [second, first],
            [],
            [second, Alert(id="1", status="acknowledged", occurrences=1)],
            [Alert(id="2", status="open", occurrences=3)],
        ]
    )

    class Interrupted(Exception):
        pass

    def look() -> list[Alert]:
        try:
            return next(looks)
        except StopIteration:
            raise Interrupted from None

    shown: list[tuple[str, str, int]] = []
    with pytest.raises(Interrupted):
        for alert in followed(look, lambda: None):
            shown.append((alert.id, alert.status, alert.occurrences))  # noqa: PERF401 - it ends by an exception
    assert shown == [("1", "open", 1), ("2", "open", 1), ("1", "acknowledged", 1), ("2", "open", 3)]
