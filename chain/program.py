"""zmart_core from the outside: addresses and calls (`instructions.py`), and here its accounts as values; no network."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

from anchorpy.coder.accounts import AccountsCoder
from construct import ConstructError
from solders.pubkey import Pubkey

from chain.idl import Interface, shipped_interface
from chain.instructions import (
    DISPUTE_VOTE,
    INTERFACES_KEPT,
    IPFS_HASH_BYTES,
    PROPOSAL_VOTE,
    ConfigChange,
    ZmartInstructions,
    instruction_data,
)
from domain.ids import MarketId, Wallet, base58_encode
from domain.lifecycle import Lifecycle
from domain.observed import ChainConfig, ObservedMarket, ObservedPosition, ObservedVote

__all__ = [
    "DISPUTE_VOTE",
    "IPFS_HASH_BYTES",
    "NEWEST_PROGRAM_ID",
    "PROPOSAL_VOTE",
    "ConfigChange",
    "UndecodableAccount",
    "ZmartProgram",
    "instruction_data",
]

NEWEST_PROGRAM_ID = Wallet("6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw")
"""The newest build's address (CI 1): what the local ledger uses when nothing else is set."""


class UndecodableAccount(Exception):
    """Account bytes that are not the expected zmart_core record; names the address and the fault."""

    def __init__(self, address: str, fault: str) -> None:
        super().__init__(f"account {address}: {fault}")
        self.address = address
        self.fault = fault


@lru_cache(maxsize=INTERFACES_KEPT)
def _accounts_coder(interface: Interface) -> AccountsCoder:
    with warnings.catch_warnings():
        # anchorpy builds enums with sumtypes, which still passes attrs its deprecated repr_ns; harmless here
        warnings.filterwarnings("ignore", message="The `repr_ns` argument", category=DeprecationWarning)
        return AccountsCoder(interface.idl)


class ZmartProgram(ZmartInstructions):
    """zmart_core at one address. Slack behind an account's fields is ignored (CI 2)."""

    @classmethod
    def at(cls, program_id: str, interface: Interface | None = None) -> ZmartProgram:
        """The program at a base58 address; `interface` is the operator's own definition, if there is one."""
        return cls(Pubkey.from_string(program_id), interface or shipped_interface())

    def market(self, market_id: MarketId, data: bytes, slot: int, lamports: int | None = None) -> ObservedMarket:
        """Decode a MarketAccount read at `slot`; raises `UndecodableAccount`, also when it is another market's.

        With the account's `lamports` it says what of them is above the rent, which must stay (CI 10.9).
        """
        address = self.market_address(market_id)[0]
        record = self._decode("MarketAccount", str(address), data)
        found = base58_encode(bytes(record.market_id))
        if found != market_id:
            raise UndecodableAccount(str(address), f"holds market {found}, not {market_id}")
        pool = None if lamports is None else max(lamports - rent_exempt_lamports(len(data)), 0)
        return _market(record, Wallet(str(address)), slot, pool)

    def config(self, data: bytes, slot: int, backend: Wallet, admin: Wallet | None) -> ChainConfig:
        """Decode GlobalConfig read at `slot`, and say which of our keys it names; raises `UndecodableAccount`."""
        record = self._decode("GlobalConfig", str(self.config_address()[0]), data)
        chain_admin, authority = Wallet(str(record.admin)), Wallet(str(record.backend_authority))
        return ChainConfig(
            slot=slot,
            admin=chain_admin,
            backend_authority=authority,
            proposal_threshold_bps=record.proposal_approval_threshold,
            dispute_threshold_bps=record.dispute_success_threshold,
            dispute_period_s=record.dispute_period,
            is_paused=record.is_paused,
            may_aggregate=authority == backend,
            may_approve=chain_admin == admin,
        )

    def protocol_fee_wallet(self, data: bytes) -> Wallet:
        """Where trades pay the protocol's fee, out of GlobalConfig's bytes; raises `UndecodableAccount`."""
        record = self._decode("GlobalConfig", str(self.config_address()[0]), data)
        return Wallet(str(record.protocol_fee_wallet))

    def position(self, address: Pubkey, data: bytes, slot: int) -> ObservedPosition:
        """Decode the UserPosition read at `address`; raises `UndecodableAccount`, also when it belongs elsewhere."""
        record = self._decode("UserPosition", str(address), data)
        user = Wallet(str(record.user))
        self._check_address(address, self.position_address(record.market, user)[0])
        return ObservedPosition(
            market=Wallet(str(record.market)),
            user=user,
            slot=slot,
            shares_yes=record.shares_yes,
            shares_no=record.shares_no,
            total_invested=record.total_invested,
            trades_count=record.trades_count,
            last_trade_at_s=record.last_trade_at,
            has_claimed=record.has_claimed,
            claimed_amount=record.claimed_amount,
        )

    def vote(self, address: Pubkey, data: bytes, slot: int) -> ObservedVote:
        """Decode the VoteRecord read at `address`; raises `UndecodableAccount`, also when it belongs elsewhere."""
        record = self._decode("VoteRecord", str(address), data)
        user, is_dispute = Wallet(str(record.user)), type(record.vote_type).__name__ == "Dispute"
        vote_type = DISPUTE_VOTE if is_dispute else PROPOSAL_VOTE
        self._check_address(address, self.vote_address(record.market, user, vote_type)[0])
        return ObservedVote(
            market=Wallet(str(record.market)),
            user=user,
            slot=slot,
            is_dispute=is_dispute,
            vote=record.vote,
            voted_at_s=record.voted_at,
        )

    def _check_address(self, given: Pubkey, derived: Pubkey) -> None:
        if given != derived:
            raise UndecodableAccount(str(given), f"its contents belong to {derived}")

    def _decode(self, record: str, address: str, data: bytes) -> Any:
        coder = _accounts_coder(self.interface)
        if data[:8] != coder.acc_name_to_discriminator[record]:
            raise UndecodableAccount(address, f"discriminator {data[:8].hex()} is not that of {record}")
        try:
            return coder.decode(data)
        except ConstructError as error:
            raise UndecodableAccount(address, f"not a {record}: {type(error).__name__}") from error


