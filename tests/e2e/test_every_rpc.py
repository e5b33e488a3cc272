"""Every method of the contract through gRPC, grpc-web and REST: the same answers, the same errors.

A method without a row fails. Answers are compared whole but for what a row says differs from call to call.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
import pytest
from solders.keypair import Keypair

from chain.client import ChainReader
from domain.ids import MarketId
from grpc_server.methods import POLICIES
from tests.support.disputes import Booth, Dispute
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, create_markets, new_market_id
from tests.support.three_doors import Answer, Rpc, ThreeDoors, without
from tests.support.walks import WALKS, Walk

NOBODY = Keypair()
VOTER = Keypair()
REQUEST_ID = str(uuid.uuid4())
ADMIN, WALLET, SERVICE = "admin", "wallet", "service"
BODY = {"body": {"content_type": "application/json", "data": base64.b64encode(b"[]").decode()}}
NO_BODY = {"body": {"content_type": "application/json", "data": base64.b64encode(b"{").decode()}}
VOTE = {"market_id": "$market", "vote": "like", "request_id": REQUEST_ID}
BULK = {
    "votes": [
        {"market_id": "$market", "vote": "like", "user_pubkey": str(Keypair().pubkey()), "request_id": REQUEST_ID}
    ]
}


@dataclass(frozen=True)
class Row:
    """A call that is answered, or refused with `reason`; `$market` stands for a market that exists."""

    fields: Mapping[str, Any]
    caller: str = ""
    reason: str | None = None
    varies: frozenset[str] = field(default_factory=frozenset)


def good(fields: Mapping[str, Any], caller: str = "", varies: str = "") -> Row:
    return Row(fields, caller, None, frozenset(varies.split()))


def bad(fields: Mapping[str, Any], reason: str, caller: str = "") -> Row:
    return Row(fields, caller, reason)


CHANGES_MAX = 10
"""How often what is read may change between two doors: a shard's heartbeat, what the indexer has seen of a market."""
BY_THEMSELVES = {"VoteService/CastDisputeVote", "VoteService/GetVoteProof"}
"""Each has a test below."""
ELSEWHERE = {"MarketService/FinalizeMarket"}
"""The system is always first to end a market that is due, so `test_front_door.py` asks for it without one."""
ID = {"market_id": "$market"}
NO_ID = bad({"market_id": "abc"}, "MARKET_ID_MALFORMED")
UNKNOWN = {"market_id": str(Keypair().pubkey())}
SIGN_IN = {"address": str(NOBODY.pubkey()), "message": "hello", "signature": str(NOBODY.sign_message(b"hello"))}
TOKENS = "message nonce expires_at"

