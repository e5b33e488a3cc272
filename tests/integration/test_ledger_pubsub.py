"""PubSub over WebSocket: who hears what at which commitment, and what happens to those who do not listen."""

import asyncio
import base64
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from solders.rpc.config import RpcTransactionLogsFilter
from solders.rpc.responses import SignatureNotification, SubscriptionResult
from solders.signature import Signature
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from chain.ledger.pubsub import Hub, pubsub_application
from chain.ledger.pubsub.hub import SUBSCRIPTIONS_MAX
from domain.ids import MarketId
from tests.support.eventually import WAIT_S_MAX, eventually_async
from tests.support.ledger import Chain, market_id
from tests.support.rpc_calls import paying, result


class Subscriber:
    """One WebSocket with its answers and notifications, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._ids = itertools.count(1)

    async def next(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), WAIT_S_MAX))
        return message

    async def ask(self, method: str, *params: Any) -> dict[str, Any]:
        """The answer to one request."""
        await self.socket.send(
            json.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)})
        )
        return await self.next()

    async def subscribe(self, kind: str, *params: Any) -> int:
        """The number of a new subscription."""
        number: int = (await self.ask(f"{kind}Subscribe", *params))["result"]
        return number

    async def heard(self, method: str, number: int) -> Any:
        """The next notification, which must be this one."""
        message = await self.next()
        assert (message["method"], message["params"]["subscription"]) == (method, number), message
        return message["params"]["result"]

    async def heard_nothing(self) -> None:
        """Whatever was to be said has been said when the next request is answered."""
        assert "error" in await self.ask("getNothing")


@pytest.fixture
async def subscriber(chain: Chain) -> AsyncIterator[Subscriber]:
    async with connect(chain.ledger.pubsub_url) as socket:
        yield Subscriber(socket)


async def vote(chain: Chain, market: MarketId, likes: int) -> Signature:
    backend = chain.keys.backend
    call = chain.program.aggregate_proposal_votes(backend.wallet, market, likes, 0)
    return await chain.send(await chain.signed([call], backend.pair))


async def test_slots_and_roots_are_announced(chain: Chain, subscriber: Subscriber) -> None:
    slots = await subscriber.subscribe("slot")
    roots = await subscriber.subscribe("root")
    chain.ledger.tick()
    tip = chain.ledger.node.bank.tip
    assert await subscriber.heard("slotNotification", slots) == {
        "parent": tip.slot - 1,
        "root": tip.slot - 32,
        "slot": tip.slot,
    }
    assert await subscriber.heard("rootNotification", roots) == tip.slot - 32


@pytest.mark.parametrize(("commitment", "slots"), [("processed", 0), ("confirmed", 1), ("finalized", 32)])
async def test_a_signature_is_reported_once_when_its_commitment_is_reached(
    chain: Chain, subscriber: Subscriber, commitment: str, slots: int
) -> None:
    transaction = await paying(chain)
    signature = transaction.signatures[0]
    number = await subscriber.subscribe("signature", str(signature), {"commitment": commitment})
    await chain.send(transaction)
    slot = chain.ledger.node.bank.tip.slot
    if slots:
        chain.ledger.tick(slots - 1)
        await subscriber.heard_nothing()
        chain.ledger.tick()
    said = await subscriber.heard("signatureNotification", number)
    assert (said["context"]["slot"], said["value"]) == (slot, {"err": None})
    chain.ledger.tick(40)
    await subscriber.heard_nothing()
    assert (await subscriber.ask("signatureUnsubscribe", number))["error"]["code"] == -32602


async def test_a_signature_that_is_there_already_is_reported_at_once(chain: Chain, subscriber: Subscriber) -> None:
    signature = await chain.send(await paying(chain))
    chain.ledger.tick()
    number = await subscriber.subscribe("signature", str(signature), {"commitment": "confirmed"})
    assert (await subscriber.heard("signatureNotification", number))["value"] == {"err": None}
    waits = await subscriber.subscribe("signature", str(signature), {"commitment": "finalized"})
    await subscriber.heard_nothing()
    chain.ledger.tick(31)
    assert (await subscriber.heard("signatureNotification", waits))["value"] == {"err": None}


async def test_a_signature_may_ask_to_hear_of_its_reception_too(chain: Chain, subscriber: Subscriber) -> None:
    transaction = await paying(chain)
    config = {"commitment": "confirmed", "enableReceivedNotification": True}
    number = await subscriber.subscribe("signature", str(transaction.signatures[0]), config)
    await chain.send(transaction)
    chain.ledger.tick()
    said = [(await subscriber.heard("signatureNotification", number))["value"] for _ in range(2)]
    assert said == ["receivedSignature", {"err": None}]


async def test_a_failed_transaction_is_reported_with_its_error(chain: Chain, subscriber: Subscriber) -> None:
    market, admin = await chain.create_market(), chain.keys.admin
    transaction = await chain.signed([chain.program.approve_proposal(admin.wallet, market)], admin.pair)
    number = await subscriber.subscribe("signature", str(transaction.signatures[0]), {"commitment": "processed"})
    await chain.send(transaction, preflight=False)
    said = await subscriber.heard("signatureNotification", number)
    assert said["value"] == {"err": {"InstructionError": [0, {"Custom": 6024}]}}


async def test_an_account_is_told_at_every_commitment_with_that_commitments_bytes(
    chain: Chain, subscriber: Subscriber
) -> None:
    market = await chain.create_market()
    chain.ledger.tick(40)
    address = str(chain.program.market_address(market)[0])
    numbers = {
        name: await subscriber.subscribe("account", address, {"commitment": name, "encoding": "base64"})
        for name in ("processed", "confirmed", "finalized")
    }
    for likes in (3, 4):
        await vote(chain, market, likes)

    async def likes_heard(name: str) -> int:
        said = await subscriber.heard("accountNotification", numbers[name])
        data = base64.b64decode(said["value"]["data"][0])
        return chain.program.market(market, data, 0).proposal_likes

    assert [await likes_heard("processed") for _ in range(2)] == [3, 4]
    chain.ledger.tick()
    assert await likes_heard("confirmed") == 4
    chain.ledger.tick(31)
    assert await likes_heard("finalized") == 4
    await subscriber.heard_nothing()


async def test_accounts_of_a_program_are_told_if_they_pass_the_filters(chain: Chain, subscriber: Subscriber) -> None:
    program = str(chain.program.program_id)
    second = {"memcmp": {"offset": 8, "bytes": market_id(2)}}
    config = {"commitment": "confirmed", "encoding": "base64", "filters": [{"dataSize": 488}, second]}
    number = await subscriber.subscribe("program", program, {**config, "dataSlice": {"offset": 8, "length": 32}})
    for value in (1, 2, 3):
        await chain.create_market(value)
    said = await subscriber.heard("programNotification", number)
    assert said["value"]["pubkey"] == str(chain.program.market_address(market_id(2))[0])
    assert base64.b64decode(said["value"]["account"]["data"][0]) == bytes([2]) * 32
    await subscriber.heard_nothing()


async def test_logs_are_told_to_all_or_to_those_who_are_mentioned(chain: Chain, subscriber: Subscriber) -> None:
    confirmed = {"commitment": "confirmed"}
    everything = await subscriber.subscribe("logs", "all", confirmed)
    ours = await subscriber.subscribe("logs", {"mentions": [str(chain.program.program_id)]}, confirmed)
    transfer = await chain.send(await paying(chain))
    chain.ledger.tick()
    assert (await subscriber.heard("logsNotification", everything))["value"]["signature"] == str(transfer)
    await chain.create_market()
    said = [await subscriber.heard("logsNotification", number) for number in (everything, ours)]
    assert said[0] == said[1]
    assert said[0]["value"]["err"] is None
    assert any(line.startswith("Program data: ") for line in said[0]["value"]["logs"])


async def test_who_unsubscribes_hears_no_more(chain: Chain, subscriber: Subscriber) -> None:
    for kind, params in {
        "slot": (),
        "root": (),
        "logs": ("all", {"commitment": "processed"}),
        "account": (str(chain.keys.backend.pair.pubkey()), {"commitment": "processed"}),
        "program": ("1" * 32, {"commitment": "processed"}),
        "signature": ("1" * 64,),
    }.items():
        number = await subscriber.subscribe(kind, *params)
        assert (await subscriber.ask(f"{kind}Unsubscribe", number))["result"] is True
        assert (await subscriber.ask(f"{kind}Unsubscribe", number))["error"]["code"] == -32602
    await chain.send(await paying(chain))
    chain.ledger.tick()
    await subscriber.heard_nothing()
    assert chain.ledger.hub.subscription_count == 0


async def test_what_is_no_subscription_is_refused_in_words(chain: Chain, subscriber: Subscriber) -> None:
    refusals: list[tuple[int, str, list[Any]]] = [
        (-32601, "getSlot", []),
        (-32601, "moonSubscribe", []),
        (-32602, "accountSubscribe", []),
        (-32602, "accountSubscribe", ["short"]),
        (-32602, "accountSubscribe", ["1" * 32, {"commitment": "soon"}]),
        (-32602, "logsSubscribe", []),
        (-32602, "logsSubscribe", ["some"]),
        (-32602, "logsSubscribe", [{"mentions": ["1" * 32, "1" * 32]}]),
        (-32602, "signatureSubscribe", ["1" * 32]),
        (-32602, "slotUnsubscribe", [99]),
    ]
    answers = [(await subscriber.ask(method, *params))["error"]["code"] for _, method, params in refusals]
    assert answers == [code for code, _, _ in refusals]
    await subscriber.socket.send("{")
    assert (await subscriber.next())["error"]["code"] == -32700
    await subscriber.socket.send('{"jsonrpc": "2.0", "method": "ping"}')
    await subscriber.heard_nothing()


async def test_one_connection_has_a_bounded_number_of_subscriptions(subscriber: Subscriber) -> None:
    call = {"jsonrpc": "2.0", "method": "slotSubscribe"}
    batch = [{**call, "id": number} for number in range(SUBSCRIPTIONS_MAX // 2)]
    for _ in range(2):
        await subscriber.socket.send(json.dumps(batch))
        assert len(json.loads(await subscriber.socket.recv())) == len(batch)
    assert (await subscriber.ask("slotSubscribe"))["error"]["code"] == -32603


async def test_a_client_that_leaves_takes_its_subscriptions_along(chain: Chain) -> None:
    async with connect(chain.ledger.pubsub_url) as socket:
        await Subscriber(socket).subscribe("slot")
        assert chain.ledger.hub.subscription_count == 1

    async def is_forgotten() -> bool:
        return chain.ledger.hub.subscription_count == 0

    await eventually_async(is_forgotten)
    chain.ledger.tick()


@contextlib.asynccontextmanager
async def narrow_pubsub(chain: Chain, bytes_max: int) -> AsyncIterator[str]:
    """A second PubSub of the same chain whose clients may have `bytes_max` waiting."""
    hub = Hub(chain.ledger.node)
    chain.ledger.node.watchers.append(hub)
    runner = web.AppRunner(pubsub_application(hub, bytes_max), shutdown_timeout=1.0, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
    chain.ledger.node.watchers.remove(hub)


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_hear_everything(chain: Chain) -> None:
    async with (
        narrow_pubsub(chain, 20_000) as url,
        connect(url) as slow,
        connect(chain.ledger.pubsub_url) as quick,
    ):
        await Subscriber(slow).subscribe("slot")
        reader = Subscriber(quick)
        number = await reader.subscribe("slot")
        chain.ledger.tick(400)  # in one go: no writer has a turn meanwhile, as with a socket that takes nothing
        with pytest.raises(ConnectionClosed):
            while True:
                await slow.recv()
        seen = [(await reader.heard("slotNotification", number))["slot"] for _ in range(400)]
        assert seen == list(range(seen[0], seen[0] + 400))


async def test_a_dropped_slot_tells_no_confirmation_of_what_is_gone(chain: Chain, subscriber: Subscriber) -> None:
    transaction = await paying(chain)
    final = await subscriber.subscribe("signature", str(transaction.signatures[0]), {"commitment": "finalized"})
    await chain.send(transaction)
    chain.ledger.tick()
    await result(chain, "zmart_setFault", "drop_slot", {"count": 1})
    chain.ledger.tick(40)
    await subscriber.heard_nothing()
    again = await paying(chain)
    other = await subscriber.subscribe("signature", str(again.signatures[0]), {"commitment": "finalized"})
    await chain.send(again)
    chain.ledger.tick(32)
    assert (await subscriber.heard("signatureNotification", other))["value"] == {"err": None}
    assert final != other


@pytest.mark.filterwarnings("ignore:websockets.* is deprecated:DeprecationWarning")  # solana-py 0.36 still imports it
async def test_solana_pys_own_websocket_client_understands_it(chain: Chain) -> None:
    from solana.rpc.websocket_api import connect as solana_connect

    transaction = await paying(chain)
    async with solana_connect(chain.ledger.pubsub_url) as client:
        await client.logs_subscribe(RpcTransactionLogsFilter.All)
        [answer] = await client.recv()
        assert isinstance(answer, SubscriptionResult)
        await client.signature_subscribe(transaction.signatures[0])
        await client.recv()
        await chain.send(transaction)
        chain.ledger.tick(32)
        said = [message for _ in range(2) for message in await client.recv()]
    kinds = {type(message).__name__ for message in said}
    assert kinds == {"LogsNotification", "SignatureNotification"}
    assert [m.result.value.err for m in said if isinstance(m, SignatureNotification)] == [None]
