"""What may be spent on fees: recent prices, and a day's sum that no restart forgets.

Both are read rarely and carried on in between, because this process is the only one that signs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from solders.pubkey import Pubkey

from chain.fees import Fee, FeeSettings, fee_for
from chain.gateway import Gateway
from chain.ports import AlertNote, TransactionStore

PRICES_S = 10.0
"""Prices are asked for this often at most; the node's own answer covers 60 s of blocks."""
SUM_S = 60.0
"""The day's sum is read this often, and an exhausted day is looked at again after this."""
ALERT_TYPE = "fee_cap"

_log = structlog.get_logger(__name__)


class Purse:
    """The caps of `FeeSettings`, kept."""

    def __init__(
        self,
        gateway: Gateway,
        store: TransactionStore,
        payers: Sequence[Pubkey],
        settings: FeeSettings,
        clock: Callable[[], float],
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._payers = payers
        self._settings = settings
        self._clock = clock
        self._prices: Sequence[int] = ()
        self._spent = 0
        self._prices_due_s = self._sum_due_s = clock()
        self._shut_until_s = clock()
        self._turn = asyncio.Lock()

    @property
    def is_shut(self) -> bool:
        """Whether the day's cap was reached a moment ago: nothing new is signed."""
        return self._clock() < self._shut_until_s

    async def fee(self, units_used: int | None) -> Fee | None:
        """What a transaction shall pay that used `units_used`; None when the day's cap does not allow it.

        It counts as spent from then on. Raises `ChainUnavailable`, and whatever the store raises.
        """
        async with self._turn:
            await self._read()
            fee = fee_for(units_used, self._prices, self._settings)
            if self._spent + fee.lamports > self._settings.day_lamports_max:
                await self._shut()
                return None
            self._spent += fee.lamports
            return fee

    async def _read(self) -> None:
        now_s = self._clock()
        if now_s >= self._prices_due_s:
            self._prices = await self._gateway.recent_prices(self._payers)
            self._prices_due_s = now_s + PRICES_S
        if now_s >= self._sum_due_s:
            self._spent = await self._store.fees_of_day()
            self._sum_due_s = now_s + SUM_S

    async def _shut(self) -> None:
        self._shut_until_s = self._clock() + SUM_S
        data = {
            "spent_lamports": str(self._spent),
            "day_lamports_max": str(self._settings.day_lamports_max),
            "mend": "Raise ZMART_FEE_LAMPORTS_PER_DAY, or wait: what is planned goes out as the 24 hours move on.",
        }
        _log.error("fees.day_cap_reached", **data)
        await self._store.raise_alert(AlertNote(ALERT_TYPE, "CRITICAL", ALERT_TYPE, None, data))
