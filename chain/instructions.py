"""Addresses and calls of zmart_core; no network.

Accounts are passed explicitly and in the program's order (CI 6.1, H20): nothing is filled in by a client library, so a
wrong address fails here or on chain, never silently.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from anchorpy.coder.instruction import InstructionCoder
from anchorpy.program.common import NamedInstruction
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM

from chain.idl import Interface, shipped_interface
from domain.ids import MarketId, Wallet, key_bytes

IPFS_HASH_BYTES = 46
PROPOSAL_VOTE, DISPUTE_VOTE = 0, 1
INTERFACES_KEPT = 8
"""Compiled coders; a process speaks to one program, tests to a few."""

_RIGHTS: dict[str, tuple[str, ...]] = {
    "initialize_global_config": ("ws", "w", "", ""),
    "update_global_config": ("s", "w"),
    "emergency_pause": ("s", "w"),
    "create_market": ("ws", "w", "", ""),
    "submit_proposal_vote": ("", "w", "ws", ""),
    "aggregate_proposal_votes": ("w", "", "s"),
    "approve_proposal": ("ws", "w", ""),
    "cancel_market": ("s", "w", ""),
    "activate_market": ("ws", "w", ""),
    "buy_shares": ("", "w", "w", "ws", "w", ""),
    "sell_shares": ("", "w", "w", "ws", "w", ""),
    "resolve_market": ("", "w", "ws"),
    "initiate_dispute": ("", "w", "s"),
    "submit_dispute_vote": ("", "w", "ws", ""),
    "aggregate_dispute_votes": ("w", "", "s"),
    "finalize_market": ("", "w", "s"),
    "claim_winnings": ("", "w", "w", "ws", "w", ""),
    "withdraw_liquidity": ("w", "ws"),
}
"""Each account's rights, in the order of CI 6.1: w writable, s signer."""


@lru_cache(maxsize=INTERFACES_KEPT)
def _instruction_coder(interface: Interface) -> InstructionCoder:
    return InstructionCoder(interface.idl)


def instruction_data(name: str, args: dict[str, Any], interface: Interface | None = None) -> bytes:
    """Discriminator and Borsh arguments of one call, for all 18 instructions (CI 6.3)."""
    coder = _instruction_coder(interface or shipped_interface())
    return bytes(coder.build(NamedInstruction(name=name, data=args)))


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """The arguments of `update_global_config`: all seven are written, except periods that are None."""

    protocol_fee_bps: int
    resolver_reward_bps: int
    liquidity_provider_fee_bps: int
    proposal_approval_threshold: int
    dispute_success_threshold: int
    min_resolution_delay_s: int | None = None
    dispute_period_s: int | None = None


