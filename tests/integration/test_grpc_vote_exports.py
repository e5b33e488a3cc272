"""Exports of votes through a real server on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import StatusCode

from domain.commands import AdoptMarket
from domain.lifecycle import Lifecycle
from domain.tally import VoteType
from grpc_server import BookUnavailable, exports
from tests.support.audit import (
    MARKET,
    exported,
    like,
    on_chain,
    signature_of,
)
from tests.support.eventually import eventually_async
from tests.support.grpc_parts import (
    SIGNER,
    Person,
    Served,
    failure,
    failure_of,
    market_id_of,
    observed,
    served,
)
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        for number, state in ((1, Lifecycle.PROPOSED), (2, Lifecycle.DISPUTED)):
            running.accounts.put(observed(number, Person().wallet, state))
        yield running


async def test_an_export_has_everything_in_order_and_an_end(running: Served) -> None:
    person = Person()
    await like(running, person, wallet_signature=signature_of(person))
    running.town.logs.publish(running.town.markets[MARKET], VoteType.PROPOSAL)
    await on_chain(running, person)
    await running.town.submit(AdoptMarket(MARKET, observed(1, Person().wallet, Lifecycle.ACTIVE, slot=11)))
    await on_chain(running, Person())
    lines = await exported(running)
    assert [line["kind"] for line in lines] == ["header", "vote", "vote", "vote", "aggregation", "end"]
    votes = lines[1:4]
    assert [vote["standing"] for vote in votes] == ["superseded", "counted", "late"]
    assert [vote["sequence"] for vote in votes] == [1, 2, None]
    assert lines[0]["receipt_keys"] == {key_id: key.hex() for key_id, key in SIGNER.public_keys.items()}
    assert lines[-1] == {"kind": "end", "votes": 2, "late": 1, "aggregations": 1}


async def test_what_comes_in_while_an_export_runs_is_not_in_it(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    people = [Person() for _ in range(5)]
    for person in people:
        await like(running, person)
    turned: list[object] = []
    logs = running.town.logs
    second = logs.kept[1].entry.place

    async def come_in(after: tuple[int, str] | None) -> None:
        if after != second or turned:
            return
        turned.append(after)
        logs.publish(running.town.markets[MARKET], VoteType.PROPOSAL)
        await on_chain(running, people[4])
        await like(running, Person())
        logs.publish(running.town.markets[MARKET], VoteType.PROPOSAL)

    monkeypatch.setattr(logs, "turned", come_in)
    lines = await exported(running)
    assert turned, "something came in between the first page and the second"
    assert [line["kind"] for line in lines] == ["header", *["vote"] * 5, "aggregation", "end"]
    assert {line["standing"] for line in lines[1:6]} == {"counted"}


async def test_the_server_does_not_vouch_for_votes_that_were_altered(running: Served) -> None:
    answers = [await like(running, Person()) for _ in range(3)]
    running.town.logs.alter(answers[1].vote_id)
    unread = [line["receipt"] for line in await exported(running) if line["kind"] == "vote"]
    assert unread == [None] * 3, "whichever was altered, the log has not the root that was published"
    running.town.logs.alter(answers[1].vote_id)
    await exported(running)
    running.town.logs.alter(answers[1].vote_id)
    known = [line["receipt"] for line in await exported(running) if line["kind"] == "vote"]
    assert [receipt is None for receipt in known] == [False, True, False]


async def test_a_market_without_votes_is_exported_and_one_that_is_not_there_is_not(running: Served) -> None:
    assert [line["kind"] for line in await exported(running)] == ["header", "end"]
    failed = await failure(exported(running, market_id_of(9)))
    assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "MARKET_NOT_FOUND")


async def test_more_exports_than_may_be_under_way_are_refused(running: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "EXPORTS_MAX", 0)
    assert (await failure(exported(running))).info.reason == "SERVER_BUSY"
    monkeypatch.undo()
    monkeypatch.setattr(exports, "EXPORTS_MAX", 1)
    for _ in range(2):
        assert len(await exported(running)) == 2, "an export that ended has left its place"


async def test_an_export_that_its_client_gives_up_leaves_its_place(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "EXPORTS_MAX", 1)
    monkeypatch.setattr(exports, "PAGE", 1)
    for _ in range(3):
        await like(running, Person())
    call = VoteServiceStub(running.channel).ExportVotes(pb.ExportVotesRequest(market_id=MARKET))
    await anext(aiter(call))
    call.cancel()

    async def has_place() -> bool:
        try:
            return len(await exported(running)) == 5
        except grpc.aio.AioRpcError:
            return False

    await eventually_async(has_place)


async def test_an_outage_in_the_middle_leaves_an_export_without_its_end(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 1)
    for _ in range(3):
        await like(running, Person())
    first = running.town.logs.kept[0].entry.place

    async def break_off(after: tuple[int, str] | None) -> None:
        if after == first:
            raise BookUnavailable("gone")

    monkeypatch.setattr(running.town.logs, "turned", break_off)
    lines = b""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for part in VoteServiceStub(running.channel).ExportVotes(pb.ExportVotesRequest(market_id=MARKET)):
            lines += part.lines
    assert failure_of(caught.value).info.reason == "DATABASE_UNAVAILABLE"
    assert [json.loads(line)["kind"] for line in lines.splitlines()] == ["header", "vote"]