def rent_exempt_lamports(size: int) -> int:
    """What an account of `size` bytes must keep: two years of 3,480 lamports a byte, 128 bytes of overhead (CI 4)."""
    return 2 * 3_480 * (128 + size)


def _market(record: Any, pda: Wallet, slot: int, pool_lamports: int | None) -> ObservedMarket:
    return ObservedMarket(
        market_id=MarketId(base58_encode(bytes(record.market_id))),
        pda=pda,
        creator=Wallet(str(record.creator)),
        state=Lifecycle[type(record.state).__name__.upper()],
        slot=slot,
        b_parameter=record.b_parameter,
        initial_liquidity=record.initial_liquidity,
        current_liquidity=record.current_liquidity,
        shares_yes=record.shares_yes,
        shares_no=record.shares_no,
        total_volume=record.total_volume,
        created_at_s=record.created_at,
        approved_at_s=record.approved_at,
        activated_at_s=record.activated_at,
        resolution_proposed_at_s=record.resolution_proposed_at,
        resolved_at_s=record.resolved_at,
        finalized_at_s=record.finalized_at,
        dispute_initiated_at_s=record.dispute_initiated_at,
        cancelled_at_s=record.cancelled_at or 0,
        proposed_outcome=record.proposed_outcome,
        final_outcome=record.final_outcome,
        proposal_likes=record.proposal_likes,
        proposal_dislikes=record.proposal_dislikes,
        dispute_agree=record.dispute_agree,
        dispute_disagree=record.dispute_disagree,
        pool_lamports=pool_lamports,
        resolver_fees=record.accumulated_resolver_fees,
        resolver=Wallet(str(record.resolver)),
        content_hash=_hash_text(bytes(record.ipfs_evidence_hash)),
        was_disputed=record.was_disputed,
    )


def _hash_text(raw: bytes) -> str:
    """An IPFS hash is ASCII; the program does not check it, so anything else is shown in hex (CI 6.2, 4)."""
    cut = raw.rstrip(b"\0")
    text = cut.decode("ascii", errors="ignore")
    return text if len(text) == len(cut) and text.isprintable() else raw.hex()