@dataclass(frozen=True, slots=True)
class ZmartInstructions:
    """zmart_core's addresses and its 18 calls at one program id."""

    program_id: Pubkey
    interface: Interface = field(default_factory=shipped_interface, compare=False, repr=False)

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
        args = {"backend_authority": _key(backend_authority)}
        keys = [_key(admin), self._config(), _key(protocol_fee_wallet), SYSTEM_PROGRAM]
        return self._call("initialize_global_config", args, keys)

    def update_global_config(self, admin: Wallet, change: ConfigChange) -> Instruction:
        """Write fees, thresholds and periods; they hold at once, for open markets too (Q8)."""
        args = {
            "protocol_fee_bps": change.protocol_fee_bps,
            "resolver_reward_bps": change.resolver_reward_bps,
            "liquidity_provider_fee_bps": change.liquidity_provider_fee_bps,
            "proposal_approval_threshold": change.proposal_approval_threshold,
            "dispute_success_threshold": change.dispute_success_threshold,
            "min_resolution_delay": change.min_resolution_delay_s,
            "dispute_period": change.dispute_period_s,
        }
        return self._call("update_global_config", args, [_key(admin), self._config()])

    def emergency_pause(self, admin: Wallet) -> Instruction:
        """Toggle the pause; sending it twice undoes it, so read the state before (CI 6.4)."""
        return self._call("emergency_pause", {}, [_key(admin), self._config()])

    def create_market(
        self, creator: Wallet, market_id: MarketId, b_parameter: int, initial_liquidity: int, question_hash: bytes
    ) -> Instruction:
        """`b_parameter` in 9-decimal shares, `initial_liquidity` in lamports, `question_hash` at most 46 bytes."""
        args = {
            "market_id": list(key_bytes(market_id)),
            "b_parameter": b_parameter,
            "initial_liquidity": initial_liquidity,
            "ipfs_question_hash": _hash(question_hash, "question"),
        }
        keys = [_key(creator), self._market(market_id), self._config(), SYSTEM_PROGRAM]
        return self._call("create_market", args, keys)

    def submit_proposal_vote(self, voter: Wallet, market_id: MarketId, vote: bool) -> Instruction:
        """Vote on a proposal; True is a like. One wallet, one vote."""
        return self._vote("submit_proposal_vote", voter, market_id, vote, PROPOSAL_VOTE)

    def aggregate_proposal_votes(
        self, backend_authority: Wallet, market_id: MarketId, likes: int, dislikes: int
    ) -> Instruction:
        """Write the tallies, absolutely: sending it twice is harmless (CI 6.4). u32 each, and their sum."""
        args = {"final_likes": likes, "final_dislikes": dislikes}
        keys = [self._market(market_id), self._config(), _key(backend_authority)]
        return self._call("aggregate_proposal_votes", args, keys)

    def approve_proposal(self, admin: Wallet, market_id: MarketId) -> Instruction:
        """Move a Proposed market with enough stored likes to Approved."""
        return self._call("approve_proposal", {}, [_key(admin), self._market(market_id), self._config()])

    def cancel_market(self, admin: Wallet, market_id: MarketId) -> Instruction:
        """Cancel a Proposed or Approved market."""
        return self._call("cancel_market", {}, [_key(admin), self._market(market_id), self._config()])

    def activate_market(self, authority: Wallet, market_id: MarketId) -> Instruction:
        """`authority` is the admin or the market's creator."""
        return self._call("activate_market", {}, [_key(authority), self._market(market_id), self._config()])

    def buy_shares(
        self, user: Wallet, market_id: MarketId, outcome: bool, target_cost: int, protocol_fee_wallet: Wallet
    ) -> Instruction:
        """Spend at most `target_cost` lamports, fees included; sending it twice buys twice (CI 6.4)."""
        keys = self._trade(user, market_id, protocol_fee_wallet)
        return self._call("buy_shares", {"outcome": outcome, "target_cost": target_cost}, keys)

    def sell_shares(
        self,
        user: Wallet,
        market_id: MarketId,
        outcome: bool,
        shares: int,
        min_proceeds: int,
        protocol_fee_wallet: Wallet,
    ) -> Instruction:
        """Sell 9-decimal shares for at least `min_proceeds` lamports; today's build refuses it in the end (CI 6.2)."""
        args = {"outcome": outcome, "shares_to_sell": shares, "min_proceeds": min_proceeds}
        return self._call("sell_shares", args, self._trade(user, market_id, protocol_fee_wallet))

    def resolve_market(self, resolver: Wallet, market_id: MarketId, outcome: bool, evidence_hash: bytes) -> Instruction:
        """Propose an outcome of an Active market; anybody may, and trading ends (Q10)."""
        args = {"proposed_outcome": outcome, "ipfs_evidence_hash": _hash(evidence_hash, "evidence")}
        return self._call("resolve_market", args, [self._config(), self._market(market_id), _key(resolver)])

    def initiate_dispute(self, initiator: Wallet, market_id: MarketId) -> Instruction:
        """Dispute a proposed outcome within the dispute window."""
        return self._call("initiate_dispute", {}, [self._config(), self._market(market_id), _key(initiator)])

    def submit_dispute_vote(self, voter: Wallet, market_id: MarketId, vote: bool) -> Instruction:
        """Vote on a dispute; True says that the proposed outcome is wrong."""
        return self._vote("submit_dispute_vote", voter, market_id, vote, DISPUTE_VOTE)

    def aggregate_dispute_votes(
        self, backend_authority: Wallet, market_id: MarketId, agrees: int, disagrees: int
    ) -> Instruction:
        """End a dispute without its outcome: a trap (Q2, Q5), only for the policy that refunds a dispute (CI D9)."""
        args = {"final_agrees": agrees, "final_disagrees": disagrees}
        keys = [self._market(market_id), self._config(), _key(backend_authority)]
        return self._call("aggregate_dispute_votes", args, keys)

    def finalize_market(
        self, backend_authority: Wallet, market_id: MarketId, agree: int | None = None, disagree: int | None = None
    ) -> Instruction:
        """Write the final outcome: without tallies from Resolving, with both of them from Disputed (CI D7)."""
        args = {"dispute_agree": agree, "dispute_disagree": disagree}
        keys = [self._config(), self._market(market_id), _key(backend_authority)]
        return self._call("finalize_market", args, keys)

    def claim_winnings(self, user: Wallet, market_id: MarketId, resolver: Wallet) -> Instruction:
        """Pay a position out; `resolver` is the market's."""
        market = self._market(market_id)
        position = self.position_address(market, user)[0]
        keys = [self._config(), market, position, _key(user), _key(resolver), SYSTEM_PROGRAM]
        return self._call("claim_winnings", {}, keys)

    def withdraw_liquidity(self, creator: Wallet, market_id: MarketId) -> Instruction:
        """Take everything above rent out of a Finalized market, unclaimed winnings included (Q13)."""
        return self._call("withdraw_liquidity", {}, [self._market(market_id), _key(creator)])

    def _vote(self, name: str, voter: Wallet, market_id: MarketId, vote: bool, vote_type: int) -> Instruction:
        market = self._market(market_id)
        record = self.vote_address(market, voter, vote_type)[0]
        return self._call(name, {"vote": vote}, [market, record, _key(voter), SYSTEM_PROGRAM])

    def _trade(self, user: Wallet, market_id: MarketId, protocol_fee_wallet: Wallet) -> list[Pubkey]:
        market = self._market(market_id)
        position = self.position_address(market, user)[0]
        return [self._config(), market, position, _key(user), _key(protocol_fee_wallet), SYSTEM_PROGRAM]

    def _config(self) -> Pubkey:
        return self.config_address()[0]

    def _market(self, market_id: MarketId) -> Pubkey:
        return self.market_address(market_id)[0]

    def _find(self, *seeds: bytes) -> tuple[Pubkey, int]:
        return Pubkey.find_program_address(list(seeds), self.program_id)

    def _call(self, name: str, args: dict[str, Any], keys: list[Pubkey]) -> Instruction:
        metas = [
            AccountMeta(key, "s" in rights, "w" in rights) for key, rights in zip(keys, _RIGHTS[name], strict=True)
        ]
        return Instruction(self.program_id, instruction_data(name, args, self.interface), metas)


def _key(wallet: Wallet) -> Pubkey:
    return Pubkey.from_string(wallet)


def _hash(given: bytes, what: str) -> list[int]:
    if len(given) > IPFS_HASH_BYTES:
        raise ValueError(f"{what} hash of {len(given)} bytes, at most {IPFS_HASH_BYTES} fit")
    return list(given.ljust(IPFS_HASH_BYTES, b"\0"))
