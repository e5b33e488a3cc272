"""A gRPC server on a free loopback port, over twins that live in memory and run the real rules."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_network

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.alerts import AlertStatus, Severity, StoredAlert
from domain.commands import CastVote, Command, MoveMarket, RecordChainVote
from domain.counting import count
from domain.deadlines import ClockName, Deadline
from domain.decisions import decide
from domain.events import ChainVoteCameLate, IntentPlanned, VoteAdmitted
from domain.ids import MarketId, Wallet, base58_encode
from domain.journal import Ballot, ChainBallot
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.observed import ChainConfig, ObservedMarket
from domain.outcomes import Done, Outcome, VoteTaken
from domain.refusals import AlreadyInState, AlreadyVoted, RequestIdReused
from domain.rules import Now, Rules
from domain.tally import VoteType
from domain.transitions import repeats
from domain.votelog import Fate, entry_of, leaf_of
from domain.votes import StoredVote
from grpc_server import AlertBook, CallLimits, GrpcServer, Outage, Parts, ServerSettings, Webhooks, build_server
from identity import (
    Allowances,
    Challenges,
    Doorkeeper,
    FamiliesInMemory,
    NoncesInMemory,
    ReceiptSigner,
    Refreshes,
    ServiceKeys,
    Site,
    Tier,
    Tokens,
    hash_service_key,
)
from identity.keys import signing_key
from storage.call_counts import OwnCounts
from tests.support.grpc_accounts import Accounts as Accounts
from tests.support.grpc_accounts import Positions as Positions
from tests.support.grpc_aggregations import AggregationRows
from tests.support.grpc_attempts import Attempts
from tests.support.grpc_clock import Clock as Clock
from tests.support.grpc_events import EVENT_TYPES, Desk, EventRows
from tests.support.grpc_events import START_S as START_S
from tests.support.grpc_failures import Failure as Failure
from tests.support.grpc_failures import failure as failure
from tests.support.grpc_failures import failure_of as failure_of
from tests.support.grpc_health import Condition
from tests.support.grpc_operators import NoBridges, OperatorRows
from tests.support.told import ToldRows
from tests.support.vote_logs import VoteLogs

SERVICE_KEY = "a service key for tests only"
SITE = Site("localhost:8080", "http://localhost:8080", "localnet", "Sign in to vote.")
SITES = [SITE, Site("zmart.example", "https://zmart.example", "localnet", "Sign in to vote.")]
PROGRAM_ID = "6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw"
SIGNER = ReceiptSigner(signing_key(Ed25519PrivateKey.generate()))
NEXT_DEADLINE = Deadline(START_S + 300, ClockName.CHAIN)
CONFIG = ChainConfig(7, Wallet("1" * 32), Wallet("1" * 32), 7000, 6000, 259_200, False, True, True)


class Person:
    """A wallet and its key."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.wallet = Wallet(base58_encode(self._key.public_key().public_bytes_raw()))

    def sign(self, message: str) -> str:
        return base58_encode(self._key.sign(message.encode()))


class NoGrid:
    """A schedule that this server never asks."""

    def next_after(self, unix_s: int) -> int:
        raise AssertionError(f"nothing is due here, not after {unix_s} either")


def market_id_of(number: int) -> MarketId:
    return MarketId(base58_encode(number.to_bytes(32, "big")))


def observed(number: int, creator: Wallet, state: Lifecycle = Lifecycle.PROPOSED, slot: int = 10) -> ObservedMarket:
    """A market as the chain has it; its number is also its age in seconds."""
    return ObservedMarket(
        market_id=market_id_of(number),
        pda=Wallet(market_id_of(number + 1_000_000)),
        creator=creator,
        state=state,
        slot=slot,
        b_parameter=100_000_000_000,
        initial_liquidity=2**63,
        current_liquidity=5,
        shares_yes=2**64 - 1,
        shares_no=0,
        total_volume=0,
        created_at_s=START_S + number,
        approved_at_s=0,
        activated_at_s=0,
        resolution_proposed_at_s=0,
        resolved_at_s=0,
        finalized_at_s=0,
        dispute_initiated_at_s=0,
        cancelled_at_s=0,
        proposed_outcome=None,
        final_outcome=None,
        proposal_likes=0,
        proposal_dislikes=0,
        dispute_agree=0,
        dispute_disagree=0,
    )


class StoredVotes:
    """The stored votes, as storage lists them."""

    def __init__(self) -> None:
        self.rows: list[StoredVote] = []
        self.outage: Exception | None = None

    def put(self, vote: CastVote, version: int) -> None:
        place = (vote.vote_id, vote.market_id, vote.wallet, vote.vote_type, vote.choice, vote.weight, vote.weight_slot)
        self.rows.append(StoredVote(*place, "api", None, version, datetime.fromtimestamp(START_S, UTC)))

    async def list(
        self, market_id: MarketId, vote_type: VoteType | None, after: tuple[int, str] | None, limit: int
    ) -> Sequence[StoredVote]:
        if self.outage is not None:
            raise self.outage
        found = [row for row in self.rows if row.market_id == market_id and vote_type in (None, row.vote_type)]
        found.sort(key=_place, reverse=True)
        return [row for row in found if after is None or _place(row) < after][:limit]


