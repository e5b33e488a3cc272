"""What must have come of a simulated year: worked out from the chain's history and the outages, not from the code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chain.ledger.archive import Landed
from domain.aggregation import TOO_EARLY
from domain.ids import MarketId
from domain.intents import ACTS_IN, ENDS, IntentStatus
from domain.lifecycle import TERMINAL, Lifecycle
from domain.retries import calls_for_help
from tests.support.year_weather import DAY_S
from tests.support.year_world import Move, Year

DONE_WITHIN_S = 7_200.0
"""Of everything being there without a break: the longest retry takes 66 minutes, the breaker five, an expiry two."""
STUCK_AFTER_S = 30 * DAY_S
TOLD_WITHIN_S = 60.0
"""Of the first moment at which a shard with database and chain time could tell."""
REACHED_BY = {Lifecycle.APPROVED: ("ApproveProposal",), Lifecycle.FINALIZED: ("FinalizeMarket",)}
LANDED = (IntentStatus.CONFIRMED, IntentStatus.FINALIZED)
CLOCKS_APART_S = 1.5
"""The chain counts whole seconds, and so does a market."""
ROUNDED_S = 0.01
OPENING_TOLD_S = 70.0
"""The sender's longest pause, and one request more."""


@dataclass(frozen=True, slots=True)
class Window:
    """A day of being stuck: when a notice of it may come first, whether one must, and until when it counts."""

    begins_s: float
    until_s: float
    first_s: float | None
    """The first moment at which somebody was there to tell; None if nobody was."""
    is_certain: bool
    """False where the market has moved meanwhile and its actor did not know yet, or nobody was there for a minute."""


def judge(year: Year) -> Counter[str]:
    """Check everything, and count what was found; raises AssertionError with the seed."""
    found: Counter[str] = Counter()
    for market, kind in year.kinds.items():
        where = (year.seed, kind, market)
        end = Lifecycle.CANCELLED if kind == "unloved" else Lifecycle.FINALIZED
        assert year.state(market) is end is year.stored(market), where
        _judge_transitions(year, market, found)
        _judge_notices(year, market, found)
        _judge_failures(year, market, found)
    _judge_breakers(year, found)
    assert all(len(each) == 1 for each in year.signed.values()), (year.seed, "signed twice")
    return found


# --- transitions ------------------------------------------------------------------------------------------------------


def _judge_transitions(year: Year, market: MarketId, found: Counter[str]) -> None:
    """Each that was due happened once on the ledger, and its market knew within the bound."""
    landed = _own(year, market)
    names = Counter(_instruction(each) for each in landed)
    rows = [each for each in year.database.tables.attempts.values() if each.intent.market_id == market]
    executed = Counter(each.intent.action.value for each in rows if each.status is IntentStatus.FINALIZED)
    assert sum(executed.values()) == len(landed), (year.seed, market, executed, names)
    assert sum(executed[end.value] for end in ENDS) == (Lifecycle.FINALIZED in year.ready_s[market])
    for state, ready_s in year.ready_s[market].items():
        assert sum(names[name] for name in REACHED_BY[state]) == 1, (year.seed, market, state, names)
        known_s = min(at_s for at_s, change in year.chronicle.saved if _shows(change.market, market, state))
        assert known_s <= _latest_s(year, ready_s), (year.seed, market, state, ready_s, known_s)
        assert known_s >= ready_s or state is not Lifecycle.FINALIZED, (year.seed, market, "ended early")
        found["transitions"] += 1
        found["late transitions"] += known_s > ready_s + 600


def _shows(seen: object, market: MarketId, state: Lifecycle) -> bool:
    return getattr(seen, "market_id", None) == market and getattr(seen, "state", None) is state


def _latest_s(year: Year, ready_s: float) -> float:
    """When at the latest it must be done: all parts had been there for long enough at a stretch by then."""
    for began_s, ended_s in year.weather.spans_without(ready_s, year.ended_s):
        if ended_s - began_s >= DONE_WITHIN_S:
            return began_s + DONE_WITHIN_S
    return year.ended_s


def _own(year: Year, market: MarketId) -> list[Landed]:
    """What this backend changed on the market, as the ledger has it."""
    address, newest = bytes(year.program.market_address(market)[0]), year.node.bank.tip.slot
    landed = year.node.archive.mentioning(address, newest, None, None, 1_000)
    return [each for each in landed if each.meta["err"] is None and each.signature not in year.foreign]


def _instruction(landed: Landed) -> str:
    (name,) = [line.removeprefix(_CALLED) for line in landed.meta["logMessages"] if line.startswith(_CALLED)]
    return str(name)


_CALLED = "Program log: Instruction: "