ROWS: Mapping[str, list[Row]] = {
    "AuthService/CreateChallenge": [
        good({"address": str(NOBODY.pubkey())}, varies=TOKENS),
        bad({"address": "abc"}, "ADDRESS_MALFORMED"),
        bad({"address": str(NOBODY.pubkey()), "domain": "a.example"}, "SIGN_IN_DOMAIN_UNKNOWN"),
    ],
    "AuthService/SignIn": [bad(SIGN_IN, "SIGN_IN_MESSAGE_MALFORMED")],
    "AuthService/RefreshToken": [bad({"refresh_token": "abc"}, "REFRESH_TOKEN_MALFORMED")],
    "VoteService/CastProposalVote": [
        good(VOTE, WALLET, "receipt"),
        bad(VOTE, "TOKEN_MISSING"),
        bad({**VOTE, "vote": "maybe"}, "VOTE_WORD_UNKNOWN", WALLET),
        bad({"market_id": "$market", "vote": "like"}, "ALREADY_VOTED", WALLET),
    ],
    "VoteService/CastDisputeVote": [bad({"market_id": "$market", "vote": "support"}, "WRONG_STATE", WALLET)],
    "VoteService/CastVotes": [good(BULK, SERVICE, "receipts"), bad(BULK, "TIER_TOO_LOW", WALLET)],
    "VoteService/StreamVotes": [good(BULK, SERVICE, "receipts")],
    "VoteService/GetTally": [good(ID), NO_ID],
    "VoteService/ListVotes": [good(ID), bad({**ID, "page_size": -1}, "PAGE_SIZE_NEGATIVE")],
    "VoteService/GetVoteProof": [
        bad({**ID, "vote_id": str(uuid.UUID(int=1))}, "VOTE_NOT_FOUND"),
        bad({**ID, "vote_id": "1"}, "VOTE_ID_MALFORMED"),
    ],
    "VoteService/ExportVotes": [good(ID, varies="chunk data lines"), NO_ID],
    "MarketService/GetMarket": [good(ID), bad(UNKNOWN, "MARKET_NOT_FOUND"), NO_ID],
    "MarketService/ListMarkets": [good({"page_size": 1}), bad({"state": "OPEN"}, "STATE_UNKNOWN")],
    "MarketService/WatchMarket": [
        good(ID, varies="timestamp resume_token"),
        bad({**ID, "resume_token": "x"}, "RESUME_TOKEN_INVALID"),
    ],
    "MarketService/RegisterMarket": [
        good({**ID, "question": "Will it rain?", "category": "weather"}, "creator"),
        bad({**ID, "question": "Q"}, "NOT_THE_CREATOR", WALLET),
    ],
    "MarketService/ApproveMarket": [bad(UNKNOWN, "MARKET_NOT_FOUND", ADMIN), bad(ID, "TIER_TOO_LOW", WALLET)],
    "MarketService/ActivateMarket": [bad(ID, "ILLEGAL_TRANSITION", ADMIN)],
    "MarketService/CancelMarket": [bad(UNKNOWN, "MARKET_NOT_FOUND", ADMIN)],
    "MarketService/FinalizeMarket": [bad(ID, "ILLEGAL_TRANSITION", ADMIN)],
    "EventService/ListEvents": [good({"market_id": "$market"}), bad({"event_type": "Nothing"}, "EVENT_TYPE_UNKNOWN")],
    "EventService/SearchEvents": [good({"q": "$market", "limit": 1}), bad({"q": "a"}, "SEARCH_WORD_MALFORMED")],
    "WebhookService/ReceiveHeliusEvents": [
        good(BODY, "webhook", "inbox_id"),
        bad(NO_BODY, "WEBHOOK_MALFORMED", "webhook"),
        bad(BODY, "WEBHOOK_NOT_PROVEN"),
    ],
    "OpsService/GetHealth": [good({}, varies="metrics")],
    "OpsService/ListAlerts": [
        good({"page_size": 1}, ADMIN),
        bad({"severity": "X"}, "SEVERITY_UNKNOWN", ADMIN),
        bad({}, "TOKEN_MISSING"),
    ],
    "OpsService/AcknowledgeAlert": [bad({"id": str(uuid.UUID(int=1))}, "ALERT_NOT_FOUND", ADMIN)],
    "OpsService/ResolveAlert": [bad({"id": "1"}, "ALERT_ID_MALFORMED", ADMIN)],
    "OpsService/ListDiscrepancies": [good(ID, ADMIN), bad({}, "TOKEN_MISSING")],
    "OpsService/RunReconciliation": [
        good(ID, ADMIN, "run_id"),
        bad({"market_id": "abc"}, "MARKET_ID_MALFORMED", ADMIN),
    ],
    "OpsService/AggregateNow": [
        bad(UNKNOWN, "MARKET_NOT_FOUND", ADMIN),
        bad({"market_id": "abc"}, "MARKET_ID_MALFORMED", ADMIN),
    ],
    "OpsService/ListAggregations": [good(ID, ADMIN), bad({"status": "X"}, "AGGREGATION_STATUS_UNKNOWN", ADMIN)],
    "OpsService/ListShards": [good({}, ADMIN, "shards"), bad({}, "TIER_TOO_LOW", WALLET)],
    "OpsService/DescribeActor": [good(ID, ADMIN), bad({"market_id": "abc"}, "MARKET_ID_MALFORMED", ADMIN)],
    "OpsService/ListTransactions": [good(ID, ADMIN), bad({"status": "X"}, "TRANSACTION_STATUS_UNKNOWN", ADMIN)],
    "OpsService/ListConnections": [
        good({}, ADMIN, "bridges connections total_count"),
        bad({"user_pubkey": "abc"}, "ADDRESS_MALFORMED", ADMIN),
        bad({}, "TIER_TOO_LOW", WALLET),
    ],
    "OpsService/KickConnections": [
        good({"user_pubkey": str(NOBODY.pubkey()), "reason": "test"}, ADMIN, "order_id bridges"),
        bad({"user_pubkey": str(NOBODY.pubkey())}, "TEXT_MISSING", ADMIN),
    ],
}
CALLS = [pytest.param(name, row, id=f"{name}-{row.reason or 'OK'}") for name, rows in ROWS.items() for row in rows]


@dataclass(frozen=True)
class Place:
    """A market with a creator, and what each kind of caller shows."""

    doors: ThreeDoors
    market_id: MarketId
    headers: Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def people() -> tuple[Keypair, MarketId, list[bool]]:
    return Keypair(), new_market_id(), []


@pytest.fixture
async def place(system: RunningSystem, people: tuple[Keypair, MarketId, list[bool]]) -> AsyncIterator[Place]:
    creator, market_id, made = people
    connection = system.connection
    if not made:
        async with system.doors() as doors:
            await doors.create_market(creator, market_id, b"q" * 46)
        made.append(True)
    headers = {
        "": {},
        WALLET: {"authorization": f"Bearer {system.token(VOTER).token}"},
        "creator": {"authorization": f"Bearer {system.token(creator).token}"},
        ADMIN: {"authorization": f"Bearer {connection['operator_token']}"},
        SERVICE: {"x-service-key": connection["service_key"]},
        "webhook": {"authorization": connection["webhook_secret"]},
    }
    async with grpc.aio.insecure_channel(connection["grpc_target"]) as channel, aiohttp.ClientSession() as http:
        yield Place(ThreeDoors(channel, http, connection["envoy_url"]), market_id, headers)


