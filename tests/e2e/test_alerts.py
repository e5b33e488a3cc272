"""An alert in a whole system: written by whoever notices, in the log of its role at once, ended over REST."""

from __future__ import annotations

from typing import Any

import aiohttp
import asyncpg

from tests.support.eventually import eventually_async
from tests.support.log_lines import json_lines
from tests.support.system import RunningSystem


async def test_an_alert_is_logged_by_its_role_listed_acknowledged_and_resolved(system: RunningSystem) -> None:
    key = "test:an alert of the whole system"
    database = await asyncpg.connect(system.connection["database_url"])
    await database.execute(
        "INSERT INTO alerts (dedupe_key, alert_type, severity, data) VALUES ($1, 'fee_cap', 'CRITICAL', $2)",
        key,
        '{"spent_lamports": "5"}',
    )
    alert_id = str(await database.fetchval("SELECT alert_id FROM alerts WHERE dedupe_key = $1", key))
    await database.close()

    async def logged() -> list[dict[str, Any]]:
        return [
            line for line in json_lines(system.data_dir / "logs" / "alerts.log") if line.get("alert_id") == alert_id
        ]

    (line,) = await eventually_async(logged)
    assert (line["level"], line["event"], line["occasion"]) == ("critical", "alert", "raised")
    assert (line["data"], line["sinks"]) == ({"spent_lamports": "5"}, [])
    operator = {"authorization": f"Bearer {system.connection['operator_token']}"}
    alerts = f"{system.connection['envoy_url']}/api/ops/alerts"
    async with aiohttp.ClientSession(headers=operator) as http:
        async with http.get(alerts, params={"severity": "CRITICAL"}) as listed:
            found = [alert for alert in (await listed.json())["alerts"] if alert["id"] == alert_id]
        assert [(alert["status"], alert["occurrences"], alert["data"]) for alert in found] == [
            ("open", 1, {"spent_lamports": "5"})
        ]
        for step, status in (("acknowledge", "acknowledged"), ("resolve", "resolved")):
            async with http.post(f"{alerts}/{alert_id}/{step}", json={}) as answer:
                assert (answer.status, (await answer.json())["alert"]["status"]) == (200, status)
    async with aiohttp.ClientSession() as stranger, stranger.get(alerts) as refused:
        assert refused.status == 401