def _place(row: StoredVote) -> tuple[int, str]:
    return row.market_version, row.vote_id


class Town:
    """Router and book in one: all markets in memory, decided by the real rules. `gate` holds commands back."""

    def __init__(self) -> None:
        self.markets: dict[MarketId, Market] = {}
        self.commands: list[Command] = []
        self.outage: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.live_config: ChainConfig | None = CONFIG
        self.waiting = 0
        self.waiting_max = 0
        self.votes = StoredVotes()
        self.logs = VoteLogs()
        self.attempts = Attempts()
        self._votes: dict[tuple[MarketId, Wallet, VoteType], CastVote] = {}
        self._answers: dict[tuple[Wallet, str], tuple[CastVote, VoteTaken]] = {}
        self.rules = Rules(CONFIG, NoGrid(), 10)
        self._now = Now(START_S, START_S, lambda: str(uuid.uuid4()))

    async def submit(self, command: Command) -> Outcome:
        self.commands.append(command)
        await self.gate.wait()
        if self.outage is not None:
            raise self.outage
        return self._carried_out(command)

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | Outage]:
        """`waiting_max` is how many messages were here at once."""
        self.commands += commands
        self.waiting += 1
        self.waiting_max = max(self.waiting_max, self.waiting)
        await self.gate.wait()
        self.waiting -= 1
        if isinstance(self.outage, Outage):
            return [self.outage] * len(commands)
        if self.outage is not None:
            raise self.outage
        return [self._carried_out(command) for command in commands]

    def _carried_out(self, command: Command) -> Outcome:
        if isinstance(command, CastVote) and (repeat := self._repeat(command)) is not None:
            return repeat
        if isinstance(command, MoveMarket) and (planned := self.attempts.planned.get(command.intent_id)):
            same = repeats(command, planned)
            return AlreadyInState(command.market_id) if same else RequestIdReused(command.market_id, "")
        market = self.markets.get(command.market_id)
        decision = decide(market, command, self.rules, self._now)
        if not isinstance(decision, tuple):
            return decision
        if isinstance(command, CastVote):
            if (command.market_id, command.wallet, command.vote_type) in self._votes:
                return AlreadyVoted(command.market_id)
            self._votes[command.market_id, command.wallet, command.vote_type] = command
        version = market.version + 1 if market else 1
        for event in decision:
            if isinstance(event, VoteAdmitted):
                assert market is not None
                market = self._counted(market, event.vote, version)
            elif isinstance(event, ChainVoteCameLate):
                self.logs.put(entry_of(event.vote, START_S * 1000, version), Fate.LATE)
            else:
                market = evolve(market, event)
            if isinstance(event, IntentPlanned):
                self.attempts.plan(event.intent)
        assert market is not None
        self.markets[command.market_id] = market = replace(market, version=version)
        return self._taken(command, market) if isinstance(command, CastVote) else Done(market.version)

    def _counted(self, market: Market, vote: CastVote | RecordChainVote, version: int) -> Market:
        at = (version, START_S * 1000)
        ballot = ChainBallot(vote, *at) if isinstance(vote, RecordChainVote) else Ballot(vote, *at)
        superseded = self.logs.put(entry_of(vote, at[1], version))
        events, _ = count(market, [ballot], [superseded] if superseded else [])
        for event in events:
            market = evolve(market, event)
        return market

    async def get(self, market_id: MarketId) -> tuple[Market, Deadline | None] | None:
        if self.outage is not None:
            raise self.outage
        market = self.markets.get(market_id)
        return None if market is None else (market, NEXT_DEADLINE)

    async def list(
        self, state: Lifecycle | None, after: tuple[int, MarketId] | None, limit: int
    ) -> Sequence[tuple[Market, Deadline | None]]:
        rows = sorted(self.markets.values(), key=_age, reverse=True)
        found = [row for row in rows if state in (None, row.state) and (after is None or _age(row) < after)]
        return [(row, None) for row in found[:limit]]

    async def config(self) -> ChainConfig | None:
        return self.live_config

    def put(self, market: Market) -> None:
        self.markets[market.market_id] = market

    def _repeat(self, vote: CastVote) -> Outcome | None:
        first = self._answers.get((vote.wallet, vote.request_id or ""))
        if first is None:
            return None
        cast, answer = first
        place = (cast.market_id, cast.vote_type, cast.choice)
        same = place == (vote.market_id, vote.vote_type, vote.choice)
        return replace(answer, replayed=True) if same else RequestIdReused(vote.market_id, vote.request_id or "")

    def _taken(self, vote: CastVote, market: Market) -> VoteTaken:
        leaf = leaf_of(entry_of(vote, START_S * 1000, market.version))
        sequence = market.log(vote.vote_type).size
        taken = VoteTaken(vote.vote_id, market.tally(vote.vote_type), False, sequence, leaf)
        if vote.request_id:
            self._answers[vote.wallet, vote.request_id] = (vote, taken)
        self.votes.put(vote, market.version)
        return taken


