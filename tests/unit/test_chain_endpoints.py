"""Several endpoints of one cluster: the next one at a failure, patience where asked, nobody of another cluster."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from solana.exceptions import SolanaRpcException
from solana.rpc.providers.core import _parse_raw
from solders.rpc.requests import GetBlockHeight, GetSlot
from solders.rpc.responses import GetBlockHeightResp, GetSlotResp

from chain.endpoints import AnotherCluster, NoEndpoint, PoolSettings, RpcPool
from chain.rpc import ChainUnavailable, EndpointDown, Rpc, RpcRefused, RpcSettings

OURS, ANOTHER = "8" * 44, "9" * 44


@dataclass
class Scripted:
    """A provider whose node is told what to say: a number, an HTTP status, an exception or a JSON-RPC error."""

    height: Any = 1
    slot: int = 1_000
    genesis: str = OURS
    asked: list[str] = field(default_factory=list)

    async def make_request(self, body: Any, parser: Any) -> Any:
        request = json.loads(body.to_json())
        self.asked.append(request["method"])
        said = {"getGenesisHash": self.genesis, "getSlot": self.slot}.get(request["method"], self.height)
        post = httpx.Request("POST", "http://node")
        if isinstance(said, httpx.Response):
            said.request = post
            raise _failed(httpx.HTTPStatusError("no", request=post, response=said), body)
        if isinstance(said, httpx.HTTPError):
            raise _failed(said, body)
        key = "error" if isinstance(said, dict) else "result"
        return _parse_raw(json.dumps({"jsonrpc": "2.0", "id": 0, key: said}), parser=parser)

    async def close(self) -> None:
        self.asked.append("close")


def _failed(cause: httpx.HTTPError, body: Any) -> SolanaRpcException:
    failure = SolanaRpcException(cause, print, None, body)
    failure.__cause__ = cause
    return failure


class Pool:
    """A pool over scripted nodes, with a clock that moves when somebody sleeps."""

    def __init__(self, *nodes: Scripted, **settings: Any) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []
        rpcs = [Rpc(RpcSettings(f"http://node{n}/key"), self.sleep, node) for n, node in enumerate(nodes)]
        self.pool = RpcPool(rpcs, PoolSettings(**settings), clock=lambda: self.now_s, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    async def height(self) -> int:
        return (await self.pool.ask(GetBlockHeight(), GetBlockHeightResp)).value

    async def height_once(self) -> int:
        return (await self.pool.ask_once(GetBlockHeight(), GetBlockHeightResp)).value

    def usable(self) -> list[str]:
        return [endpoint.rpc.endpoint for endpoint in self.pool.usable()]


def down() -> httpx.HTTPError:
    return httpx.ReadError("gone")


async def test_the_first_endpoint_is_asked_while_it_answers() -> None:
    first, second = Scripted(height=1), Scripted(height=2)
    assert await Pool(first, second).height() == 1
    assert second.asked == []


async def test_a_read_goes_to_the_next_endpoint_at_once_and_prefers_it_for_a_while() -> None:
    first, second = Scripted(height=down()), Scripted(height=2)
    pool = Pool(first, second)
    assert (await pool.height(), pool.slept) == (2, [])
    assert pool.usable() == ["http://node1", "http://node0"]
    pool.now_s += 60
    assert pool.usable() == ["http://node0", "http://node1"]


async def test_a_send_goes_out_once_and_its_lost_answer_is_the_callers() -> None:
    first, second = Scripted(height=down()), Scripted(height=2)
    pool = Pool(first, second)
    with pytest.raises(EndpointDown) as outage:
        await pool.height_once()
    assert (outage.value.had_no_effect, "getBlockHeight" in second.asked) == (False, False)
    assert await pool.height_once() == 2


BEHIND = {"code": -32016, "message": "Minimum context slot has not been reached", "data": {"contextSlot": 5}}


@pytest.mark.parametrize("cause", [httpx.ConnectError("no"), httpx.Response(429), BEHIND])
async def test_what_certainly_had_no_effect_is_said(cause: Any) -> None:
    with pytest.raises(ChainUnavailable) as outage:
        await Pool(Scripted(height=cause)).height_once()
    assert outage.value.had_no_effect is True


async def test_an_error_that_the_library_chokes_on_is_an_outage() -> None:
    without_data = {"code": -32016, "message": "Minimum context slot has not been reached"}
    with pytest.raises(EndpointDown, match="not JSON-RPC"):
        await Pool(Scripted(height=without_data)).height_once()


async def test_a_refusal_is_an_answer_and_no_reason_to_ask_another() -> None:
    first, second = Scripted(height={"code": -32602, "message": "Invalid params"}), Scripted()
    pool = Pool(first, second)
    with pytest.raises(RpcRefused):
        await pool.height()
    assert "getBlockHeight" not in second.asked


async def test_an_endpoint_that_asks_for_patience_is_left_alone_so_long_and_others_are_not() -> None:
    first, second = Scripted(height=httpx.Response(429, headers={"Retry-After": "3"})), Scripted(height=2)
    pool = Pool(first, second)
    assert (await pool.height(), await pool.height()) == (2, 2)
    assert first.asked.count("getBlockHeight") == 1
    pool.now_s += 2.9
    assert pool.usable() == ["http://node1"]
    pool.now_s += 0.1
    assert pool.usable() == ["http://node0", "http://node1"]


async def test_five_failures_leave_an_endpoint_alone_for_a_minute_and_the_error_comes_at_once() -> None:
    node = Scripted(height=down())
    pool = Pool(node)
    for _ in range(2):
        with pytest.raises(ChainUnavailable):
            await pool.height()
    asked = len(node.asked)
    for _ in range(100):
        with pytest.raises(NoEndpoint, match="failed repeatedly") as refusal:
            await pool.height()
    assert (asked, len(node.asked)) == (5, 5)
    assert refusal.value.facts.retry_after_s == 60.0
    node.height = 7
    pool.now_s += 60
    assert await pool.height() == 7


async def test_an_endpoint_that_lags_is_left_out_and_comes_back() -> None:
    fast, slow = Scripted(slot=1_200), Scripted(slot=1_000)
    pool = Pool(slow, fast)
    await pool.pool.look()
    assert pool.usable() == ["http://node1"]
    slow.slot = 1_190
    await pool.pool.look()
    assert pool.usable() == ["http://node0", "http://node1"]


async def test_a_lagging_endpoint_is_better_than_none() -> None:
    fast, slow = Scripted(slot=1_200), Scripted(slot=1_000, height=5)
    pool = Pool(slow, fast)
    await pool.pool.look()
    fast.height = httpx.Response(429, headers={"Retry-After": "9"})
    assert await pool.height() == 5


async def test_an_endpoint_of_another_cluster_is_asked_nothing() -> None:
    first, second = Scripted(genesis=ANOTHER, height=6), Scripted(height=2)
    pool = Pool(first, second, genesis_hash=OURS)
    assert (await pool.height(), first.asked) == (2, ["getGenesisHash"])
    await pool.height()
    assert first.asked == ["getGenesisHash"]


async def test_without_a_configured_cluster_the_first_that_answers_decides() -> None:
    first, second = Scripted(), Scripted(genesis=ANOTHER)
    pool = Pool(first, second)
    await pool.height()
    first.height = down()
    with pytest.raises(ChainUnavailable):
        await pool.height()
    assert "getBlockHeight" not in second.asked


async def test_the_only_endpoint_of_another_cluster_is_refused_with_its_name() -> None:
    node = Scripted(genesis=ANOTHER)
    pool = Pool(node, genesis_hash=OURS)
    with pytest.raises(AnotherCluster, match=f"another cluster, genesis {ANOTHER}"):
        await pool.height()
    assert (node.asked, pool.slept) == (["getGenesisHash"], [])
    node.genesis = OURS
    pool.now_s += 60
    assert await pool.height() == 1


async def test_proof_is_asked_of_every_endpoint_that_can_be_asked() -> None:
    nodes = Scripted(slot=5), Scripted(slot=6), Scripted(slot=7)
    pool = Pool(*nodes)
    assert [answer.value for answer in await pool.pool.ask_each(GetSlot(), GetSlotResp)] == [5, 6, 7]
    nodes[1].genesis = ANOTHER
    again = Pool(*nodes)
    assert [answer.value for answer in await again.pool.ask_each(GetSlot(), GetSlotResp)] == [5, 7]


async def test_names_of_endpoints_hold_no_keys_and_closing_closes_all() -> None:
    nodes = Scripted(), Scripted()
    pool = Pool(*nodes)
    assert pool.pool.endpoint == "http://node0, http://node1"
    await pool.pool.close()
    assert [node.asked for node in nodes] == [["close"], ["close"]]
