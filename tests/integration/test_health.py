"""GetHealth and GET /health: the specification's JSON, from looks at the parts themselves, and the codes of T76."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.wiring_health import Probed, connections_to, fault_of
from chain.client import ChainReader
from chain.endpoints import RpcPool
from chain.program import ZmartProgram
from chain.rpc import Rpc, RpcSettings
from grpc_server.health import Health
from grpc_server.traffic import Traffic
from storage.index_store import IndexStanding
from storage.kept_breakers import KeptBreakers
from tests.support.eventually import WAIT_S_MAX, eventually_async
from tests.support.front import Front, running_front
from tests.support.grpc_health import PARTS, Condition
from tests.support.grpc_parts import Served, served
from tests.support.storage import PostgresGround
from zmart.v1.ops_service_pb2 import GetHealthRequest, GetHealthResponse
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

WELL = IndexStanding(None, 0, 0, 0, 0, 1_000, 3, 4.0, 1.0)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running_front(tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture
async def behind(front: Front) -> AsyncIterator[Served]:
    async with served(port=front.grpc_port) as running:
        yield running


async def through_envoy(front: Front) -> httpx.Response:
    async with httpx.AsyncClient(base_url=front.url, timeout=WAIT_S_MAX) as client:

        async def answered() -> httpx.Response | None:
            answer = await client.get("/health")
            return answer if "services" in answer.json() else None  # Envoy has not found the server yet

        answer = await eventually_async(answered)
    assert answer is not None
    return answer


async def test_the_health_through_envoy_is_the_specifications_json(front: Front, behind: Served) -> None:
    answer = await through_envoy(front)
    assert answer.status_code == 200
    metrics = answer.json()["metrics"]
    assert answer.json() == {
        "status": "healthy",
        "services": dict.fromkeys(PARTS, "ok"),
        "metrics": {**metrics, "active_connections": 42},
        "breakers": [{"name": "https://rpc.example", "open": False}],
    }
    assert set(metrics) == {"uptime_seconds", "active_connections", "requests_per_minute", "error_rate"}
    assert all(isinstance(figure, int | float) for figure in metrics.values())


@pytest.mark.parametrize(
    ("part", "status", "code"),
    [
        ("database", "unhealthy", 503),
        ("redis", "degraded", 200),
        ("solana_rpc", "degraded", 200),
        ("event_indexer", "degraded", 200),
    ],
)
async def test_a_part_in_error_has_its_code_and_the_same_json(
    front: Front, behind: Served, part: str, status: str, code: int
) -> None:
    behind.condition.faults[part] = OSError("postgresql://zmart:secret@db is away")
    answer = await through_envoy(front)
    assert (answer.status_code, answer.json()["status"]) == (code, status)
    assert answer.json()["services"] == dict.fromkeys(PARTS, "ok") | {part: "error"}
    assert "secret" not in answer.text


async def asked(running: Served) -> GetHealthResponse:
    return await OpsServiceStub(running.channel).GetHealth(GetHealthRequest())


async def test_many_askers_are_one_look_at_each_part_and_a_later_one_is_a_new_look() -> None:
    async with served() as running:
        await asyncio.gather(*(asked(running) for _ in range(20)))
        assert sorted(running.condition.asked) == sorted(PARTS)
        running.clock.at_s += 2.0
        running.condition.faults["redis"] = OSError("away")
        assert (await asked(running)).status == "degraded"
        running.condition.faults.clear()
        assert (await asked(running)).status == "degraded", "what was found is kept for two seconds"
        running.clock.at_s += 2.0
        assert (await asked(running)).status == "healthy"


async def test_a_part_that_hangs_is_in_error_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_server.health.PROBE_S_MAX", 0.01)

    async def hangs() -> None:
        await asyncio.Event().wait()

    parts = replace(Condition().parts(), event_indexer=hangs)
    answer = await Health(parts, Traffic(lambda: 0.0), lambda: 0.0).answer(Silent())  # type: ignore[arg-type]
    assert (answer.status, answer.services.event_indexer) == ("degraded", "error")


class Silent:
    async def send_initial_metadata(self, metadata: Any) -> None:
        """Nobody listens."""


async def test_an_open_breaker_is_shown() -> None:
    async with served() as running:
        running.condition.breakers["https://rpc.example"] = True
        (breaker,) = (await asked(running)).breakers
        assert (breaker.name, breaker.open) == ("https://rpc.example", True)


async def test_breakers_of_other_processes_are_shown_as_they_were_last_kept(real_ground: PostgresGround) -> None:
    pool = RpcPool([Rpc(RpcSettings("http://127.0.0.1:9"))])
    reader = ChainReader(pool, ZmartProgram.at(Settings().program_id))
    own = {"database": False, "redis": True}
    probed = Probed(Settings(redis_url=None), real_ground.database, reader, pool, lambda: own)
    parts = probed.parts()
    assert "transitions" not in parts.breakers()
    await KeptBreakers(real_ground.database).keep("transitions", is_open=True)
    await parts.database()
    assert parts.breakers() == {**own, "transitions": True, pool.endpoints[0].rpc.endpoint: False}
    await reader.close()


def test_the_error_rate_is_the_share_of_our_faults_in_the_last_minute() -> None:
    now_s = [0.0]
    traffic = Traffic(lambda: now_s[0])
    for status in ("OK", "OK", "NOT_FOUND", "UNAVAILABLE"):
        traffic.note(status)
    assert traffic.last_minute() == (4, 0.25)
    now_s[0] = 59.0
    traffic.note("OK")
    assert traffic.last_minute() == (5, 0.2)
    now_s[0] = 60.0
    assert traffic.last_minute() == (1, 0.0)


@pytest.mark.parametrize(
    ("standing", "fault"),
    [
        (WELL, None),
        (IndexStanding(None, 0, 0, 0, 0, None, None, None), "it has never searched the chain"),
        (IndexStanding(None, 0, 0, 0, 0, 9, 3, 61.0), "its last search of the chain was 61 s ago"),
        (replace(WELL, beat_s=31.0), "it has not said for 31 s that it gets on"),
        (IndexStanding(75.0, 1, 0, 0, 0, 9, 3, 4.0), "a body has waited in the inbox for 75 s"),
        (IndexStanding(None, 0, 0, 0, 0, 9, 151, 4.0), "its cursor is 151 slots behind"),
    ],
)
def test_the_indexer_is_well_while_it_searches_and_keeps_up(standing: IndexStanding, fault: str | None) -> None:
    assert fault_of(standing, sweep_s=10.0) == fault


def test_open_connections_are_those_that_the_kernel_lists() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert connections_to(port) == 0
        with socket.create_connection(("127.0.0.1", port)):
            assert connections_to(port) == 1
