"""Raw webhooks: their shape, their header, their few tries, and the three ways in which they go wrong."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from solana.rpc.commitment import Confirmed
from solders.signature import Signature

from chain.ledger.webhooks import RETRIES_MAX, Webhooks
from tests.support.eventually import WAIT_S_MAX, eventually_async
from tests.support.ledger import START_UNIX_S, Chain, market_id, running_chain
from tests.support.rpc_calls import error, paying, result

HEADER = "secret-of-the-webhook"


@dataclass
class Receiver:
    """An endpoint that keeps what it is sent and answers as told; 200 when nothing is told."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    bodies: list[list[dict[str, Any]]] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.headers.append(request.headers.get("Authorization"))
        self.bodies.append(await request.json())
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def got(self, count: int) -> list[list[dict[str, Any]]]:
        """The payloads, once there are `count`."""

        async def arrived() -> bool:
            return len(self.bodies) >= count

        await eventually_async(arrived)
        return self.bodies


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    started = Receiver()
    application = web.Application()
    application.router.add_post("/hook", started.take)
    runner = web.AppRunner(application, shutdown_timeout=1.0, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    started.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield started
    await runner.cleanup()


@pytest.fixture
async def hooked(chain: Chain, receiver: Receiver) -> AsyncIterator[tuple[Chain, Receiver]]:
    """A ledger that posts to the receiver one payload after the other, and tries again without a pause."""
    webhooks = Webhooks(chain.ledger.node, retry_s=0.0, senders=1)
    chain.ledger.node.watchers = [webhooks]
    chain.ledger.webhooks = webhooks
    async with webhooks.running():
        await result(chain, "zmart_setWebhook", receiver.url, HEADER)
        yield chain, receiver


async def aggregate(chain: Chain, likes: int) -> Signature:
    backend = chain.keys.backend
    return await chain.land(chain.program.aggregate_proposal_votes(backend.wallet, market_id(), likes, 0), backend.pair)


def signatures(bodies: list[list[dict[str, Any]]]) -> list[str]:
    return [item["transaction"]["signatures"][0] for body in bodies for item in body]


async def test_a_confirmed_transaction_is_posted_raw_with_the_header(hooked: tuple[Chain, Receiver]) -> None:
    chain, receiver = hooked
    admin = chain.keys.admin
    call = chain.program.create_market(admin.wallet, market_id(), 10**11, 10**8, b"Qm")
    signature = await chain.send(await chain.signed([call], admin.pair))
    assert receiver.bodies == []
    chain.ledger.tick()
    [[item]] = await receiver.got(1)
    assert receiver.headers == [HEADER]
    truth = json.loads((await chain.client.get_transaction(signature, "json", Confirmed)).to_json())["result"]
    assert set(item) == {"blockTime", "indexWithinBlock", "meta", "slot", "transaction", "version"}
    assert (item["slot"], item["blockTime"], item["indexWithinBlock"]) == (truth["slot"], START_UNIX_S, 0)
    assert item["transaction"]["signatures"] == [str(signature)]
    assert item["transaction"]["message"]["accountKeys"] == truth["transaction"]["message"]["accountKeys"]
    for name in ("err", "fee", "innerInstructions", "logMessages", "preBalances", "postBalances", "loadedAddresses"):
        assert item["meta"][name] == truth["meta"][name]
    assert [line for line in item["meta"]["logMessages"] if line.startswith("Program data: ")]


async def test_only_transactions_of_the_program_are_posted_failed_ones_too(hooked: tuple[Chain, Receiver]) -> None:
    chain, receiver = hooked
    await chain.send(await paying(chain))
    admin = chain.keys.admin
    call = chain.program.approve_proposal(admin.wallet, market_id())
    refused = await chain.send(await chain.signed([call], admin.pair), preflight=False)
    chain.ledger.tick()
    [[item]] = await receiver.got(1)
    assert signatures(receiver.bodies) == [str(refused)]
    assert item["meta"]["err"] is not None
    assert item["indexWithinBlock"] == 1


async def test_one_slot_is_one_array_in_order(hooked: tuple[Chain, Receiver]) -> None:
    chain, receiver = hooked
    await chain.create_market()
    await receiver.got(1)
    backend = chain.keys.backend
    sent = [
        await chain.send(
            await chain.signed(
                [chain.program.aggregate_proposal_votes(backend.wallet, market_id(), likes, 0)], backend.pair
            )
        )
        for likes in range(3)
    ]
    chain.ledger.tick()
    bodies = await receiver.got(2)
    assert signatures(bodies[1:]) == [str(signature) for signature in sent]
    assert [item["indexWithinBlock"] for item in bodies[1]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("answers", "tries", "is_lost"),
    [
        ([500], 2, False),
        ([503, 429, 404], 4, False),
        ([500] * 9, 1 + RETRIES_MAX, True),
        ([403], 1, True),
        ([500, 403], 2, True),
        ([204, 200], 2, False),
    ],
)
async def test_a_payload_is_tried_a_few_times_and_never_after_a_403(
    hooked: tuple[Chain, Receiver], answers: list[int], tries: int, is_lost: bool
) -> None:
    chain, receiver = hooked
    receiver.answers = list(answers)
    await chain.create_market()
    await asyncio.wait_for(chain.ledger.webhooks.drained(), WAIT_S_MAX)
    assert (len(receiver.bodies), chain.ledger.webhooks.lost_count) == (tries, int(is_lost))
    assert all(body == receiver.bodies[0] for body in receiver.bodies)


async def test_a_receiver_that_is_not_there_loses_the_payload_and_nothing_else(chain: Chain) -> None:
    webhooks = Webhooks(chain.ledger.node, retry_s=0.0)
    chain.ledger.node.watchers = [webhooks]
    await result(chain, "zmart_setWebhook", "http://127.0.0.1:9/", HEADER)
    async with webhooks.running():
        await chain.create_market()
        await asyncio.wait_for(webhooks.drained(), WAIT_S_MAX)
    assert webhooks.lost_count == 1
    assert await result(chain, "getHealth") == "ok"


async def test_a_lost_webhook_is_never_posted(hooked: tuple[Chain, Receiver]) -> None:
    chain, receiver = hooked
    await result(chain, "zmart_setFault", "webhook_lose", {"count": 1})
    await chain.create_market()
    second = await aggregate(chain, 1)
    await receiver.got(1)
    assert signatures(receiver.bodies) == [str(second)]


async def test_a_duplicated_webhook_is_posted_twice(hooked: tuple[Chain, Receiver]) -> None:
    chain, receiver = hooked
    await result(chain, "zmart_setFault", "webhook_duplicate", {"count": 1})
    await chain.create_market()
    first, second = await receiver.got(2)
    assert first == second


async def test_a_reordered_webhook_is_overtaken_by_the_next(hooked: tuple[Chain, Receiver]) -> None:
    chain, receiver = hooked
    await result(chain, "zmart_setFault", "webhook_reorder", {"count": 1})
    await chain.create_market()
    second = await aggregate(chain, 1)
    bodies = await receiver.got(2)
    assert signatures(bodies)[0] == str(second)
    assert bodies[0][0]["slot"] > bodies[1][0]["slot"]


async def test_a_reordered_webhook_comes_after_some_slots_even_if_nothing_follows(
    hooked: tuple[Chain, Receiver],
) -> None:
    chain, receiver = hooked
    await result(chain, "zmart_setFault", "webhook_reorder", {"count": 1, "slots": 3})
    await chain.create_market()
    chain.ledger.tick(2)
    assert receiver.bodies == []
    chain.ledger.tick(1)
    await receiver.got(1)


async def test_the_webhook_survives_a_restart_and_can_be_taken_away(tmp_path: Path, receiver: Receiver) -> None:
    async with running_chain(tmp_path) as chain:
        await result(chain, "zmart_setWebhook", receiver.url, HEADER)
    async with running_chain(tmp_path) as again:
        await again.create_market()
        await receiver.got(1)
        assert receiver.headers == [HEADER]
        assert await result(again, "zmart_setWebhook", None) == {"url": None}
        assert again.ledger.node.webhook is None


@pytest.mark.parametrize(
    "params",
    [[], [5], ["ftp://host/"], ["http://"], ["http://host:99999/"], ["http://h/", "a\nb"], ["http://h/", 5]],
)
async def test_a_webhook_that_cannot_be_is_refused(chain: Chain, params: list[Any]) -> None:
    assert (await error(chain, "zmart_setWebhook", *params))["code"] == -32602
    assert chain.ledger.node.webhook is None
