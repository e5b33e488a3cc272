"""What operators see of a whole system: actors from themselves, shards by their own word, transactions in pages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import psutil
from click.testing import CliRunner
from solders.keypair import Keypair

from app.cli import main
from app.config import Settings
from app.demo.story import GRID_S
from app.identities import tokens
from domain.ids import VIRTUAL_SHARDS, virtual_shard
from identity import Caller
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, create_markets, new_market_id


async def test_an_operator_sees_what_an_actor_waits_for_and_what_it_has_sent(system: RunningSystem) -> None:
    market_id = new_market_id()
    operator = {"authorization": f"Bearer {system.connection['operator_token']}"}

    async def got(path: str, **params: str) -> Any:
        async with http.get(f"{system.connection['envoy_url']}/api/ops/{path}", params=params) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async with system.doors() as doors, aiohttp.ClientSession(headers=operator) as http:
        await create_markets(doors, [market_id])

        async def voted() -> Any:
            """The actor as it stands after a vote; what the indexer has seen of its market may come in between."""
            await doors.cast(system.token(Keypair()), market_id, "like")
            actor = await got(f"actors/{market_id}")
            return actor if actor["last_decision"] == "votes: VotesCounted" else None

        actor = await eventually_async(voted)
        assert (actor["state"], actor["active"], actor["virtual_shard"]) == ("PROPOSED", True, virtual_shard(market_id))
        assert [(each["kind"], each["clock"]) for each in actor["deadlines"]] == [("tick", "chain")]
        assert actor["pid"] in [each["pid"] for each in (await shards(got))["processes"] if each["alive"]]
        await doors.advance_clock(GRID_S)

        async def landed() -> list[Any]:
            page = await got("transactions", market_id=market_id)
            return [row for row in page["transactions"] if row["status"] in ("confirmed", "finalized")]

        (row,) = await eventually_async(landed, timeout_s=60)
        assert (row["action"], row["attempt"], row["error_name"]) == ("aggregate_proposal_votes", 1, "")
        assert row["transaction_signature"]
        command = ["actors", market_id, "--json", "--data-dir", str(system.data_dir)]
        shown = json.loads((await asyncio.to_thread(CliRunner().invoke, main, command)).output)
        assert shown["market_id"] == market_id
    shards_url = f"{system.connection['envoy_url']}/api/ops/shards"
    async with aiohttp.ClientSession() as stranger, stranger.get(shards_url) as refused:
        assert refused.status == 401


async def test_the_token_in_connection_json_is_listed_as_every_operators(system: RunningSystem) -> None:
    held = Settings(data_dir=system.data_dir)
    caller = tokens(held).verify(system.connection["operator_token"])
    assert isinstance(caller, Caller)
    command = ["token", "list", "--json", "--data-dir", str(system.data_dir)]
    shown = (await asyncio.to_thread(CliRunner().invoke, main, command)).output
    listed = {each["token_id"]: each for each in map(json.loads, shown.splitlines())}
    assert caller.credential_id in listed
    assert listed[caller.credential_id]["label"] == f"zmart up, run {system.connection['run_id']}"


async def shards(got: Any) -> Any:
    """The shards once every place has spoken."""

    async def spoken() -> Any:
        answer = await got("shards")
        return answer if sum(each["virtual_shards"] for each in answer["processes"]) == VIRTUAL_SHARDS else None

    answer = await eventually_async(spoken)
    assert len(answer["shards"]) == VIRTUAL_SHARDS
    assert all(psutil.pid_exists(each["pid"]) for each in answer["shards"])
    return answer
