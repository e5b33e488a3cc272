"""How often a wallet may try on one market: refused attempts count, a vote that went in does not (T4, P8)."""

from __future__ import annotations

from collections import OrderedDict, deque

from domain.ids import MarketId, Wallet

ATTEMPTS_MAX = 10
"""Attempts of one wallet on one market in a window, both vote types together; the next one is refused unseen."""
WINDOW_S = 3_600
WALLETS_MAX = 100_000
"""Wallets remembered with refused attempts; the one whose last attempt is longest ago is forgotten first."""


class Attempts:
    """Refused attempts by wallet and market. Kept in memory: a restart forgives, and no vote depends on it."""

    def __init__(
        self, attempts_max: int = ATTEMPTS_MAX, window_s: int = WINDOW_S, wallets_max: int = WALLETS_MAX
    ) -> None:
        self._attempts_max = attempts_max
        self._window_s = window_s
        self._wallets_max = wallets_max
        self._refused: OrderedDict[tuple[MarketId, Wallet], deque[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refused)

    def wait_s(self, market_id: MarketId, wallet: Wallet, now_s: int) -> int:
        """0 if the wallet may try, else the seconds until it may again."""
        times = self._refused.get((market_id, wallet))
        if times is None:
            return 0
        while times and times[0] <= now_s - self._window_s:
            times.popleft()
        if not times:
            del self._refused[market_id, wallet]
        return times[0] + self._window_s - now_s if len(times) >= self._attempts_max else 0

    def note_refused(self, market_id: MarketId, wallet: Wallet, now_s: int) -> None:
        """An attempt was refused."""
        times = self._refused.setdefault((market_id, wallet), deque(maxlen=self._attempts_max))
        times.append(now_s)
        self._refused.move_to_end((market_id, wallet))
        if len(self._refused) > self._wallets_max:
            self._refused.popitem(last=False)
