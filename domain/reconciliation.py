"""Where the database and the chain disagree, and when a difference is one (T44, decisions P7); pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from domain.ids import MarketId, Wallet
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.observed import ObservedMarket
from domain.positions import PositionRead, StoredPosition

SETTLE_SLOTS = 32
"""Two looks at one difference are this many slots apart at least, 13 s: what was on its way has arrived by then."""
MISSING = "missing"
TERMINAL = frozenset({Lifecycle.FINALIZED, Lifecycle.CANCELLED})
_OUTCOMES = {True: "YES", False: "NO", None: ""}
_POSITION_FIELDS = (
    "shares_yes",
    "shares_no",
    "total_invested",
    "trades_count",
    "has_claimed",
    "claimed_amount",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field on which the two disagree, in words; `wallet` is that of a position."""

    market_id: MarketId
    wallet: Wallet | None
    field: str
    database_value: str
    chain_value: str
    slot: int

    @property
    def key(self) -> tuple[MarketId, Wallet | None, str]:
        """What the difference is about."""
        return self.market_id, self.wallet, self.field


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A difference that one run has seen; `reported` once it is stored as a discrepancy."""

    difference: Difference
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """The two numbers of a tally as they were sent, u32 each."""

    yes: int
    no: int

    def __str__(self) -> str:
        return f"{self.yes}:{self.no}"


def market_differences(
    market: Market, chain: ObservedMarket | None, slot: int, dispute: Pair | None
) -> list[Difference]:
    """Compare a row with its account as it was at `slot`; `dispute` is the last pair of that type that was confirmed.

    A row that was read later than `slot` is not compared. Tallies are not while a transaction of ours is under way: it
    may have landed.
    """
    if market.observed_slot > slot:
        return []
    if chain is None:
        return [Difference(market.market_id, None, "account", market.state.name, MISSING, slot)]
    pairs = [
        ("state", market.state.name, chain.state.name),
        ("proposed_outcome", _OUTCOMES[market.proposed_outcome], _OUTCOMES[chain.proposed_outcome]),
        ("final_outcome", _OUTCOMES[market.final_outcome], _OUTCOMES[chain.final_outcome]),
    ]
    if market.intent is None:
        likes = Pair(market.confirmed_likes, market.confirmed_dislikes)
        pairs.append(("proposal_tally", str(likes), str(Pair(chain.proposal_likes, chain.proposal_dislikes))))
        if dispute is not None:
            pairs.append(("dispute_tally", str(dispute), str(Pair(chain.dispute_agree, chain.dispute_disagree))))
    return [Difference(market.market_id, None, *pair, slot) for pair in pairs if pair[1] != pair[2]]


def position_differences(row: StoredPosition, chain: PositionRead) -> list[Difference]:
    """Compare a row with its account; not one that was read later, nor one that waits to be read again."""
    if row.slot > chain.slot or row.slot < row.touched_slot:
        return []
    pairs = [(name, str(getattr(row, name)), str(getattr(chain, name))) for name in _POSITION_FIELDS]
    return [Difference(*row.holding, *pair, chain.slot) for pair in pairs if pair[1] != pair[2]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run makes of what it saw."""

    confirmed: tuple[Difference, ...]
    """Seen before too, with nothing moved in between: these are discrepancies."""
    kept: tuple[Suspicion, ...]
    """For the next run to see again, or not."""


def judge(seen: Sequence[Difference], before: Iterable[Suspicion], heard_slot: int | None = None) -> Verdict:
    """Tell discrepancies from what was only on its way.

    A difference counts when an earlier run saw it at least SETTLE_SLOTS before, the rows have heard of every event up
    to that slot (`heard_slot`; None where nothing was indexed yet), and the database has not moved on that field since.
    A first sight, and one that moved, waits. What is stored already is not stored again.
    """
    known = {suspicion.difference.key: suspicion for suspicion in before}
    confirmed, kept = [], []
    for difference in seen:
        earlier = known.get(difference.key)
        if earlier is None or earlier.difference.database_value != difference.database_value:
            kept.append(Suspicion(difference))
        elif earlier.reported or not _has_settled(earlier.difference.slot, difference.slot, heard_slot):
            kept.append(earlier)
        else:
            confirmed.append(difference)
    return Verdict(tuple(confirmed), tuple(kept))


def _has_settled(first_slot: int, slot: int, heard_slot: int | None) -> bool:
    is_heard = heard_slot is None or heard_slot >= first_slot
    return is_heard and slot - first_slot >= SETTLE_SLOTS


def reported(difference: Difference) -> Suspicion:
    """A discrepancy that could not be repaired: it stays known, so that it is told once."""
    return replace(Suspicion(difference), reported=True)
