"""Random calls by random wallets on one chain, most of them fitting; what the ledger, and who reads it, must bear."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from solders.instruction import Instruction
from solders.keypair import Keypair

from chain.decoder import decode_event
from chain.events import ChainEvent
from chain.ledger.bank import Receipt
from chain.ledger.zmart.records import (
    ACTIVE,
    APPROVED,
    CANCELLED,
    DISPUTED,
    FINALIZED,
    PROPOSED,
    RESOLVING,
    Market,
)
from chain.logs import parse_log
from chain.program import NEWEST_PROGRAM_ID, ConfigChange
from domain.ids import MarketId, base58_encode
from tests.support.stage import HASH, SOL, Stage, wallet

MARKETS = [MarketId(base58_encode(bytes([number]) * 32)) for number in range(1, 7)]

FITTING: dict[int | None, list[str]] = {
    None: ["create", "create", "pause"],
    PROPOSED: ["vote", "tally", "approve", "approve"],
    APPROVED: ["activate"],
    ACTIVE: ["buy", "buy", "buy", "sell", "sell", "resolve"],
    RESOLVING: ["dispute", "finalize", "configure"],
    DISPUTED: ["dispute vote", "dispute vote", "dispute tally", "finalize"],
    FINALIZED: ["claim", "claim", "withdraw"],
    CANCELLED: ["cancel"],
}
ALL = [*sorted({name for names in FITTING.values() for name in names}), "buy", "vote"]


class Walk:
    """One seeded walk."""

    def __init__(self, stage: Stage, seed: int, markets: Sequence[MarketId] = MARKETS) -> None:
        self.markets = markets
        self.stage, self.program, self.rng = stage, stage.program, random.Random(seed)
        self.wallets = [stage.admin, stage.backend, stage.creator, stage.alice, stage.bob, stage.resolver]
        self.landed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def step(self) -> None:
        if self.rng.random() < 0.25:
            self.stage.later(self.rng.choice((1, 60, 119, 120)))
        call, signer = self.call()
        receipt = self.stage.send(call, signer)
        assert isinstance(receipt, Receipt)
        parsed = parse_log(receipt.outcome.logs, NEWEST_PROGRAM_ID, has_failed=receipt.outcome.failure is not None)
        if receipt.outcome.failure is None:
            (event,) = [decode_event(line.raw) for line in parsed.lines]
            assert isinstance(event, ChainEvent), event
            self.landed[event.NAME] += 1
        else:
            assert parsed.lines == ()
            self.refused[self.stage.name_of(receipt)] += 1

    def call(self) -> tuple[Instruction, Keypair]:
        """Two times in three a call that fits the market's state, else any; four times in five by the right wallet."""
        rng, stage = self.rng, self.stage
        market = rng.choice(self.markets)
        image = stage.images().get(bytes(self.program.market_address(market)[0]))
        fitting = FITTING[Market.read(image[1]).state if image else None]
        name = rng.choice(fitting if rng.random() < 0.66 else ALL)
        return self._made(name, market, rng.choice((stage.alice, stage.bob, stage.resolver)))

    def _made(self, name: str, market: MarketId, user: Keypair) -> tuple[Instruction, Keypair]:
        rng, program, stage, yes = self.rng, self.program, self.stage, self.rng.random() < 0.5
        is_right = rng.random() < 0.8
        admin, backend, creator = (pair if is_right else user for pair in (stage.admin, stage.backend, stage.creator))
        fees, few = wallet(stage.fees), rng.randint(0, 3)
        some = rng.choice((0, 9_999, 10_000, 5_000_000, 50_000_000, SOL, 30 * SOL))
        depth = rng.choice((0, 100 * SOL, 100 * SOL, 100 * SOL, SOL))
        change = ConfigChange(300, 200, 500, 7_000, 6_000, None, 120)
        made: dict[str, tuple[Instruction, Keypair]] = {
            "create": (program.create_market(wallet(creator), market, depth, SOL // 10, HASH), creator),
            "vote": (program.submit_proposal_vote(wallet(user), market, yes), user),
            "tally": (program.aggregate_proposal_votes(wallet(backend), market, 3, few), backend),
            "approve": (program.approve_proposal(wallet(admin), market), admin),
            "cancel": (program.cancel_market(wallet(admin), market), admin),
            "activate": (program.activate_market(wallet(creator), market), creator),
            "buy": (program.buy_shares(wallet(user), market, yes, some, fees), user),
            "sell": (program.sell_shares(wallet(user), market, yes, some, few, fees), user),
            "resolve": (program.resolve_market(wallet(stage.resolver), market, yes, HASH), stage.resolver),
            "dispute": (program.initiate_dispute(wallet(user), market), user),
            "dispute vote": (program.submit_dispute_vote(wallet(user), market, yes), user),
            "dispute tally": (program.aggregate_dispute_votes(wallet(backend), market, few, 1), backend),
            "finalize": (program.finalize_market(wallet(backend), market, few, 1), backend),
            "claim": (program.claim_winnings(wallet(user), market, wallet(stage.resolver)), user),
            "withdraw": (program.withdraw_liquidity(wallet(creator), market), creator),
            "pause": (program.emergency_pause(wallet(admin)), admin),
            "configure": (program.update_global_config(wallet(admin), change), admin),
        }
        return made[name]

    def lamports(self) -> int:
        pairs = [*self.wallets, self.stage.fees]
        held = sum(self.stage.lamports(pair.pubkey()) for pair in pairs)
        return held + sum(lamports for lamports, _ in self.stage.images().values())
