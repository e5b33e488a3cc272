"""The recount script against exports of a real server: it passes on what is true and finds whatever is not."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import MessageToJson

from domain.commands import AdoptMarket, CastVote, Command, RecordChainVote
from domain.ids import base58_encode
from domain.lifecycle import Lifecycle
from domain.rescale import fit_u32
from domain.tally import VoteType
from identity.vote_signatures import vote_message
from tests.support.grpc_parts import PROGRAM_ID, SIGNER, START_S, Person, Served, market_id_of, observed, served
from tests.support.recount import SCRIPT, recount_script
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

MARKET = market_id_of(1)
PEOPLE = [Person() for _ in range(9)]
SIGNED = PEOPLE[:4]
recount_votes = recount_script()


class Export(NamedTuple):
    """The lines of an export, and answers about the same market."""

    lines: list[bytes]
    receipt: str
    proof: str

    def where(self, **fields: object) -> int:
        """The index of the first vote with such fields."""
        votes = [json.loads(line) for line in self.lines]
        return next(index for index, vote in enumerate(votes) if fields.items() <= vote.items())


def cast(person: Person, vote_type: VoteType, choice: bool, weight: int = 1) -> CastVote:
    slot = None if vote_type is VoteType.PROPOSAL else 77
    vote = CastVote(MARKET, str(uuid.uuid4()), person.wallet, vote_type, choice, weight, None, slot)
    text = vote_message(PROGRAM_ID, vote)
    signature = person.sign(text) if person in SIGNED else None
    return CastVote(MARKET, vote.vote_id, person.wallet, vote_type, choice, weight, None, slot, signature)


def seen(person: Person, vote_type: VoteType, choice: bool, weight: int = 1) -> RecordChainVote:
    vote = (MARKET, str(uuid.uuid4()), person.wallet, vote_type, choice, weight, None)
    return RecordChainVote(*vote, base58_encode(b"\7" * 64), 80, START_S)


def moved(state: Lifecycle, slot: int) -> AdoptMarket:
    return AdoptMarket(MARKET, observed(1, PEOPLE[0].wallet, state, slot))


def history() -> list[Command | VoteType]:
    """What happened to the market; a type of votes stands for an aggregation of them."""
    proposal, dispute = VoteType.PROPOSAL, VoteType.DISPUTE
    return [
        moved(Lifecycle.PROPOSED, 10),
        *(cast(person, proposal, number % 3 > 0) for number, person in enumerate(PEOPLE)),
        proposal,
        seen(PEOPLE[2], proposal, False),
        seen(Person(), proposal, True),
        proposal,
        moved(Lifecycle.DISPUTED, 11),
        seen(Person(), proposal, True),
        *(cast(person, dispute, number != 1, 10**10 + number) for number, person in enumerate(PEOPLE[:5])),
        seen(PEOPLE[4], dispute, False, 5),
        seen(Person(), dispute, True, 0),
        dispute,
    ]


async def exported(running: Served) -> Export:
    for event in history():
        if isinstance(event, VoteType):
            market = running.town.markets[MARKET]
            pair = (market.tally(event).yes, market.tally(event).no)
            sent = dict(zip(("submitted_yes", "submitted_no"), fit_u32(*pair, 7000), strict=True))
            running.town.logs.publish(market, event, **sent)
        else:
            await running.town.submit(event)
    running.accounts.put(observed(1, PEOPLE[0].wallet, Lifecycle.DISPUTED, 11))
    stub, voter = VoteServiceStub(running.channel), Person()
    running.positions.put(MARKET, voter.wallet, 3, 4)
    request = pb.CastDisputeVoteRequest(market_id=MARKET, vote="reject")
    answer = await stub.CastDisputeVote(request, metadata=running.bearer(voter))
    wanted = pb.GetVoteProofRequest(market_id=MARKET, vote_type="proposal", user_pubkey=PEOPLE[2].wallet)
    proof = await stub.GetVoteProof(wanted)
    parts = [part.lines async for part in stub.ExportVotes(pb.ExportVotesRequest(market_id=MARKET))]
    lines = b"".join(parts).splitlines(keepends=True)
    return Export(lines, MessageToJson(answer.receipt), MessageToJson(proof, preserving_proto_field_name=True))


@pytest.fixture(scope="module")
def export() -> Export:
    async def made() -> Export:
        async with served() as running:
            return await exported(running)

    return asyncio.run(made())


def faults(lines: Sequence[bytes], trusted: Sequence[str] = ()) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = recount_votes.recounted(lines, trusted).faults
    return found


def changed(export: Export, index: int, change: Callable[[dict[str, Any]], None]) -> list[bytes]:
    """The export with one line changed and spelled canonically again."""
    line = json.loads(export.lines[index])
    change(line)
    spelled = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    return [*export.lines[:index], spelled, *export.lines[index + 1 :]]


# --- what is true -----------------------------------------------------------------------------------------------------


def test_an_untouched_export_passes_and_has_everything_in_it(export: Export) -> None:
    recount = recount_votes.recounted(export.lines)
    assert recount.faults == []
    votes = [vote for line in export.lines if (vote := json.loads(line))["kind"] == "vote"]
    assert {vote["standing"] for vote in votes} == {"counted", "superseded", "late"}
    assert {vote["source"] for vote in votes} == {"api", "chain"}
    assert recount.checked["wallet signatures"] == 2 * len(SIGNED)
    assert recount.checked["signed receipts"] == 11 + 8
    assert (recount.checked["roots"], recount.checked["tallies"]) == (3, 3)


def test_the_script_alone_tells_what_it_checked(export: Export, tmp_path: Path) -> None:
    for name, content in (("receipt", export.receipt), ("proof", export.proof)):
        (tmp_path / name).write_text(content)
    (tmp_path / "export.jsonl").write_bytes(b"".join(export.lines))
    key = next(iter(SIGNER.public_keys.values())).hex()
    extra = ["--receipt", "receipt", "--proof", "proof", "--receipt-key", key]
    told = run(tmp_path, "export.jsonl", *extra)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.endswith("all of it holds\n")
    assert re.search(r"^proposal +11 votes, 6 like, 4 dislike$", told.stdout, re.MULTILINE)
    assert re.search(r"^proofs +4 checked$", told.stdout, re.MULTILINE)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script by itself: no project on its path."""
    command = [sys.executable, "-I", str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


# --- what is not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"vote_type": "proposal", "wallet": SIGNED[0].wallet},
        {"vote_type": "dispute", "source": "chain"},
        {"standing": "superseded"},
    ],
    ids=["signed", "chain", "superseded"],
)
def test_a_flipped_bit_in_any_byte_of_a_vote_is_found(export: Export, fields: dict[str, object]) -> None:
    index, chance = export.where(**fields), random.Random(4)
    line = export.lines[index]
    unseen = []
    for at, byte in enumerate(line):
        flipped = line[:at] + bytes([byte ^ 1 << chance.randrange(8)]) + line[at + 1 :]
        if not faults(b"".join([*export.lines[:index], flipped, *export.lines[index + 1 :]]).splitlines(keepends=True)):
            unseen.append((at, flipped))
    assert unseen == []


