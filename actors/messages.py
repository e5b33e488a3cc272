"""What actors say to each other: frozen values, so that nothing is shared, pickled by the sealed transport.

The first half travels between processes and always names batch, slot and epoch; the second half stays inside a shard.
Nothing here derives from Thespian's own messages: a reply that did would be swallowed (ADR 0003).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.ports import Ballot, ChainBallot, Change
from domain.commands import CastVote, Command, RecordChainVote
from domain.deadlines import Deadline
from domain.ids import MarketId
from domain.market import Market
from domain.observed import ChainClock, ChainConfig
from domain.outcomes import Done, VoteTaken
from domain.refusals import Refusal
from domain.rules import Now, Rules
from domain.standing import ActorStanding, AskStanding, AwaitedDeadline, LastDecision
from domain.votelog import LogEntry

BATCH_COMMANDS_MAX = 1024
"""Commands in one message; 1,024 gives 47-59 thousand durable commands a second (architecture section 2)."""
BATCH_MARKETS_MAX = 256
"""Markets of one message: to wake one that sleeps and to write it takes its shard and PostgreSQL about 1 ms, on a busy
machine three, and while it works it answers no ping: with 1,024 it was killed as frozen, again and again."""
BATCH_BYTES_MAX = 256 * 1024
"""Size of one message; 256 KiB crosses the transport in 2.5 ms, 1 MiB in 10."""


# --- between processes ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WrongOwner:
    """The shard does not own this market under the epoch the sender knew; it has done nothing.

    `in_doubt` is set by a link that had asked before and got no answer: whom it asked then may have done it.
    """

    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The market's actor met a bug, which the log has under `incident`; it is rebuilt, and nothing was written."""

    incident: str


Answer = VoteTaken | Done | Refusal | WrongOwner | Failed | ActorStanding
Asked = Command | AskStanding
"""What may be asked of a market's owner; every answer comes after the commit of what came before it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands for one shard; `batch_id` stays the same when the sender repeats it."""

    gateway: str
    batch_id: int
    epochs: Mapping[int, int]
    commands: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class TracedBatch(Batch):
    """A batch of whose commands some are traced. A class of its own, so that other batches are not a byte longer."""

    asked_by: tuple[str, ...]
    """The W3C `traceparent` of each span that asked for one or more of the commands."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answers to one batch, in order."""

    batch_id: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class StartNode:
    """Launcher to NodeSupervisor: what to run. Factories are dotted names, resolved in the process they run in (B7)."""

    run_id: str
    host: str
    shard_count: int
    shard_factory: str
    agent_factory: str


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """NodeSupervisor to launcher."""

    pid: int


@dataclass(frozen=True, slots=True)
class StartShard:
    """NodeSupervisor to a new shard process: its place and the virtual shards it shall own."""

    factory: str
    slot: str
    host: str
    virtual_shards: tuple[int, ...]
    attempt: int
    recent_losses: int = 0
    """How often this place was lost lately."""


@dataclass(frozen=True, slots=True)
class ShardBooted:
    """A shard holds its locks and serves."""

    slot: str
    attempt: int
    pid: int
    epochs: Mapping[int, int]
    door: tuple[str, int]
    """Host and port of its channel of batches."""


@dataclass(frozen=True, slots=True)
class StartAgent:
    """NodeSupervisor to a new chain agent."""

    factory: str
    attempt: int


@dataclass(frozen=True, slots=True)
class AgentBooted:
    """The chain agent serves."""

    attempt: int
    pid: int


@dataclass(frozen=True, slots=True)
class Neighbours:
    """NodeSupervisor to its children: whom to tell what. Addresses are Thespian's own."""

    shards: tuple[Any, ...]
    agent: Any | None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A gateway link asks for `Moved`, now and after every change; repeated as a sign of life."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Moved:
    """NodeSupervisor to gateways: where a slot lives and which virtual shards it owns under which epochs."""

    slot: str
    door: tuple[str, int]
    epochs: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Ping:
    """A sign of life is asked for."""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """A sign of life."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Finish the batch at hand, give up the locks and end; answered by `Drained`."""


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing is in flight any more."""

    pid: int


@dataclass(frozen=True, slots=True)
class ChainNews:
    """Chain agent to shards: the clock, and GlobalConfig when it was read anew."""

    clock: ChainClock | None
    config: ChainConfig | None


@dataclass(frozen=True, slots=True)
class WorkPlanned:
    """Shard to chain agent: `chain_transactions` has something to send. A hint; the agent also looks by itself."""


@dataclass(frozen=True, slots=True)
class WorkSettled:
    """Chain agent to shards: an attempt ended. A hint; shards also look by themselves."""


# --- inside a shard -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Install:
    """Give a new MarketActor the state that the journal holds; None for a market that may be adopted. No answer."""

    market_id: MarketId
    market: Market | None
    deadline: Deadline | None


@dataclass(frozen=True, slots=True)
class Admit:
    """May these votes in? Answered by `Admitted`."""

    votes: tuple[CastVote, ...] | tuple[RecordChainVote, ...]
    rules: Rules
    now: Now


@dataclass(frozen=True, slots=True)
class Admitted:
    """For each vote a refusal or None, and the version that a commit of the others will make."""

    market_id: MarketId
    refusals: tuple[Refusal | None, ...]
    next_version: int
    late: frozenset[str] = frozenset()
    """Those of the others, by vote_id, that are kept but not counted."""


@dataclass(frozen=True, slots=True)
class Take:
    """May all these votes in? Then draft at once what counts them.

    Answered by `Drafted` with their ballots, or, if any of them may not, by what `Admit` is answered by.
    """

    votes: tuple[CastVote, ...]
    accepted_at_ms: int
    rules: Rules
    now: Now


@dataclass(frozen=True, slots=True)
class Count:
    """The database took these ballots, some in the place of others; draft what counts them. Answered by `Drafted`."""

    taken: tuple[Ballot, ...] | tuple[ChainBallot, ...]
    superseded: tuple[LogEntry, ...]
    rules: Rules
    now: Now


@dataclass(frozen=True, slots=True)
class Draft:
    """Decide these commands in order and draft one version. Answered by `Drafted`."""

    commands: tuple[Command, ...]
    rules: Rules
    now: Now


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a commit would write, None for nothing, and for each command its refusal or None."""

    market_id: MarketId
    refusals: tuple[Refusal | None, ...]
    change: Change | None
    market: Market | None
    deadline: Deadline | None
    places: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)
    """vote_id -> (sequence, leaf hash) of the votes that a `Count` or a `Take` asked for."""
    ballots: tuple[Ballot, ...] = ()
    """Those of the votes that a `Take` asked for, in its order."""


@dataclass(frozen=True, slots=True)
class Describe:
    """What do you hold? Answered by `Described`."""

    rules: Rules


@dataclass(frozen=True, slots=True)
class Described:
    """What the actor holds; None for a market that is not there."""

    market_id: MarketId
    market: Market | None
    deadlines: tuple[AwaitedDeadline, ...]
    last_decision: LastDecision | None


@dataclass(frozen=True, slots=True)
class Keep:
    """The draft is committed: it is the market now. No answer."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A handler met a bug; the actor must be dropped and rebuilt. The shard names the incident for the log."""

    market_id: MarketId
    error: str
    incident: str = ""
