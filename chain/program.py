"""zmart_core from the outside: addresses, instructions, accounts; no network.

Accounts are passed explicitly and in the program's order (CI 6.1, H20): nothing is filled in by a client library, so a
wrong address fails here or on chain, never silently.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from anchorpy.coder.accounts import AccountsCoder
from anchorpy.coder.instruction import InstructionCoder
from anchorpy.program.common import NamedInstruction
from construct import ConstructError
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM

from chain.idl import zmart_idl
from domain.ids import MarketId, Wallet, base58_encode, key_bytes
from domain.lifecycle import Lifecycle
from domain.observed import ChainConfig, ObservedMarket

NEWEST_PROGRAM_ID = Wallet("6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw")
"""The newest build's address (CI 1): what the local ledger uses when nothing else is set."""

QUESTION_HASH_BYTES = 46
PROPOSAL_VOTE, DISPUTE_VOTE = 0, 1


class UndecodableAccount(Exception):
    """Account bytes that are not the expected zmart_core record; names the address and the fault."""

    def __init__(self, address: str, fault: str) -> None:
        super().__init__(f"account {address}: {fault}")
        self.address = address
        self.fault = fault


@cache
def _instruction_coder() -> InstructionCoder:
    return InstructionCoder(zmart_idl())


@cache
def _accounts_coder() -> AccountsCoder:
    with warnings.catch_warnings():
        # anchorpy builds enums with sumtypes, which still passes attrs its deprecated repr_ns; harmless here
        warnings.filterwarnings("ignore", message="The `repr_ns` argument", category=DeprecationWarning)
        return AccountsCoder(zmart_idl())


def instruction_data(name: str, args: dict[str, Any]) -> bytes:
    """Discriminator and Borsh arguments of one call, for all 18 instructions (CI 6.3)."""
    return bytes(_instruction_coder().build(NamedInstruction(name=name, data=args)))