# --- markets on which nothing happens ---------------------------------------------------------------------------------


def _judge_notices(year: Year, market: MarketId, found: Counter[str]) -> None:
    """Each day of being stuck on which somebody was there has its one notice, and there is no other."""
    notices = [
        at_s for at_s, note in year.chronicle.told if note.alert_type == "stuck_market" and note.market_id == market
    ]
    keys = [note.dedupe_key for _, note in year.chronicle.told if note.alert_type == "stuck_market"]
    assert len(set(keys)) == len(keys), (year.seed, market, "two notices of one day")
    for window in _windows(year, market):
        inside = [at_s for at_s in notices if window.begins_s <= at_s + CLOCKS_APART_S < window.until_s]
        notices = [at_s for at_s in notices if at_s not in inside]
        if window.first_s is None:
            assert not inside, (year.seed, market, "told while nobody was there", window, inside)
        elif window.is_certain:
            assert len(inside) == 1, (year.seed, market, window, inside)
            assert inside[0] - window.first_s <= TOLD_WITHIN_S, (year.seed, market, window, inside)
            found["stuck days"] += 1
        else:
            assert len(inside) <= 1, (year.seed, market, window, inside)
            found["doubtful stuck days"] += 1
    assert not notices, (year.seed, market, "told of a market that is not stuck", notices)


def _windows(year: Year, market: MarketId) -> Iterator[Window]:
    moves = sorted([*year.moves[market], *_own_moves(year, market)], key=lambda move: move.at_s)
    ends = [*moves[1:], Move(year.ended_s, year.ended_s)] if year.state(market) not in TERMINAL else moves[1:]
    for move, following in zip(moves, ends, strict=False):
        begins_s = move.at_s + STUCK_AFTER_S
        while begins_s <= following.known_s:
            yield _window(year, begins_s, max(begins_s, move.known_s), following)
            begins_s += DAY_S


def _window(year: Year, begins_s: float, since_s: float, following: Move) -> Window:
    until_s = min(begins_s + DAY_S, following.known_s + 2 * CLOCKS_APART_S)
    seen = [max(began_s, since_s) for began_s, ended_s in year.sights if ended_s > max(began_s, since_s)]
    first_s = min((at_s for at_s in seen if at_s < until_s), default=None)
    is_certain = first_s is not None and first_s + TOLD_WITHIN_S < min(until_s, following.at_s)
    return Window(begins_s, until_s, first_s, is_certain)


def _own_moves(year: Year, market: MarketId) -> Sequence[Move]:
    """What this backend sent counts from when its market took the confirmation in."""
    rows = year.database.tables.attempts
    return [
        Move(int(at_s), at_s)
        for at_s, change in year.chronicle.saved
        if change.market.market_id == market and any(rows[each].status in LANDED for each in change.applied)
    ]


# --- what people must hear --------------------------------------------------------------------------------------------


def _judge_failures(year: Year, market: MarketId, found: Counter[str]) -> None:
    """Whatever failed more often than retries are trusted with was told, each time."""
    rows, expected = year.database.tables.attempts, 0
    for _, change in year.chronicle.saved:
        if change.market.market_id == market:
            ended = [rows[each] for each in change.applied]
            expected += sum(
                each.status not in LANDED
                and each.error_name != TOO_EARLY
                and calls_for_help(each.intent.attempt)
                and change.market.state in ACTS_IN[each.intent.action]
                for each in ended
            )
    told = sum(note.alert_type == "intent_failed" and note.market_id == market for _, note in year.chronicle.told)
    assert told == expected, (year.seed, market, "failures told", told, expected)
    found["failures told"] += told


def _judge_breakers(year: Year, found: Counter[str]) -> None:
    """Each outage that could open the breaker did, and each opening was told unless its agent died of it."""
    assert not year.chronicle.left_closed, (year.seed, "no breaker opened", year.chronicle.left_closed)
    told = [at_s for at_s, note in year.chronicle.told if note.alert_type == "state_transition_failure"]
    lives = []
    for opened_s, ended_s in year.chronicle.openings:
        inside = [at_s for at_s in told if opened_s <= at_s <= ended_s + ROUNDED_S]
        assert inside or ended_s < opened_s + OPENING_TOLD_S, (year.seed, "opened unheard", opened_s, ended_s)
        assert not inside or inside[0] <= opened_s + OPENING_TOLD_S, (year.seed, "told late", opened_s, inside)
        lives.append((opened_s, ended_s))
        found["breakers opened"] += 1
    assert all(any(a <= at_s <= b + ROUNDED_S for a, b in lives) for at_s in told), (
        year.seed,
        "told of no opening",
        told,
    )
