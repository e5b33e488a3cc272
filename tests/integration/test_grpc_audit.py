"""Receipts and proofs through a real server on loopback, checked as somebody outside would."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from google.rpc.error_details_pb2 import BadRequest, ResourceInfo
from grpc import StatusCode

from domain.ids import MarketId
from domain.lifecycle import Lifecycle
from domain.merkle import leaf_hash, root_from_path, root_of
from domain.tally import VoteType
from domain.votelog import Fate, leaf_of
from grpc_server import BookUnavailable, log_trees
from grpc_server.altered import TOLD_AGAIN_S
from identity import LogPlace
from tests.support.audit import (
    DISPUTED,
    MARKET,
    SERVICE,
    SIGNER_KEY,
    exported,
    is_kept,
    like,
    on_chain,
    proof,
    signature_of,
)
from tests.support.eventually import eventually_async
from tests.support.grpc_parts import (
    Person,
    Served,
    failure,
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


# --- receipts ---------------------------------------------------------------------------------------------------------


async def test_a_vote_is_answered_with_a_receipt_for_its_place_in_the_log(running: Served) -> None:
    answers = [await like(running, Person()) for _ in range(3)]
    assert [answer.receipt.sequence for answer in answers] == [1, 2, 3]
    assert all(is_kept(answer.receipt) for answer in answers)
    assert [(answer.receipt.batch_size, len(answer.receipt.batch_path)) for answer in answers] == [(1, 0)] * 3
    log = [leaf_of(vote.entry).hex() for vote in running.town.logs.kept]
    assert [answer.receipt.leaf_hash for answer in answers] == log


async def test_votes_that_are_answered_together_share_a_signature(running: Served) -> None:
    await like(running, Person())
    before = len(running.town.commands)
    running.town.gate.clear()
    calls = [asyncio.create_task(like(running, Person())) for _ in range(9)]

    async def all_wait() -> bool:
        return len(running.town.commands) == before + 9

    await eventually_async(all_wait)
    running.town.gate.set()
    receipts = [(await call).receipt for call in calls]
    assert {receipt.batch_size for receipt in receipts} == {9}
    assert len({receipt.signature for receipt in receipts}) == 1
    assert all(is_kept(receipt) for receipt in receipts)


async def test_a_repeat_gets_a_receipt_for_the_same_place_and_leaf(running: Served) -> None:
    person, request_id = Person(), str(uuid.uuid4())
    first, _, again = [
        await like(running, who, request_id=name)
        for who, name in ((person, request_id), (Person(), str(uuid.uuid4())), (person, request_id))
    ]
    assert (again.receipt.sequence, again.receipt.leaf_hash) == (first.receipt.sequence, first.receipt.leaf_hash)
    assert is_kept(again.receipt)


async def test_a_dispute_vote_has_a_receipt_of_the_dispute_log(running: Served) -> None:
    person = Person()
    running.positions.put(DISPUTED, person.wallet, 2**64, 1)
    request = pb.CastDisputeVoteRequest(
        market_id=DISPUTED, vote="support", wallet_signature=signature_of(person, DISPUTED, VoteType.DISPUTE)
    )
    answer = await VoteServiceStub(running.channel).CastDisputeVote(request, metadata=running.bearer(person))
    assert is_kept(answer.receipt, DISPUTED, VoteType.DISPUTE)
    assert not is_kept(answer.receipt, DISPUTED, VoteType.PROPOSAL)


async def test_the_receipts_of_a_bulk_message_are_found_from_the_message_alone(running: Served) -> None:
    twice = Person().wallet
    votes = [pb.BulkVote(user_pubkey=who, market_id=MARKET, vote="like") for who in (twice, twice, Person().wallet)]
    votes += [pb.BulkVote(user_pubkey=Person().wallet, market_id=MARKET, vote="dislike")]
    stub = VoteServiceStub(running.channel)
    answer = await stub.CastVotes(pb.CastVotesRequest(votes=votes), metadata=SERVICE)
    stored = [(vote, result) for vote, result in zip(votes, answer.results, strict=True) if result.success]
    places = [
        LogPlace(MarketId(vote.market_id), VoteType.PROPOSAL, result.sequence, bytes.fromhex(result.leaf_hash))
        for vote, result in stored
    ]
    assert [result.batch_index for _, result in stored] == [0, 1, 2]
    assert [place.sequence for place in places] == [1, 2, 3]
    root = root_of([leaf_hash(place.body()) for place in places])
    signed = f"zmart.receipts.v1\n{root.hex()}\n{answer.receipts.size}".encode()
    SIGNER_KEY.verify(bytes.fromhex(answer.receipts.signature), signed)


async def test_a_bulk_message_of_refusals_has_no_receipts(running: Served) -> None:
    stub = VoteServiceStub(running.channel)
    votes = [pb.BulkVote(user_pubkey=Person().wallet, market_id=MARKET, vote="maybe")]
    answer = await stub.CastVotes(pb.CastVotesRequest(votes=votes), metadata=SERVICE)
    assert not answer.HasField("receipts")


# --- wallets' signatures ----------------------------------------------------------------------------------------------


async def test_a_wallets_signature_is_kept_as_it_was_sent(running: Served) -> None:
    person = Person()
    signature = signature_of(person)
    answer = await like(running, person, wallet_signature=signature)
    (kept,) = running.town.logs.kept
    assert kept.entry.wallet_signature == signature
    assert leaf_of(kept.entry).hex() == answer.receipt.leaf_hash


async def test_a_signature_that_does_not_fit_refuses_the_vote_and_names_the_field(running: Served) -> None:
    person = Person()
    for wrong in (signature_of(Person()), signature_of(person, DISPUTED), ""):
        failed = await failure(like(running, person, wallet_signature=wrong))
        assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "WALLET_SIGNATURE_INVALID")
        assert failed.detail(BadRequest).field_violations[0].field == "wallet_signature"
    assert running.town.commands == []


async def test_in_bulk_only_the_vote_with_the_wrong_signature_is_refused(running: Served) -> None:
    people = [Person() for _ in range(20)]
    votes = [
        pb.BulkVote(user_pubkey=who.wallet, market_id=MARKET, vote="like", wallet_signature=signature_of(who))
        for who in people
    ]
    votes[7].wallet_signature = votes[8].wallet_signature
    answer = await VoteServiceStub(running.channel).CastVotes(pb.CastVotesRequest(votes=votes), metadata=SERVICE)
    assert [index for index, result in enumerate(answer.results) if not result.success] == [7]
    assert "wallet_signature" in answer.results[7].error.message
    assert answer.receipts.size == 19


# --- proofs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 33])
async def test_every_vote_is_proven_in_the_log_as_it_is(running: Served, count: int) -> None:
    answers = [await like(running, Person()) for _ in range(count)]
    tally = await VoteServiceStub(running.channel).GetTally(pb.GetTallyRequest(market_id=MARKET))
    for answer in answers:
        found = await proof(running, vote_id=answer.vote_id.upper())
        assert (found.tree_size, found.root) == (tally.proposal.votes_size, tally.proposal.votes_root)
        assert (found.sequence, found.leaf_hash) == (answer.receipt.sequence, answer.receipt.leaf_hash)
        assert found.aggregation_id == ""
        assert proven(found)
        assert is_kept(found.receipt)


def proven(found: pb.GetVoteProofResponse) -> bool:
    path = [bytes.fromhex(step) for step in found.path]
    root = root_from_path(bytes.fromhex(found.leaf_hash), found.sequence - 1, found.tree_size, path)
    return root is not None and root.hex() == found.root


async def test_a_vote_is_proven_against_the_newest_aggregation_that_counted_it_or_the_one_asked_for(
    running: Served,
) -> None:
    first = await like(running, Person())
    older = running.town.logs.publish(running.town.markets[MARKET], VoteType.PROPOSAL)
    second = await like(running, Person())
    newer = running.town.logs.publish(running.town.markets[MARKET], VoteType.PROPOSAL)
    third = await like(running, Person())
    by_default = [await proof(running, vote_id=answer.vote_id) for answer in (first, second, third)]
    assert [found.aggregation_id for found in by_default] == [newer.aggregation_id] * 2 + [""]
    asked = await proof(running, vote_id=first.vote_id, aggregation_id=older.aggregation_id)
    assert (asked.tree_size, asked.root, asked.aggregation_id) == (1, older.votes_root, older.aggregation_id)
    assert all(proven(found) for found in (*by_default, asked))
    failed = await failure(proof(running, vote_id=second.vote_id, aggregation_id=older.aggregation_id))
    assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "AGGREGATION_NOT_FOUND")
    assert failed.detail(ResourceInfo).resource_name == older.aggregation_id


async def test_a_wallets_vote_is_the_one_that_counts_and_the_one_before_is_proven_by_its_id(running: Served) -> None:
    person = Person()
    sent = await like(running, person)
    seen = await on_chain(running, person)
    counted = await proof(running, vote_type="proposal", user_pubkey=person.wallet)
    assert (counted.entry.vote_id, counted.entry.vote, counted.entry.source) == (seen, "dislike", "chain")
    superseded = await proof(running, vote_id=sent.vote_id)
    assert (superseded.sequence, superseded.entry.vote, superseded.entry.transaction_signature) == (1, "like", "")
    assert proven(counted)
    assert proven(superseded)


async def test_what_is_not_in_the_log_is_not_proven(running: Served) -> None:
    person = Person()
    await like(running, person)
    late = await on_chain(running, Person(), choice=True)
    (kept,) = (vote for vote in running.town.logs.kept if vote.entry.vote_id == late)
    running.town.logs.kept[-1] = replace(kept, fate=Fate.LATE)
    for which in (
        {"vote_id": late},
        {"vote_id": str(uuid.uuid4())},
        {"vote_type": "dispute", "user_pubkey": person.wallet},
        {"vote_type": "proposal", "user_pubkey": Person().wallet},
    ):
        failed = await failure(proof(running, **which))
        assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "VOTE_NOT_FOUND")
    unknown = await failure(proof(running, market_id_of(9), vote_id=late))
    assert unknown.info.reason == "MARKET_NOT_FOUND"


@pytest.mark.parametrize(
    ("which", "reason", "field"),
    [
        ({}, "VOTE_NOT_NAMED", "vote_id"),
        ({"vote_type": "proposal"}, "VOTE_NOT_NAMED", "vote_id"),
        ({"user_pubkey": Person().wallet}, "VOTE_NOT_NAMED", "vote_id"),
        ({"vote_type": "poll", "vote_id": str(uuid.uuid4())}, "VOTE_TYPE_UNKNOWN", "vote_type"),
        ({"vote_id": "1"}, "VOTE_ID_MALFORMED", "vote_id"),
        ({"vote_type": "proposal", "user_pubkey": "0"}, "ADDRESS_MALFORMED", "user_pubkey"),
        ({"vote_id": str(uuid.uuid4()), "aggregation_id": "1"}, "AGGREGATION_ID_MALFORMED", "aggregation_id"),
    ],
)
async def test_a_malformed_wish_for_a_proof_names_its_field(
    running: Served, which: dict[str, str], reason: str, field: str
) -> None:
    failed = await failure(proof(running, **which))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)
    assert failed.detail(BadRequest).field_violations[0].field == field


@pytest.mark.parametrize("before", [True, False], ids=["after it was read", "before it was read"])
async def test_a_vote_that_was_altered_in_the_database_is_not_proven(running: Served, before: bool) -> None:
    answers = [await like(running, Person()) for _ in range(4)]
    if before:
        await proof(running, vote_id=answers[0].vote_id)
    running.town.logs.alter(answers[2].vote_id)
    failed = await failure(proof(running, vote_id=answers[2].vote_id))
    assert (failed.code, failed.info.reason) == (StatusCode.DATA_LOSS, "VOTES_ALTERED")
    running.town.logs.alter(answers[2].vote_id)
    assert proven(await proof(running, vote_id=answers[2].vote_id)), "a repair is seen"
    (alert,) = running.town.logs.alerts
    assert (alert.alert_type, alert.severity, alert.market_id) == ("votes_altered", "CRITICAL", MARKET)


async def test_a_root_that_was_altered_in_the_database_is_not_proven(running: Served) -> None:
    answer = await like(running, Person())
    running.town.logs.publish(running.town.markets[MARKET], VoteType.PROPOSAL, votes_root="00" * 32)
    failed = await failure(proof(running, vote_id=answer.vote_id))
    assert (failed.code, failed.info.reason) == (StatusCode.DATA_LOSS, "VOTES_ALTERED")


async def test_people_hear_of_altered_votes_once_a_minute_however_often_somebody_asks(running: Served) -> None:
    answer = await like(running, Person())
    running.town.logs.alter(answer.vote_id)
    for _ in range(3):
        await failure(proof(running, vote_id=answer.vote_id))
        await exported(running)
    assert len(running.town.logs.alerts) == 1
    running.clock.at_s += TOLD_AGAIN_S
    await exported(running)
    assert len(running.town.logs.alerts) == 2


async def test_a_log_is_read_once_and_then_only_what_is_new(running: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_trees, "PAGE", 4)
    answers = [await like(running, Person()) for _ in range(16)]
    calls = [proof(running, vote_id=answer.vote_id) for answer in answers for _ in range(2)]
    assert all(proven(found) for found in await asyncio.gather(*calls))
    assert running.town.logs.pages == 4
    later = await like(running, Person())
    assert proven(await proof(running, vote_id=later.vote_id))
    assert running.town.logs.pages == 5


async def test_more_proofs_than_may_wait_for_a_log_are_refused_at_once(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await like(running, Person())
    monkeypatch.setattr(log_trees, "WAITING_MAX", 0)
    failed = await failure(proof(running, vote_id=answer.vote_id))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "SERVER_BUSY")


async def test_the_outage_of_the_log_is_an_outage_of_its_proofs(running: Served) -> None:
    answer = await like(running, Person())
    running.town.logs.outage = BookUnavailable("gone")
    assert (await failure(proof(running, vote_id=answer.vote_id))).info.reason == "DATABASE_UNAVAILABLE"
