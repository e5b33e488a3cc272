"""One market, one actor: it alone decides about its market, one message at a time.

It lives in the in-process actor system of a shard and is driven in three steps: a draft, a commit by the shard, `Keep`.
Its current state is what the journal holds; a draft that is not kept is forgotten with the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thespian.actors import Actor

from actors.effects import change_of
from actors.messages import Admit, Admitted, Broken, Count, Describe, Described, Draft, Drafted, Install, Keep, Take
from actors.ports import Ballot
from domain import events as ev
from domain.commands import CastVote, Command, FireDeadline, RecordChainVote, SettleIntent
from domain.counting import Taken, count
from domain.deadlines import Deadline, kind_of, next_deadline, reschedule
from domain.decisions import Decision, decide
from domain.ids import MarketId
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.refusals import Refusal
from domain.rules import Now, Rules
from domain.standing import AwaitedDeadline, LastDecision
from domain.stuck import active
from domain.votelog import LogEntry

_VOTES, _COUNTED = ("votes",), (ev.VotesCounted.__name__,)


class MarketActor(Actor):  # type: ignore[misc]  # Thespian ships no types
    """Owns one market's tallies, state and deadline.

    A handler never raises, because the in-process system would deliver the message three times more and out of order
    (ADR 0003): a bug is answered with `Broken`, and the shard rebuilds the actor from the journal.
    """

    def __init__(self) -> None:
        super().__init__()
        self._market_id = MarketId("")
        self._market: Market | None = None
        self._deadline: Deadline | None = None
        self._last_decision: LastDecision | None = None
        self._draft: tuple[Market | None, Deadline | None, LastDecision | None] = (None, None, None)

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        """Answer a message of the shard."""
        reply: Admitted | Drafted | Described | Broken | None
        try:
            reply = self._answer(message)
        except Exception as error:  # the one place where a bug of the rules ends
            reply = Broken(self._market_id, f"{type(error).__name__}: {error}")
        if reply is not None:
            self.send(sender, reply)

    def _answer(self, message: Any) -> Admitted | Drafted | Described | None:
        match message:
            case Take(votes, accepted_at_ms, rules, now):
                return self._take(votes, accepted_at_ms, rules, now)
            case Keep():
                self._market, self._deadline, self._last_decision = self._draft
            case Admit(votes, rules, now):
                return self._admit(votes, rules, now)
            case Count(taken, superseded, rules, now):
                return self._count(taken, superseded, rules, now)
            case Draft(commands, rules, now):
                return self._decide(commands, rules, now)
            case Install(market_id, market, deadline):
                self._market_id, self._market, self._deadline = market_id, market, deadline
            case Describe(rules):
                return self._described(rules)
            case _:  # Thespian's own, such as ActorExitRequest
                pass
        return None

    def _admit(self, votes: Sequence[CastVote | RecordChainVote], rules: Rules, now: Now) -> Admitted:
        return self._admitted([decide(self._market, vote, rules, now) for vote in votes])

    def _admitted(self, decisions: Sequence[Decision]) -> Admitted:
        refusals, late = list[Refusal | None](), list[str]()
        for decision in decisions:
            refusals.append(None if isinstance(decision, tuple) else decision)
            for event in decision if isinstance(decision, tuple) else ():
                if isinstance(event, ev.ChainVoteCameLate):
                    late.append(event.vote.vote_id)
        return Admitted(self._market_id, tuple(refusals), self._next_version, frozenset(late))

    @property
    def _next_version(self) -> int:
        return (self._market.version if self._market else 0) + 1

    def _take(self, votes: Sequence[CastVote], accepted_at_ms: int, rules: Rules, now: Now) -> Drafted | Admitted:
        decisions = [decide(self._market, vote, rules, now) for vote in votes]
        if [decision for decision in decisions if not isinstance(decision, tuple)]:
            return self._admitted(decisions)
        version = self._next_version
        ballots = tuple([Ballot(vote, version, accepted_at_ms) for vote in votes])
        return self._count(ballots, (), rules, now, ballots)

    def _count(
        self, taken: Taken, superseded: Sequence[LogEntry], rules: Rules, now: Now, ballots: tuple[Ballot, ...] = ()
    ) -> Drafted:
        """A version that counts votes: it fires nothing, settles nothing and leaves the state as it is."""
        before = self._market
        assert before is not None, "votes for a market that is not known"
        counted, places = count(before, taken, superseded)
        after = before
        for event in counted:
            after = evolve(after, event)
        after = active(before, after, counted, now)
        deadline = reschedule(self._deadline, next_deadline(after, rules, now))
        change = change_of(before, after, counted, (), deadline, rules)
        self._draft = (change.market, deadline, LastDecision(_VOTES, _COUNTED, now.wall_s))
        return Drafted(self._market_id, (), change, change.market, deadline, places, ballots)

    def _described(self, rules: Rules) -> Described:
        awaited = awaited_deadlines(self._market, self._deadline, rules)
        return Described(self._market_id, self._market, awaited, self._last_decision)

    def _decide(self, commands: tuple[Command, ...], rules: Rules, now: Now) -> Drafted:
        after, refusals, happened = self._market, list[Refusal | None](), list[ev.Event]()
        for command in commands:
            decision = decide(after, command, rules, now)
            refusals.append(None if isinstance(decision, tuple) else decision)
            for event in decision if isinstance(decision, tuple) else ():
                after = evolve(after, event)
                happened.append(event)
        if after is None:
            return Drafted(self._market_id, tuple(refusals), None, None, None)
        if happened:
            after = active(self._market, after, happened, now)
        return self._drafted(after, happened, refusals, commands, rules, now)

    def _drafted(
        self,
        after: Market,
        happened: Sequence[ev.Event],
        refusals: Sequence[Refusal | None],
        commands: Sequence[Command],
        rules: Rules,
        now: Now,
    ) -> Drafted:
        """Move the deadline, and say what a commit would write."""
        applied = tuple(c.settlement.intent.intent_id for c in commands if isinstance(c, SettleIntent))
        fired = any(isinstance(command, FireDeadline) for command in commands)
        is_spent = fired or self._market is None or after.state is not self._market.state
        deadline = reschedule(None if is_spent else self._deadline, next_deadline(after, rules, now))
        change = None
        moved = fired and after.state is not Lifecycle.PROPOSED and deadline != self._deadline
        if happened or applied or moved:  # the last one, so that readers see where GlobalConfig or a trade moved it
            change = change_of(self._market, after, happened, applied, deadline, rules)
            after = change.market
        self._draft = (after, deadline, _decision(commands, happened, refusals, now))
        return Drafted(self._market_id, tuple(refusals), change, after, deadline)


def awaited_deadlines(market: Market | None, deadline: Deadline | None, rules: Rules) -> tuple[AwaitedDeadline, ...]:
    """What the market waits for by a clock, the next one first."""
    if market is None or deadline is None:
        return ()
    return (AwaitedDeadline(kind_of(deadline, market, rules), deadline),)


def _decision(
    commands: Sequence[Command], happened: Sequence[ev.Event], refusals: Sequence[Refusal | None], now: Now
) -> LastDecision:
    """Names only, shared with their classes, for every resident keeps one."""
    asked = tuple(dict.fromkeys(type(command).__name__ for command in commands))
    said = [each for each in (*happened, *refusals) if each is not None]
    return LastDecision(asked, tuple(dict.fromkeys(type(each).__name__ for each in said)), now.wall_s)
