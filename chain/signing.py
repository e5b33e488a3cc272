"""From an intent to signed bytes: the one place where a key signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from chain.fees import Fee
from chain.keys import SigningKey, SigningKeys
from chain.program import ZmartProgram
from domain.intents import Action, Intent


@dataclass(frozen=True, slots=True)
class FreshBlockhash:
    """A block hash to sign with, good up to `last_valid_block_height`; `slot` is where it was read."""

    blockhash: Hash
    last_valid_block_height: int
    slot: int


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Signed bytes and what is stored with them."""

    raw: bytes
    signature: str
    blockhash: str
    last_valid_block_height: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A message and the key that is to sign it."""

    message: MessageV0
    key: SigningKey


class KeyMissing(Exception):
    """The intent needs a key that this backend does not have; `role` names it."""

    def __init__(self, role: str) -> None:
        super().__init__(f"no {role} key is configured")
        self.role = role


def compose(intent: Intent, program: ZmartProgram, keys: SigningKeys, fresh: FreshBlockhash, fee: Fee) -> Draft:
    """The message of the intent, compute budget first; its signer pays the fee. Raises `KeyMissing`."""
    key, instruction = _instruction(intent, program, keys)
    budget = [set_compute_unit_limit(fee.units), set_compute_unit_price(fee.price_micro_lamports)]
    return Draft(MessageV0.try_compile(key.pair.pubkey(), [*budget, instruction], [], fresh.blockhash), key)


def unsigned(draft: Draft) -> VersionedTransaction:
    """The draft as a transaction that can be simulated and never land."""
    return VersionedTransaction.populate(draft.message, [Signature.default()])


def sign(draft: Draft, fresh: FreshBlockhash) -> SignedTransaction:
    """Sign a draft."""
    transaction = VersionedTransaction(draft.message, [draft.key.pair])
    return SignedTransaction(
        raw=bytes(transaction),
        signature=str(transaction.signatures[0]),
        blockhash=str(fresh.blockhash),
        last_valid_block_height=fresh.last_valid_block_height,
    )


def _instruction(intent: Intent, program: ZmartProgram, keys: SigningKeys) -> tuple[SigningKey, Instruction]:
    backend, market_id, pair = keys.backend, intent.market_id, intent.pair
    match intent.action:
        case Action.AGGREGATE_PROPOSAL:
            assert pair is not None
            return backend, program.aggregate_proposal_votes(backend.wallet, market_id, *pair)
        case Action.APPROVE:
            admin = _admin(keys)
            return admin, program.approve_proposal(admin.wallet, market_id)
        case Action.ACTIVATE:
            admin = _admin(keys)
            return admin, program.activate_market(admin.wallet, market_id)
        case Action.CANCEL:
            admin = _admin(keys)
            return admin, program.cancel_market(admin.wallet, market_id)
        case Action.FINALIZE:
            return backend, program.finalize_market(backend.wallet, market_id, *(pair or (None, None)))
        case Action.INVALIDATE:
            assert pair is not None
            return backend, program.aggregate_dispute_votes(backend.wallet, market_id, *pair)
        case _:
            assert_never(intent.action)


def _admin(keys: SigningKeys) -> SigningKey:
    if keys.admin is None:
        raise KeyMissing("admin")
    return keys.admin
