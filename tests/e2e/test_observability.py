"""What a running system shows of itself: every metric that dashboard and rules name, and its health through Envoy."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families
from solders.keypair import Keypair

from tests.support.eventually import WAIT_S_MAX, eventually
from tests.support.system import RunningSystem, create_markets, new_market_id

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = re.compile(r"\b(?:zmart|grpc_server)_\w+")


def named_metrics() -> set[str]:
    """Every metric of ours in the expressions of the dashboard and the rules."""
    dashboard = json.loads((DEPLOY / "grafana/dashboards/zmart.json").read_text())
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return {name for expression in expressions for name in NAMES.findall(expression)}


def exposed(url: str) -> dict[str, float]:
    """Samples by name, summed over their labels."""
    with urllib.request.urlopen(url, timeout=WAIT_S_MAX) as answer:  # noqa: S310
        families = text_string_to_metric_families(answer.read().decode())
        sums: dict[str, float] = {}
        for sample in (sample for family in families for sample in family.samples):
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def health_of(system: RunningSystem) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{system.connection['envoy_url']}/health", timeout=WAIT_S_MAX).json()
    return answer


async def test_a_running_system_exposes_every_metric_of_dashboard_and_rules_and_calls_itself_healthy(
    system: RunningSystem,
) -> None:
    url, market_id = system.connection["metrics_url"], new_market_id()
    before = exposed(url)
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        await doors.cast(system.token(Keypair()), market_id, "like")
    names = named_metrics()
    assert len(names) > 15
    eventually(lambda: not names - exposed(url).keys(), timeout_s=60)
    after = exposed(url)
    assert after["zmart_votes_total"] > before.get("zmart_votes_total", 0)
    assert after["zmart_virtual_shards_owned"] == 64
    seen: dict[str, Any] = {}

    def is_healthy() -> bool:
        seen.update(health_of(system))
        return bool(seen["status"] == "healthy")

    eventually(is_healthy)
    assert set(seen["services"].values()) == {"ok"}