@pytest.mark.parametrize(
    ("fields", "change", "told"),
    [
        ({"standing": "late"}, {"accepted_at_ms": 1}, "leaf_hash"),
        ({"standing": "superseded"}, {"standing": "counted"}, "standing is not superseded"),
        ({"source": "chain"}, {"standing": "superseded"}, "standing is not counted"),
        ({"kind": "vote"}, {"receipt": None}, "did not vouch"),
        ({"kind": "vote"}, {"sequence": 2}, "sequence is not 1"),
        ({"kind": "vote"}, {"note": "x"}, "malformed: note"),
        ({"kind": "vote"}, {"vote": "support"}, "not a vote of this market"),
        ({"kind": "aggregation"}, {"yes_votes": "9"}, "these votes are 6 for and 3 against"),
        ({"kind": "aggregation"}, {"votes_root": "0" * 64}, "the root of these votes"),
        ({"kind": "aggregation"}, {"votes_size": 99}, "votes_size is more than"),
        ({"kind": "aggregation"}, {"percentage_bps": 6667}, "percentage_bps is not 6666"),
        ({"kind": "aggregation"}, {"threshold_met": True}, "threshold_met is wrong"),
        ({"kind": "aggregation"}, {"submitted_yes": 7}, "submitted pair"),
        ({"kind": "aggregation", "vote_type": "dispute"}, {"submitted_no": 0}, "submitted pair"),
        ({"kind": "end"}, {"votes": 18}, "counts of the lines before"),
        ({"kind": "header"}, {"program_id": MARKET}, "wallet_signature is not"),
        ({"kind": "header"}, {"receipt_keys": {"0" * 16: "0" * 64}}, "another id"),
    ],
)
def test_each_kind_of_lie_is_named(
    export: Export, fields: dict[str, object], change: dict[str, object], told: str
) -> None:
    found = faults(changed(export, export.where(**fields), lambda line: line.update(change)))
    assert any(told in what for _, what in found), found


