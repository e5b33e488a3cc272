"""Markets that a chain begins with, without the five transactions that each would take: for load and for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solders.pubkey import Pubkey

from chain.ledger.accounts import Account, rent_exempt_lamports
from chain.ledger.node import Node, Place, open_node
from chain.ledger.zmart.records import RESOLVING, Market
from chain.program import ZmartProgram
from domain.ids import MarketId, base58_decode

B_PARAMETER = 100_000_000_000
LIQUIDITY = 100_000_000
AGE_S = 3_600
"""How long before its resolution a seeded market was created, approved and activated."""


@dataclass(frozen=True, slots=True)
class ResolvingMarket:
    """A market whose resolution was proposed at that second of chain time."""

    market_id: MarketId
    proposed_at_s: int


def seed_resolving(
    data_dir: Path, program_id: str, markets: Sequence[ResolvingMarket], wall_unix_s: int, entropy: bytes
) -> None:
    """Begin a chain in `data_dir` that holds these markets, and close it; nothing else may have it open."""
    place = Place(data_dir, Pubkey.from_string(program_id))
    node = open_node(place, wall_unix_s, entropy)
    try:
        put_resolving(node, markets)
        node.tick(wall_unix_s)
    finally:
        node.close()


def put_resolving(node: Node, markets: Sequence[ResolvingMarket]) -> None:
    """Write the markets' accounts into the slot that is being filled."""
    program = ZmartProgram(Pubkey(node.program_id))
    accounts = {bytes(program.market_address(each.market_id)[0]): _account(program, each) for each in markets}
    node.bank.seed(accounts)
    node.archive.seed(accounts)


def _account(program: ZmartProgram, seeded: ResolvingMarket) -> Account:
    began_s, creator = seeded.proposed_at_s - AGE_S, bytes(program.program_id)
    market = Market(
        market_id=base58_decode(seeded.market_id),
        creator=creator,
        state=RESOLVING,
        b_parameter=B_PARAMETER,
        initial_liquidity=LIQUIDITY,
        current_liquidity=LIQUIDITY,
        created_at=began_s,
        approved_at=began_s,
        activated_at=began_s,
        resolution_proposed_at=seeded.proposed_at_s,
        resolver=creator,
        proposed_outcome=True,
        proposal_likes=7,
        proposal_dislikes=3,
        proposal_total_votes=10,
        bump=program.market_address(seeded.market_id)[1],
    )
    size = Market.ALLOCATED_BYTES
    lamports = rent_exempt_lamports(size) + LIQUIDITY
    return Account(lamports, bytes(program.program_id), market.write_over(bytes(size)))
