"""Reading the chain in domain words: markets, GlobalConfig, the Clock; always at confirmed unless said otherwise."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from solders.account import Account
from solders.account_decoder import UiAccountEncoding
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey
from solders.rpc.config import RpcAccountInfoConfig, RpcContextConfig
from solders.rpc.requests import GetAccountInfo, GetGenesisHash, GetSlot
from solders.rpc.responses import GetAccountInfoResp, GetGenesisHashResp, GetSlotResp
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.sysvar import CLOCK

from chain.endpoints import PoolSettings, RpcPool
from chain.keys import SigningKeys
from chain.program import UndecodableAccount, ZmartProgram
from chain.rpc import Asking, ChainUnavailable, Rpc, RpcSettings, Sleep
from domain.ids import MarketId, Wallet
from domain.observed import ChainClock, ChainConfig, ObservedMarket, ObservedPosition

__all__ = ["ChainReader", "ChainUnavailable", "ConfigMissing", "UndecodableAccount"]

CLOCK_BYTES = 40
_CLOCK_TIME = struct.Struct("<q")
_CLOCK_TIME_OFFSET = 32


class ConfigMissing(Exception):
    """No GlobalConfig at its address: the program id is wrong, or the program was never initialised."""

    def __init__(self, program_id: str, address: str) -> None:
        super().__init__(
            f"program {program_id} has no GlobalConfig at {address}: check the program id, or initialise it"
        )
        self.program_id = program_id
        self.address = address


class ChainReader:
    """Typed reads of one cluster. Every method raises `ChainUnavailable` when the chain does not answer in time."""

    def __init__(self, rpc: Asking, program: ZmartProgram) -> None:
        self._rpc = rpc
        self._program = program

    @classmethod
    def connect(
        cls,
        urls: str | Sequence[str],
        program_id: str,
        sleep: Sleep = asyncio.sleep,
        *,
        settings: PoolSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """A reader with connections of its own, to one endpoint or to several, best first; opens none yet."""
        listed = (urls,) if isinstance(urls, str) else urls
        rpcs = [Rpc(RpcSettings(url), sleep) for url in listed]
        return cls(RpcPool(rpcs, settings, clock=clock, sleep=sleep), ZmartProgram.at(program_id))

    @property
    def rpc(self) -> Asking:
        """The endpoints, for whoever sends over the same connections."""
        return self._rpc

    @property
    def program(self) -> ZmartProgram:
        """The program that is read."""
        return self._program

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pool."""
        await self._rpc.close()

    async def market(self, market_id: MarketId, min_slot: int | None = None) -> ObservedMarket | None:
        """The market as of a slot of at least `min_slot`, or None when no account of the program is there.

        Raises `UndecodableAccount` for an account that another program owns or that is no market.
        """
        address = self._program.market_address(market_id)[0]
        account, slot = await self._account(address, min_slot)
        if account is None or account.owner == SYSTEM_PROGRAM:
            return None  # anybody may send lamports to the address before the market exists
        self._check_owner(address, account)
        return self._program.market(market_id, account.data, slot, account.lamports)

    async def position(self, market_id: MarketId, user: Wallet, min_slot: int | None = None) -> ObservedPosition | None:
        """The user's position as of a slot of at least `min_slot`, or None for who never traded in this market.

        Raises `UndecodableAccount` for an account that another program owns or that is no position.
        """
        market = self._program.market_address(market_id)[0]
        address = self._program.position_address(market, user)[0]
        account, slot = await self._account(address, min_slot)
        if account is None or account.owner == SYSTEM_PROGRAM:
            return None
        self._check_owner(address, account)
        return self._program.position(address, account.data, slot)

    async def config(self, keys: SigningKeys) -> ChainConfig:
        """GlobalConfig, and which of `keys` it names; raises `ConfigMissing` or `UndecodableAccount`."""
        address = self._program.config_address()[0]
        account, slot = await self._account(address)
        if account is None or account.owner == SYSTEM_PROGRAM:
            raise ConfigMissing(str(self._program.program_id), str(address))
        self._check_owner(address, account)
        return self._program.config(account.data, slot, keys.backend.wallet, keys.admin.wallet if keys.admin else None)

    async def has_program(self) -> bool:
        """Whether an executable account stands at the program id."""
        account, _ = await self._account(self._program.program_id)
        return account is not None and account.executable

    async def clock(self) -> ChainClock:
        """The Clock sysvar (decisions P6)."""
        account, slot = await self._account(CLOCK)
        if account is None or len(account.data) < CLOCK_BYTES:
            raise UndecodableAccount(str(CLOCK), "no Clock sysvar")
        (unix_s,) = _CLOCK_TIME.unpack_from(account.data, _CLOCK_TIME_OFFSET)
        return ChainClock(slot=slot, unix_s=unix_s)

    async def health(self) -> int:
        """The confirmed slot: an answer means that the chain can be read."""
        config = RpcContextConfig(commitment=CommitmentLevel.Confirmed)
        return (await self._rpc.ask(GetSlot(config), GetSlotResp)).value

    async def genesis_hash(self) -> str:
        """The cluster's name, in base58."""
        return str((await self._rpc.ask(GetGenesisHash(), GetGenesisHashResp)).value)

    async def _account(self, address: Pubkey, min_slot: int | None = None) -> tuple[Account | None, int]:
        config = RpcAccountInfoConfig(
            encoding=UiAccountEncoding.Base64, commitment=CommitmentLevel.Confirmed, min_context_slot=min_slot
        )
        answer = await self._rpc.ask(GetAccountInfo(address, config), GetAccountInfoResp)
        return answer.value, answer.context.slot

    def _check_owner(self, address: Pubkey, account: Account) -> None:
        if account.owner != self._program.program_id:
            raise UndecodableAccount(str(address), f"owned by {account.owner}, not by {self._program.program_id}")