def test_every_method_has_a_row_and_every_row_a_method() -> None:
    assert {f"/zmart.v1.{name}" for name in ROWS} == set(POLICIES)


def test_every_method_succeeds_somewhere_in_this_file_or_where_it_is_said() -> None:
    rows = {name for name, rows in ROWS.items() if any(row.reason is None for row in rows)}
    walked = {name for names in WALKS.values() for name in names}
    assert rows | walked | BY_THEMSELVES | ELSEWHERE == set(ROWS)
    assert not ELSEWHERE & (rows | walked | BY_THEMSELVES)


@pytest.mark.parametrize(("name", "row"), CALLS)
async def test_all_doors_give_the_same(place: Place, name: str, row: Row) -> None:
    rpc = Rpc(f"/zmart.v1.{name}")
    fields = _filled(row.fields, place.market_id)
    headers = place.headers[row.caller]
    answers = await place.doors.by_all(rpc, fields, headers)
    for _ in range(CHANGES_MAX if is_read(name) else 0):
        if not differing(answers, row.varies):
            break
        answers = await place.doors.by_all(rpc, fields, headers)
    assert answers["grpc"].reason == row.reason
    assert_same(answers, row.varies)


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: str(walk.__name__))
async def test_what_can_be_done_once_is_done_the_same_through_each_door(
    system: RunningSystem, place: Place, walk: Callable[[Walk], Awaitable[None]]
) -> None:
    through = place.doors.by_grpc, place.doors.by_grpc_web, place.doors.by_rest
    async with system.doors() as doors:
        walks = [Walk(by, system, doors) for by in through]
        await asyncio.gather(*(walk(each) for each in walks))
    assert tuple(name for name, _ in walks[0].told) == WALKS[walk]
    assert walks[1].told == walks[0].told
    assert walks[2].told == walks[0].told


async def test_a_vote_on_a_dispute_is_the_same_through_each_door(system: RunningSystem, place: Place) -> None:
    """One vote under one request_id: a repeat is answered as the first time."""
    reader = ChainReader.connect(system.connection["rpc_url"], system.connection["program_id"])
    async with system.doors() as doors, reader:
        dispute = Dispute(system, doors, reader)
        booth = Booth(system, place.doors.channel, dispute.market_id)
        await dispute.begin()
        await dispute.trade()
        await dispute.dispute()

        async def disputed() -> bool:
            return await booth.refused(Keypair(), "support") == "NO_POSITION"

        await eventually_async(disputed, timeout_s=60)
        voter = {"authorization": f"Bearer {system.token(dispute.traders['large']).token}"}
        fields = {"market_id": dispute.market_id, "vote": "support", "request_id": REQUEST_ID}
        answers = await place.doors.by_all(Rpc("/zmart.v1.VoteService/CastDisputeVote"), fields, voter)
    assert answers["grpc"].body["success"]
    assert_same(answers, frozenset({"receipt"}))


async def test_the_proof_of_a_vote_is_the_same_through_each_door(system: RunningSystem, place: Place) -> None:
    market_id = new_market_id()
    rpc, now = Rpc("/zmart.v1.VoteService/GetVoteProof"), Rpc("/zmart.v1.OpsService/AggregateNow")
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        votes = [await doors.cast(system.token(Keypair()), market_id, word) for word in ("dislike", "like")]
    assert (await place.doors.by_grpc(now, {"market_id": market_id}, place.headers[ADMIN])).code == 0
    fields = {"market_id": market_id, "vote_id": votes[1].vote_id}

    async def published() -> bool:
        return bool((await place.doors.by_grpc(rpc, fields, {})).body["aggregation_id"])

    await eventually_async(published, timeout_s=60)
    answers = await place.doors.by_all(rpc, fields, {})
    assert len(answers["grpc"].body["path"]) == 1
    assert_same(answers, frozenset())


def is_read(name: str) -> bool:
    return name.split("/")[1].startswith(("Get", "List", "Search", "Describe"))


def differing(answers: Mapping[str, Answer], varies: frozenset[str]) -> list[str]:
    """The doors that did not give what the first one gave."""
    first = _comparable(answers["grpc"], varies)
    return [door for door, answer in answers.items() if _comparable(answer, varies) != first]


def assert_same(answers: Mapping[str, Answer], varies: frozenset[str]) -> None:
    for door in differing(answers, varies):
        assert _comparable(answers[door], varies) == _comparable(answers["grpc"], varies), door


def _filled(value: Any, market_id: MarketId) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(inner, market_id) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, market_id) for inner in value]
    return market_id if value == "$market" else value


def _comparable(answer: Answer, varies: frozenset[str]) -> Any:
    """Code, words, details in any order of their metadata, and the body without what varies."""
    return answer.code, answer.words, answer.details, without(answer.body, varies)
