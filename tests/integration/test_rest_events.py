"""The events' HTTP paths through a real Envoy: which path is which, and how things are spelt."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest

from app.embedded import EmbeddedEnvoy, Endpoint, free_port
from app.runner import Runner
from domain.ids import base58_decode
from tests.support.grpc_events import START_S
from tests.support.grpc_parts import Served, market_id_of, served

MARKET, OTHER = market_id_of(1), market_id_of(2)


@dataclass(frozen=True)
class Front:
    """An Envoy that all tests of this file share, and the port behind it."""

    url: str
    grpc_port: int


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder, port = tmp_path_factory.mktemp("envoy"), free_port()
    envoy = EmbeddedEnvoy(folder / "data", Endpoint("127.0.0.1", port), Endpoint("127.0.0.1", free_port()))
    runner = Runner(f"test-{uuid.uuid4()}", folder / "logs")
    runner.start(envoy.role())
    yield Front(envoy.url, port)
    runner.stop()


@pytest.fixture
async def behind(front: Front) -> AsyncIterator[Served]:
    async with served(port=front.grpc_port) as running:
        for slot in range(6):
            running.events.put(slot, "SharesSold" if slot % 2 else "SharesBought", MARKET if slot < 4 else OTHER)
        yield running


@pytest.fixture
async def client(front: Front, behind: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=front.url) as opened:
        yield opened


def instant(second: int) -> str:
    return datetime.fromtimestamp(START_S + second, UTC).isoformat()


@pytest.mark.parametrize(
    ("path", "params", "slots"),
    [
        ("/api/events", {}, [5, 4, 3, 2, 1, 0]),
        ("/api/events", {"limit": 2, "offset": 1}, [4, 3]),
        ("/api/events", {"event_type": "SharesSold"}, [5, 3, 1]),
        (f"/api/events/{MARKET}", {}, [3, 2, 1, 0]),
        (f"/api/events/{base58_decode(MARKET).hex()}", {}, [3, 2, 1, 0]),
        (f"/api/events/{MARKET}", {"event_type": "SharesSold"}, [3, 1]),
        ("/api/events/by-type/SharesBought", {}, [4, 2, 0]),
        ("/api/events/by-type/SharesBought", {"market_id": OTHER}, [4]),
        ("/api/events/by-date", {"from": instant(2), "to": instant(5)}, [4, 3, 2]),
        ("/api/events/by-date", {"from": instant(2)}, [5, 4, 3, 2]),
        ("/api/events/search", {"q": "SharesS"}, [5, 3, 1]),
        ("/api/events/search", {"q": OTHER, "limit": 1}, [5]),
        ("/api/events/search", {"q": "3s3"}, [3]),
    ],
)
async def test_each_path_gives_what_it_names(
    client: httpx.AsyncClient, path: str, params: dict[str, str], slots: list[int]
) -> None:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert [event["block_slot"] for event in answer.json()["events"]] == [str(slot) for slot in slots]


async def test_json_has_the_names_of_the_contract_and_prints_zeros(client: httpx.AsyncClient, behind: Served) -> None:
    behind.events.put(7, "SharesBought", MARKET, shares=str(2**64 - 1), outcome=False, likes=0)
    answer = (await client.get("/api/events", params={"limit": 1})).json()
    assert (answer["total_count"], answer["has_more"], bool(answer["next_page_token"])) == (7, True, True)
    assert answer["events"] == [
        {
            "transaction_signature": "7s6",
            "event_index": 0,
            "block_slot": "7",
            "event_type": "SharesBought",
            "market_id": MARKET,
            "event_data": {"shares": str(2**64 - 1), "outcome": False, "likes": 0},
            "timestamp": datetime.fromtimestamp(START_S + 7, UTC).isoformat().replace("+00:00", "Z"),
            "commitment": "confirmed",
        }
    ]
    last = (await client.get("/api/events", params={"limit": 6, "page_token": answer["next_page_token"]})).json()
    assert (len(last["events"]), last["has_more"], last["next_page_token"]) == (6, False, "")


@pytest.mark.parametrize(
    ("path", "params", "reason"),
    [
        ("/api/events/not-a-market", {}, "MARKET_ID_MALFORMED"),
        ("/api/events/by-type", {}, "MARKET_ID_MALFORMED"),
        ("/api/events/by-type/MarketStateChanged", {}, "EVENT_TYPE_UNKNOWN"),
        ("/api/events/search", {}, "SEARCH_WORD_MALFORMED"),
        ("/api/events/search", {"q": "a%"}, "SEARCH_WORD_MALFORMED"),
        ("/api/events/by-date", {"from": "yesterday"}, "TIME_MALFORMED"),
        ("/api/events", {"limit": "-1"}, "PAGE_SIZE_NEGATIVE"),
        ("/api/events", {"offset": "10001"}, "OFFSET_OUT_OF_RANGE"),
        ("/api/events", {"page_token": "x"}, "PAGE_TOKEN_INVALID"),
    ],
)
async def test_what_makes_no_sense_is_400_with_its_reason(
    client: httpx.AsyncClient, path: str, params: dict[str, str], reason: str
) -> None:
    answer = await client.get(path, params=params)
    assert answer.status_code == 400, answer.text
    details = answer.json()["details"]
    assert [detail["reason"] for detail in details if "reason" in detail] == [reason]


@pytest.mark.parametrize("params", [{"limit": "many"}, {"marketid": "typo"}])
async def test_a_parameter_that_does_not_exist_or_fit_is_400(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    assert (await client.get("/api/events", params=params)).status_code == 400


async def test_a_search_is_never_taken_for_a_market(client: httpx.AsyncClient) -> None:
    """`search`, `by-type` and `by-date` are paths of their own (T39)."""
    assert (await client.get("/api/events/search", params={"q": "Shares"})).json()["total_count"] == 6
    assert (await client.get("/api/events/by-date")).json()["total_count"] == 6
