"""What trades came to whose log was cut off: told by subtraction, and held against the accounts. Pure.

A position says how many trades it saw and what they came to; less all other trades that are known, that is the one that
is missing. All trades of a market together have to come to what the market's account shows, else something is missing
and nothing is said. The chain's maths is not done again: nothing here rests on fees or thresholds of then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chain.calls import Call
from chain.events import SharesBought, SharesSold
from chain.odds import SHARES_PER_B, price_yes
from domain.observed import ObservedMarket, ObservedPosition
from domain.positions import TradesOf
from indexer.frames import Frames


@dataclass(frozen=True, slots=True)
class TradeFound:
    """What a call came to; `amount` is what the buyer paid, or what the seller got."""

    shares: int
    amount: int
    price_yes: int


@dataclass(frozen=True, slots=True)
class TradeCall:
    """A trade of the transaction in question, with its event where the log had it."""

    ordinal: int
    call: Call
    logged: SharesBought | SharesSold | None = None

    @property
    def is_buy(self) -> bool:
        """Or else it is a sale."""
        return self.call.name == "buy_shares"

    @property
    def user(self) -> str:
        """Whose trade it is."""
        return self.call.accounts["user"]


@dataclass(frozen=True, slots=True)
class _Known:
    trade: TradeCall
    shares: int
    amount: int

    @property
    def yes(self) -> int:
        return self._signed if self.trade.call.args[0] else 0

    @property
    def no(self) -> int:
        return 0 if self.trade.call.args[0] else self._signed

    @property
    def invested(self) -> int:
        return self.amount if self.trade.is_buy else 0

    @property
    def _signed(self) -> int:
        return self.shares if self.trade.is_buy else -self.shares


def find_trades(
    trades: Sequence[TradeCall],
    market: ObservedMarket,
    positions: Mapping[str, ObservedPosition],
    others: Sequence[TradesOf],
    frames: Frames,
) -> Mapping[int, TradeFound]:
    """All trades of one market in one transaction, by ordinal; empty where the accounts do not confirm every number.

    `positions` are by user; `others` are all trades that are known of the market up to the slot at which its accounts
    were read, without this transaction's.
    """
    if any(position.slot != market.slot for position in positions.values()):
        return {}  # read in two questions, between which anything may have happened
    known: list[_Known] = []
    for user in dict.fromkeys(trade.user for trade in trades):
        mine = [trade for trade in trades if trade.user == user]
        of_user = next((each for each in others if each.wallet == user), TradesOf(None, 0, 0, 0, 0, 0, 0, 0))
        known += _of_user(mine, positions.get(user), of_user, frames)
    if len(known) < len(trades) or not _adds_up(known, market, others):
        return {}
    return dict(_priced(sorted(known, key=lambda each: each.trade.ordinal), market, others))


def _of_user(
    mine: Sequence[TradeCall], position: ObservedPosition | None, others: TradesOf, frames: Frames
) -> Sequence[_Known]:
    """All trades of one user, or none: at most one purchase may be unknown, and the position must account for all."""
    if position is None or position.trades_count != others.count + len(mine):
        return []
    known = list(_told(mine, frames))
    missing = [trade for trade in mine if trade.logged is None and trade.is_buy]
    if len(missing) > 1 or len(known) + len(missing) != len(mine):
        return []
    yes = position.shares_yes - others.yes - sum(each.yes for each in known)
    no = position.shares_no - others.no - sum(each.no for each in known)
    invested = position.total_invested - others.invested - sum(each.invested for each in known)
    if missing:
        shares, rest = (yes, no) if missing[0].call.args[0] else (no, yes)
        return [*known, _Known(missing[0], shares, invested)] if rest == 0 <= min(shares, invested) else []
    return known if (yes, no, invested) == (0, 0, 0) else []


def _told(mine: Iterable[TradeCall], frames: Frames) -> Iterator[_Known]:
    """What the log had; and sales, which say how many shares, and whose proceeds are all that left the market."""
    for trade in mine:
        if isinstance(trade.logged, SharesBought):
            yield _Known(trade, trade.logged.shares, trade.logged.cost)
        elif isinstance(trade.logged, SharesSold):
            yield _Known(trade, trade.logged.shares, trade.logged.proceeds)
        elif not trade.is_buy and (proceeds := _proceeds(trade.call, frames)) is not None:
            yield _Known(trade, trade.call.args[1], proceeds)


def _proceeds(call: Call, frames: Frames) -> int | None:
    """What left the market less what reached the fee wallet, where no other instruction moved either."""
    market, wallet = call.accounts["market"], call.accounts["protocol_fee_wallet"]
    if wallet in (frames.payer, call.accounts["user"]):
        return None
    if not frames.only_one_names(market) or not frames.only_one_names(wallet):
        return None
    (market_before, market_after), (wallet_before, wallet_after) = frames.balances[market], frames.balances[wallet]
    proceeds = (market_before - market_after) - (wallet_after - wallet_before)
    return proceeds if proceeds >= 0 else None


def _adds_up(known: Sequence[_Known], market: ObservedMarket, others: Sequence[TradesOf]) -> bool:
    """Whether all trades come to what the market shows, and it is known which of them came before."""
    first = market.b_parameter // SHARES_PER_B
    yes = first + sum(each.yes for each in others) + sum(each.yes for each in known)
    no = first + sum(each.no for each in others) + sum(each.no for each in known)
    return (yes, no) == (market.shares_yes, market.shares_no) and not any(each.unplaced_count for each in others)


def _priced(
    known: Sequence[_Known], market: ObservedMarket, others: Sequence[TradesOf]
) -> Iterator[tuple[int, TradeFound]]:
    first = market.b_parameter // SHARES_PER_B
    yes, no = first + sum(each.yes_before for each in others), first + sum(each.no_before for each in others)
    for each in known:
        yes, no = yes + each.yes, no + each.no
        price = price_yes(yes, no, market.b_parameter)
        if price is not None:
            yield each.trade.ordinal, TradeFound(each.shares, each.amount, price)
