"""POST /webhooks/events through a real Envoy into a real table: who may, what may, and what is answered."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from app.breakers import Breakers
from app.config import Settings
from app.embedded import EmbeddedEnvoy, Endpoint, free_port
from app.runner import Runner
from app.wiring_grpc import InboxOfBodies
from grpc_server import Webhooks
from identity import WebhookMode, WebhookSecrets
from indexer.arrivals import fault_of_body
from storage.bodies import unpacked
from storage.database import Database, database_pool
from storage.inbox import SAMPLE_BYTES_MAX, SAMPLES_MAX, Inbox
from tests.support.cable import Cable
from tests.support.grpc_parts import served
from tests.support.indexing import Rows

SECRET, OLD_SECRET = "the secret that Helius echoes", "the one before, still alive"
MIB = 1024 * 1024
ITEM = b'[ {"signature" : "\xc3\xa9\\u00e9", "n": 12345678901234567890, "f": 1.0, "d": 1e3} ]'
"""Bytes that no parser gives back as they are (T27)."""


@dataclass
class Door:
    """The front door, and what lies behind it."""

    client: httpx.AsyncClient
    rows: Rows
    database: Database

    async def post(self, body: bytes, **headers: str | bytes) -> httpx.Response:
        named = [(name.replace("_", "-").encode(), _raw(value)) for name, value in headers.items()]
        return await self.client.post("/webhooks/events", content=body, headers=named)

    async def bodies(self, status: str = "pending") -> list[bytes]:
        found = await self.rows.all("SELECT body FROM webhook_inbox WHERE status = $1 ORDER BY id", status)
        return [unpacked(row["body"]) for row in found]


def _raw(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@dataclass(frozen=True)
class Front:
    """An Envoy that all tests of this file share, and the port behind it."""

    url: str
    grpc_port: int


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front door whose server each test brings along."""
    folder, port = tmp_path_factory.mktemp("envoy"), free_port()
    envoy = EmbeddedEnvoy(folder / "data", Endpoint("127.0.0.1", port), Endpoint("127.0.0.1", free_port()))
    runner = Runner(f"test-{uuid.uuid4()}", folder / "logs")
    runner.start(envoy.role())
    yield Front(envoy.url, port)
    runner.stop()


@pytest.fixture(params=[WebhookMode.EITHER], ids=str)
async def door(request: pytest.FixtureRequest, front: Front, database_url: str) -> AsyncIterator[Door]:
    """A gRPC server behind Envoy, with a database of its own."""
    database = await database_pool(database_url, 4)
    secrets = WebhookSecrets((SECRET, OLD_SECRET), request.param)
    webhooks = Webhooks(InboxOfBodies(Inbox(database)), secrets, fault_of_body)
    async with served(port=front.grpc_port, webhooks=webhooks), httpx.AsyncClient(base_url=front.url) as client:
        yield Door(client, Rows(database_url), database)
    await database.close()