def _age(market: Market) -> tuple[int, MarketId]:
    return market.created_at_s, market.market_id


class Revoked:
    """Tokens that were taken back."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.outage: Exception | None = None

    async def is_revoked(self, token_id: str) -> bool:
        if self.outage is not None:
            raise self.outage
        return token_id in self.ids


class NoAlerts:
    """A book without any alert, for tests that are about something else."""

    async def list(
        self,
        severity: Severity | None,
        status: AlertStatus | None,
        market_id: MarketId | None,
        before: int | None,
        limit: int,
    ) -> Sequence[StoredAlert]:
        return ()

    async def acknowledge(self, alert_id: str, now_s: float) -> StoredAlert | None:
        return None

    async def resolve(self, alert_id: str, now_s: float) -> StoredAlert | None:
        return None


@dataclass(frozen=True, slots=True)
class Served:
    """A running server, a channel to it and everything behind it."""

    server: GrpcServer
    channel: grpc.aio.Channel
    town: Town
    accounts: Accounts
    positions: Positions
    clock: Clock
    tokens: Tokens
    events: EventRows
    desk: Desk
    aggregations: AggregationRows
    operators: OperatorRows
    revoked: Revoked
    told: ToldRows
    condition: Condition

    def bearer(self, person: Person | None, tier: Tier = Tier.WALLET) -> tuple[tuple[str, str], ...]:
        """Metadata that says who is calling."""
        token = self.tokens.issue(person.wallet if person else None, tier).token
        return (("authorization", f"Bearer {token}"),)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.server.port}"


@asynccontextmanager
async def served(
    reflection: bool = True,
    in_flight_max: int = 1_000,
    port: int = 0,
    webhooks: Webhooks | None = None,
    alerts: AlertBook | None = None,
    bookmark_s: float = 15.0,
    per_min: Mapping[Tier, int] | None = None,
    around: Callable[[Parts], Parts] = lambda parts: parts,
) -> AsyncIterator[Served]:
    """A started server; stopped without grace at the end. `around` may put other parts around these."""
    revocations = Revoked()
    clock, town, accounts, positions = Clock(), Town(), Accounts(), Positions()
    events, desk, aggregations = EventRows(), Desk(), AggregationRows()
    operators, condition = OperatorRows(town.markets), Condition()
    told = ToldRows(town.markets, NEXT_DEADLINE)
    numbers = itertools.count(1)
    tokens = Tokens(
        signing_key(Ed25519PrivateKey.generate()), (), "zmart", "zmart-api", clock.now_s, lambda: str(next(numbers))
    )
    challenges = Challenges(SITES, NoncesInMemory(clock.now_s), clock.utc_now, lambda: uuid.uuid4().hex)
    parts = Parts(
        router=town,
        accounts=accounts,
        positions=positions,
        book=town,
        feed=told,
        votes=town.votes,
        events=events,
        reconciliation=desk,
        alerts=alerts or NoAlerts(),
        aggregations=aggregations,
        operators=operators,
        bridges=NoBridges(),
        attempts=town.attempts,
        health=condition.parts(),
        event_types=EVENT_TYPES,
        vote_log=town.logs,
        alarm=town.logs,
        doorkeeper=Doorkeeper(tokens, ServiceKeys([hash_service_key(SERVICE_KEY)])),
        challenges=challenges,
        refreshes=Refreshes(
            FamiliesInMemory(clock.now_s), tokens, clock.now_s, lambda: str(uuid.uuid4()), lambda: uuid.uuid4().hex
        ),
        revocations=revocations,
        limits=CallLimits(
            Allowances(OwnCounts(), {**dict.fromkeys(Tier, 0), **(per_min or {})}, lambda: clock.at_s),
            [ip_network("127.0.0.0/8")],
        ),
        now_s=clock.now_s,
        monotonic_s=clock.monotonic_s,
        new_id=lambda: str(uuid.uuid4()),
        webhooks=webhooks,
        program_id=PROGRAM_ID,
        signer=SIGNER,
    )
    settings = ServerSettings(b"p" * 32, "127.0.0.1", port, reflection, in_flight_max, bookmark_s)
    server = build_server(around(parts), settings)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            behind = (town, accounts, positions, clock, tokens, events, desk, aggregations, operators, revocations)
            yield Served(server, channel, *behind, told, condition)
    finally:
        await server.stop(0)
