"""An operator with grpcurl and nothing else: services by reflection, a tally by its id."""

from __future__ import annotations

import asyncio
import json
import sysconfig
from pathlib import Path

from solders.keypair import Keypair

from tests.support.system import RunningSystem, create_markets, new_market_id

GRPCURL = Path(sysconfig.get_path("scripts")) / "grpcurl"


async def grpcurl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        GRPCURL, "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_grpcurl_lists_the_services_by_reflection(system: RunningSystem) -> None:
    services = (await grpcurl(system.connection["grpc_target"], "list")).split()
    assert {f"zmart.v1.{name}Service" for name in ("Auth", "Vote", "Market", "Event", "Webhook", "Ops")} <= set(
        services
    )
    assert "grpc.health.v1.Health" in services


async def test_grpcurl_reads_a_tally(system: RunningSystem) -> None:
    market_id = new_market_id()
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        for word in ("like", "like", "dislike"):
            await doors.cast(system.token(Keypair()), market_id, word)
    request = json.dumps({"market_id": market_id})
    target = system.connection["grpc_target"]
    tally = json.loads(await grpcurl("-d", request, target, "zmart.v1.VoteService/GetTally"))
    assert tally["market_id"] == market_id
    proposal = tally["proposal"]
    assert (proposal.pop("votes_size"), len(proposal.pop("votes_root"))) == (3, 64)
    assert proposal == {
        "likes": 2,
        "dislikes": 1,
        "percentage_bps": 6666,
        "threshold_bps": 7000,
    }, "grpcurl leaves out what is false or zero"