def test_lines_that_are_missing_doubled_or_in_another_order_are_found(export: Export) -> None:
    lines = export.lines
    for index in range(len(lines)):
        assert faults([*lines[:index], *lines[index + 1 :]]), f"line {index + 1} left out"
        assert faults([*lines[:index], lines[index], *lines[index:]]), f"line {index + 1} twice"
    for index in range(export.where(kind="aggregation")):
        assert faults([*lines[:index], lines[index + 1], lines[index], *lines[index + 2 :]]), f"line {index + 1} later"


def test_a_vote_that_was_rewritten_with_its_leaf_has_no_receipt_for_it(export: Export) -> None:
    def turn(vote: dict[str, Any]) -> None:
        vote["vote"] = "dislike" if vote["vote"] == "like" else "like"
        names = ("-" if vote[name] is None else str(vote[name]) for name in recount_votes.LEAF_NAMES)
        vote["leaf_hash"] = recount_votes._leaf("\n".join(["zmart.vote.v1", *names])).hex()
        vote["receipt"]["leaf_hash"] = vote["leaf_hash"]

    found = faults(changed(export, export.where(wallet=PEOPLE[5].wallet), turn))
    assert {what for _, what in found} >= {"the receipt is not one for this vote by a receipt key"}
    assert any("the root of these votes" in what for _, what in found)


def test_receipts_of_a_key_that_is_not_trusted_are_faults(export: Export) -> None:
    assert len(faults(export.lines, ["ab" * 32])) == 11 + 8


def test_a_receipt_or_a_proof_of_something_else_is_found(export: Export, tmp_path: Path) -> None:
    (tmp_path / "export.jsonl").write_bytes(b"".join(export.lines))
    for option, content, key, value in (
        ("--receipt", export.receipt, "leafHash", "0" * 64),
        ("--receipt", export.receipt, "sequence", 1),
        ("--proof", export.proof, "root", "0" * 64),
        ("--proof", export.proof, "sequence", 1),
    ):
        (tmp_path / "other").write_text(json.dumps({**json.loads(content), key: value}))
        told = run(tmp_path, "export.jsonl", option, "other")
        assert (told.returncode, told.stderr) == (1, ""), told.stdout


def test_what_cannot_be_checked_is_no_fault_and_no_success(export: Export, tmp_path: Path) -> None:
    (tmp_path / "export.jsonl").write_bytes(b"".join(export.lines))
    (tmp_path / "bad.json").write_text("{")
    assert run(tmp_path, "missing.jsonl").returncode == 2
    assert run(tmp_path, "export.jsonl", "--receipt", "bad.json").returncode == 2
    assert run(tmp_path, "export.jsonl", "--receipt-key", "xyz").returncode == 2
    assert run(tmp_path).returncode == 2