@dataclass(frozen=True, slots=True)
class ZmartProgram:
    """zmart_core at one address."""

    program_id: Pubkey

    @classmethod
    def at(cls, program_id: str) -> ZmartProgram:
        """The program at a base58 address."""
        return cls(Pubkey.from_string(program_id))

    def config_address(self) -> tuple[Pubkey, int]:
        """GlobalConfig's address and bump; the seed has a hyphen (CI 3)."""
        return self._find(b"global-config")

    def market_address(self, market_id: MarketId) -> tuple[Pubkey, int]:
        """A market's address and bump."""
        return self._find(b"market", key_bytes(market_id))

    def position_address(self, market: Pubkey, user: Wallet) -> tuple[Pubkey, int]:
        """A user's position in a market."""
        return self._find(b"position", bytes(market), key_bytes(user))

    def vote_address(self, market: Pubkey, voter: Wallet, vote_type: int) -> tuple[Pubkey, int]:
        """A VoteRecord's address; `vote_type` is `PROPOSAL_VOTE` or `DISPUTE_VOTE`."""
        return self._find(b"vote", bytes(market), key_bytes(voter), bytes([vote_type]))

    def initialize_global_config(
        self, admin: Wallet, backend_authority: Wallet, protocol_fee_wallet: Wallet
    ) -> Instruction:
        """Create GlobalConfig; whoever signs first as `admin` owns the protocol."""
        return self._call(
            "initialize_global_config",
            {"backend_authority": _key(backend_authority)},
            [
                AccountMeta(_key(admin), is_signer=True, is_writable=True),
                AccountMeta(self.config_address()[0], is_signer=False, is_writable=True),
                AccountMeta(_key(protocol_fee_wallet), is_signer=False, is_writable=False),
                AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
            ],
        )

    def create_market(
        self, creator: Wallet, market_id: MarketId, b_parameter: int, initial_liquidity: int, question_hash: bytes
    ) -> Instruction:
        """`b_parameter` in 9-decimal shares, `initial_liquidity` in lamports, `question_hash` at most 46 bytes."""
        if len(question_hash) > QUESTION_HASH_BYTES:
            raise ValueError(f"question hash of {len(question_hash)} bytes, at most {QUESTION_HASH_BYTES} fit")
        return self._call(
            "create_market",
            {
                "market_id": list(key_bytes(market_id)),
                "b_parameter": b_parameter,
                "initial_liquidity": initial_liquidity,
                "ipfs_question_hash": list(question_hash.ljust(QUESTION_HASH_BYTES, b"\0")),
            },
            [
                AccountMeta(_key(creator), is_signer=True, is_writable=True),
                AccountMeta(self.market_address(market_id)[0], is_signer=False, is_writable=True),
                AccountMeta(self.config_address()[0], is_signer=False, is_writable=False),
                AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
            ],
        )

    def aggregate_proposal_votes(
        self, backend_authority: Wallet, market_id: MarketId, likes: int, dislikes: int
    ) -> Instruction:
        """Write the tallies, absolutely: sending it twice is harmless (CI 6.4). u32 each, and their sum."""
        return self._call(
            "aggregate_proposal_votes",
            {"final_likes": likes, "final_dislikes": dislikes},
            [
                AccountMeta(self.market_address(market_id)[0], is_signer=False, is_writable=True),
                AccountMeta(self.config_address()[0], is_signer=False, is_writable=False),
                AccountMeta(_key(backend_authority), is_signer=True, is_writable=False),
            ],
        )

    def approve_proposal(self, admin: Wallet, market_id: MarketId) -> Instruction:
        """Move a Proposed market with enough stored likes to Approved."""
        return self._call(
            "approve_proposal",
            {},
            [
                AccountMeta(_key(admin), is_signer=True, is_writable=True),
                AccountMeta(self.market_address(market_id)[0], is_signer=False, is_writable=True),
                AccountMeta(self.config_address()[0], is_signer=False, is_writable=False),
            ],
        )

    def cancel_market(self, admin: Wallet, market_id: MarketId) -> Instruction:
        """Cancel a Proposed or Approved market."""
        return self._call(
            "cancel_market",
            {},
            [
                AccountMeta(_key(admin), is_signer=True, is_writable=False),
                AccountMeta(self.market_address(market_id)[0], is_signer=False, is_writable=True),
                AccountMeta(self.config_address()[0], is_signer=False, is_writable=False),
            ],
        )

    def activate_market(self, authority: Wallet, market_id: MarketId) -> Instruction:
        """`authority` is the admin or the market's creator."""
        return self._call(
            "activate_market",
            {},
            [
                AccountMeta(_key(authority), is_signer=True, is_writable=True),
                AccountMeta(self.market_address(market_id)[0], is_signer=False, is_writable=True),
                AccountMeta(self.config_address()[0], is_signer=False, is_writable=False),
            ],
        )

    def market(self, market_id: MarketId, data: bytes, slot: int) -> ObservedMarket:
        """Decode a MarketAccount read at `slot`; raises `UndecodableAccount`, also when it is another market's."""
        address = self.market_address(market_id)[0]
        record = _decode("MarketAccount", str(address), data)
        found = base58_encode(bytes(record.market_id))
        if found != market_id:
            raise UndecodableAccount(str(address), f"holds market {found}, not {market_id}")
        return _observed(record, Wallet(str(address)), slot)

    def config(self, data: bytes, slot: int, backend: Wallet, admin: Wallet | None) -> ChainConfig:
        """Decode GlobalConfig read at `slot`, and say which of our keys it names; raises `UndecodableAccount`."""
        record = _decode("GlobalConfig", str(self.config_address()[0]), data)
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

    def _find(self, *seeds: bytes) -> tuple[Pubkey, int]:
        return Pubkey.find_program_address(list(seeds), self.program_id)

    def _call(self, name: str, args: dict[str, Any], accounts: Sequence[AccountMeta]) -> Instruction:
        return Instruction(self.program_id, instruction_data(name, args), list(accounts))


def _key(wallet: Wallet) -> Pubkey:
    return Pubkey.from_string(wallet)


def _decode(record: str, address: str, data: bytes) -> Any:
    coder = _accounts_coder()
    if data[:8] != coder.acc_name_to_discriminator[record]:
        raise UndecodableAccount(address, f"discriminator {data[:8].hex()} is not that of {record}")
    try:
        return coder.decode(data)
    except ConstructError as error:
        raise UndecodableAccount(address, f"not a {record}: {type(error).__name__}") from error


def _observed(record: Any, pda: Wallet, slot: int) -> ObservedMarket:
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
    )
