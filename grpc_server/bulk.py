"""Many votes in one message: each is answered as the single call would be, and none costs a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog
from google.rpc.status_pb2 import Status

from domain.commands import CastVote
from domain.outcomes import Done, Outcome, VoteTaken
from domain.tally import VoteType
from grpc_server import translate, translate_audit
from grpc_server.adoption import Adoption
from grpc_server.crew import work_through
from grpc_server.ports import AccountsUnavailable, Outage
from grpc_server.problems import Busy, Invalid, Problem, Rejected, violation
from grpc_server.signatures import signed_well
from grpc_server.status import status_of
from grpc_server.voters import Voters
from grpc_server.weights import READS_MAX, Weights
from identity import ReceiptSigner, VoteSignatures
from zmart.v1 import vote_service_pb2 as pb

VOTES_MAX = 1024
"""Votes of one message: the bound of a shard's batch."""
AT_WORK_MAX = 4
"""Messages that are being cast: enough to keep two shards busy, and single votes wait behind four batches at most."""
ACCEPTED_MAX = 256
"""Messages that are being cast or wait for it, at most 64 MiB of them; one more is refused at once."""
WEIGHING_S_MAX = 8.0
"""For all positions that a message makes us read; below its deadline, so that its other votes are cast."""
VOTES_BETWEEN_BREAKS = 64
"""Votes that are translated before other calls get their turn: a quarter of a millisecond, or one for new wallets."""
SIGNED_AS_VOTES = 8
"""What a vote with a wallet's signature counts for there: checking one takes 65 us."""

_Verdict = CastVote | Problem | Outcome | Outage

log = structlog.get_logger("grpc")


class Answered(NamedTuple):
    """What became of the votes of a message, and the signature of the receipts of those that are stored."""

    results: list[pb.BulkVoteResult]
    receipts: pb.ReceiptBatch | None


class BulkVotes:
    """Casts the votes of a message side by side and answers them in order."""

    def __init__(
        self,
        adoption: Adoption,
        weights: Weights,
        voters: Voters,
        signatures: VoteSignatures,
        signer: ReceiptSigner,
        new_id: Callable[[], str],
    ) -> None:
        self._adoption = adoption
        self._weights = weights
        self._voters = voters
        self._signatures = signatures
        self._signer = signer
        self._new_id = new_id
        self._places = asyncio.Semaphore(AT_WORK_MAX)
        self._accepted = 0

    async def cast(self, votes: Sequence[pb.BulkVote]) -> Answered:
        """One result per vote. Rejects a message that is empty, too long, or one too many; then nothing was done."""
        if not votes:
            raise violation(Invalid.VOTES_MISSING, "votes")
        if len(votes) > VOTES_MAX:
            raise violation(Invalid.VOTES_TOO_MANY, "votes", VOTES_MAX)
        if self._accepted >= ACCEPTED_MAX:
            raise Rejected(Busy(ACCEPTED_MAX))
        self._accepted += 1
        try:
            async with self._places:
                return await self._cast(votes)
        finally:
            self._accepted -= 1

    async def _cast(self, votes: Sequence[pb.BulkVote]) -> Answered:
        verdicts = await self._translated(votes)
        await self._weigh(verdicts)
        commands = {index: vote for index, vote in enumerate(verdicts) if isinstance(vote, CastVote)}
        outcomes = await self._adoption.submit_many(list(commands.values()))
        for index, outcome in zip(commands, outcomes, strict=True):
            verdicts[index] = outcome
        return Answered(_results(verdicts), self._receipts(commands, verdicts))

    def _receipts(self, commands: Mapping[int, CastVote], verdicts: Sequence[_Verdict]) -> pb.ReceiptBatch | None:
        stored = [
            translate_audit.log_place(vote, taken)
            for index, vote in commands.items()
            if isinstance(taken := verdicts[index], VoteTaken)
        ]
        return translate_audit.receipt_batch(self._signer.seal(stored)) if stored else None

    async def _translated(self, votes: Sequence[pb.BulkVote]) -> list[_Verdict]:
        verdicts: list[_Verdict] = []
        work = 0
        for vote in votes:
            try:
                command = translate.bulk_vote(vote, self._voters.wallet(vote.user_pubkey), self._new_id())
                verdicts.append(signed_well(command, self._signatures))
            except Rejected as rejected:
                verdicts.append(rejected.problem)
            work += SIGNED_AS_VOTES if vote.HasField("wallet_signature") else 1
            if work >= VOTES_BETWEEN_BREAKS:
                work = 0
                await asyncio.sleep(0)
        return verdicts

    async def _weigh(self, verdicts: list[_Verdict]) -> None:
        """Put their weights on the dispute votes among `verdicts`, or what keeps them from having one."""
        disputes = [
            (index, vote)
            for index, vote in enumerate(verdicts)
            if isinstance(vote, CastVote) and vote.vote_type is VoteType.DISPUTE
        ]

        async def weigh(place: tuple[int, CastVote]) -> None:
            index, vote = place
            try:
                verdicts[index] = await self._weights.weighed(vote)
            except Rejected as rejected:
                verdicts[index] = rejected.problem
            except Outage as outage:
                verdicts[index] = outage

        late = AccountsUnavailable(f"not all positions could be read within {WEIGHING_S_MAX} s")
        for index, _ in disputes:
            verdicts[index] = late  # and never a vote without its weight
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WEIGHING_S_MAX):
                await work_through(disputes, weigh, READS_MAX)


def _results(verdicts: Sequence[_Verdict]) -> list[pb.BulkVoteResult]:
    """Equal refusals share one status, for each takes 20 us to make; an outage is logged once."""
    statuses: dict[Problem | Outage, Status] = {}
    results = list[pb.BulkVoteResult]()
    stored = 0
    for verdict in verdicts:
        if isinstance(verdict, VoteTaken):
            results.append(_stored(verdict, stored))
            stored += 1
            continue
        assert not isinstance(verdict, CastVote | Done), "a vote is taken or refused"
        if verdict not in statuses:
            statuses[verdict] = status_of(verdict)[1]
            if isinstance(verdict, Outage):
                log.warning("outage", method="votes in bulk", kind=type(verdict).__name__, why=str(verdict))
        results.append(pb.BulkVoteResult(error=statuses[verdict]))
    return results


def _stored(taken: VoteTaken, batch_index: int) -> pb.BulkVoteResult:
    return pb.BulkVoteResult(
        success=True,
        vote_id=taken.vote_id,
        sequence=taken.sequence,
        leaf_hash=taken.leaf_hash.hex(),
        batch_index=batch_index,
    )