def signed(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def test_the_exact_bytes_are_committed_before_the_answer(door: Door) -> None:
    answer = await door.post(ITEM, authorization=SECRET, content_type="application/json")
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert await door.bodies() == [ITEM]
    assert answer.json()["inbox_id"] == str(await door.rows.one("SELECT id FROM webhook_inbox"))


async def test_who_proves_nothing_is_answered_401_and_stores_nothing(door: Door) -> None:
    proofs: list[dict[str, str | bytes]] = [
        {},
        {"authorization": ""},
        {"authorization": SECRET[:-1]},
        {"authorization": SECRET + "x"},
        {"authorization": "Bearer " + SECRET},
        {"authorization": "s\xe9cret".encode("latin-1")},
        {"authorization": b"\xff\xfe"},
        {"x_helius_signature": ""},
        {"x_helius_signature": signed(ITEM)[:-1]},
        {"x_helius_signature": "zz" + signed(ITEM)[2:]},
        {"x_helius_signature": signed(b"other")},
        {"x_helius_signature": signed(ITEM, "another secret")},
        {"x_helius_signature": "\xe9".encode("latin-1") * 64},
        {"authorization": SECRET, "x_helius_signature": signed(b"other")},
    ]
    answers = [(await door.post(ITEM, **proof)).status_code for proof in proofs]
    assert answers == [401] * len(proofs)
    twice = [("authorization", SECRET), ("authorization", SECRET)]
    assert (await door.client.post("/webhooks/events", content=ITEM, headers=twice)).status_code == 401
    assert await door.bodies() == []


async def test_both_live_secrets_and_their_signatures_are_taken(door: Door) -> None:
    for proof in (
        {"authorization": SECRET},
        {"authorization": OLD_SECRET},
        {"x_helius_signature": signed(ITEM)},
        {"x_helius_signature": signed(ITEM, OLD_SECRET).upper()},
    ):
        assert (await door.post(ITEM, **proof)).status_code == 200
    assert await door.bodies() == [ITEM] * 4


@pytest.mark.parametrize("door", [WebhookMode.SIGNATURE], indirect=True, ids=str)
async def test_the_secret_alone_is_not_enough_where_a_signature_is_asked_for(door: Door) -> None:
    assert (await door.post(ITEM, authorization=SECRET)).status_code == 401
    assert (await door.post(ITEM, x_helius_signature=signed(ITEM))).status_code == 200


@pytest.mark.parametrize("door", [WebhookMode.AUTHORIZATION], indirect=True, ids=str)
async def test_a_signature_alone_is_not_enough_where_the_secret_is_asked_for(door: Door) -> None:
    assert (await door.post(ITEM, x_helius_signature=signed(ITEM))).status_code == 401
    assert (await door.post(ITEM, authorization=SECRET)).status_code == 200


async def test_a_body_that_is_no_json_of_transactions_is_answered_400_and_a_sample_is_kept(door: Door) -> None:
    hostile = [
        b"",
        b"{",
        b"nonsense",
        b'"text"',
        b"17",
        b"null",
        b"[1]",
        b"[[]]",
        b"[" * 100_000,
        b'{"slot": ' + b"9" * 5_000 + b"}",
        b"\xff\xfe\x00",
        b"[" + b",".join([b"{}"] * 1_001) + b"]",
    ]
    answers = [(await door.post(body, authorization=SECRET)).status_code for body in hostile]
    assert answers == [400] * len(hostile)
    samples = await door.bodies("rejected")
    assert samples == [body[:SAMPLE_BYTES_MAX] for body in hostile]
    assert await door.bodies() == []


async def test_no_more_samples_are_kept_than_a_bounded_number(door: Door) -> None:
    inbox = Inbox(door.database)
    for number in range(SAMPLES_MAX + 5):
        await inbox.keep_sample(str(number).encode(), "no transactions")
    samples = await door.bodies("rejected")
    assert samples == [str(number).encode() for number in range(5, SAMPLES_MAX + 5)]


async def test_a_body_of_four_mebibytes_is_taken_and_one_byte_more_is_answered_413(door: Door) -> None:
    largest = json.dumps([{"padding": ""}]).encode()
    largest = largest[:-3] + b"x" * (4 * MIB - len(largest)) + largest[-3:]
    assert len(largest) == 4 * MIB
    assert (await door.post(largest, authorization=SECRET)).status_code == 200
    assert (await door.post(largest + b" ", authorization=SECRET)).status_code == 413
    assert [len(body) for body in await door.bodies()] == [4 * MIB]


async def test_a_body_too_large_that_does_not_say_its_length_is_answered_413_too(door: Door) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * MIB

    answer = await door.client.post("/webhooks/events", content=chunks(), headers={"authorization": SECRET})
    assert answer.status_code == 413
    assert await door.bodies() == []


async def test_a_database_that_is_away_is_answered_503_so_that_the_sender_comes_again(door: Door) -> None:
    await door.database.close()
    answer = await door.post(ITEM, authorization=SECRET)
    assert answer.status_code == 503
    reasons = [detail.get("reason") for detail in answer.json()["details"]]
    assert "INBOX_UNAVAILABLE" in reasons


async def test_while_the_breaker_is_open_bodies_are_refused_unasked_and_its_probe_lets_them_in_again(
    front: Front, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breakers, now_s, cable = Breakers(Settings(breaker_failures=5, breaker_open_s=60.0)), [1_000.0], Cable(database_url)
    monkeypatch.setattr(breakers.inbox, "_clock", lambda: now_s[0])
    await cable.plug()
    database = await database_pool(cable.url, 4, guard=breakers.asking_inbox)
    webhooks = Webhooks(InboxOfBodies(Inbox(database)), WebhookSecrets((SECRET,), WebhookMode.EITHER), fault_of_body)
    async with served(port=front.grpc_port, webhooks=webhooks), httpx.AsyncClient(base_url=front.url) as client:
        door = Door(client, Rows(database_url), database)

        async def posted() -> tuple[int, str | None]:
            answer = await door.post(ITEM, authorization=SECRET)
            return answer.status_code, answer.headers.get("retry-after")

        assert await posted() == (200, None)
        await cable.pull()
        assert [await posted() for _ in range(5)] == [(503, "1")] * 5
        await cable.plug()
        carried = cable.carried
        assert await posted() == (503, "60")
        now_s[0] += 20.0
        assert await posted() == (503, "40")
        assert cable.carried == carried, "the database is there, but nobody asks it"
        now_s[0] += 40.0
        assert [await posted() for _ in range(2)] == [(200, None)] * 2
        assert await door.bodies() == [ITEM] * 3
    await database.close()
    await cable.pull()


async def test_a_database_that_hangs_is_answered_503_within_the_senders_patience(door: Door) -> None:
    """Somebody holds the table: nothing fails, and nothing is stored either."""
    holder = await asyncpg.connect(door.rows.url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE webhook_inbox IN ACCESS EXCLUSIVE MODE")
        answer = await door.post(ITEM, authorization=SECRET)
    await holder.close()
    assert answer.status_code == 503
