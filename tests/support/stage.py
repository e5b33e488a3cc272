"""A chain with one program and no network, for playing markets through: wallets, calls, refusals, events, balances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from chain.decoder import decode_event
from chain.errors import Build, error_name
from chain.events import ChainEvent
from chain.keys import ensure_local_keys
from chain.ledger.bank import Receipt
from chain.ledger.failures import TransactionFailure
from chain.ledger.node import Node, Place, open_node
from chain.ledger.transactions import read_transaction
from chain.ledger.zmart import SellMode
from chain.ledger.zmart.records import GlobalConfig, Market, Position, VoteRecord
from chain.logs import parse_log
from chain.program import NEWEST_PROGRAM_ID, ConfigChange, ZmartProgram
from domain.ids import MarketId, Wallet, base58_encode

SOL = 1_000_000_000
START_S = 1_762_510_000
DISPUTE_PERIOD_S = 259_200
MARKET = MarketId(base58_encode(bytes([1]) * 32))
HASH = b"Qm" + b"e" * 44


def wallet(pair: Keypair) -> Wallet:
    return Wallet(str(pair.pubkey()))


class Stage:
    """One new chain; `second` is its clock. Every call lands in a slot of its own."""

    def __init__(self, data_dir: Path, build: Build = "new", sell_mode: SellMode = "intended") -> None:
        place = Place(data_dir, Pubkey.from_string(NEWEST_PROGRAM_ID), build=build, sell_mode=sell_mode)
        self.second = START_S
        self.build: Build = build
        self.node: Node = open_node(place, self.second, bytes(range(32)))
        self.program = ZmartProgram.at(NEWEST_PROGRAM_ID)
        keys = ensure_local_keys(data_dir)
        self.admin, self.backend, self.fees = keys.admin.pair, keys.backend.pair, keys.fee_wallet.pair
        self.alice, self.bob, self.creator, self.resolver = (Keypair.from_seed(bytes([n]) * 32) for n in range(11, 15))
        for pair in (self.alice, self.bob, self.creator, self.resolver):
            assert isinstance(self.node.airdrop(bytes(pair.pubkey()), 1_000 * SOL), Receipt)

    def later(self, seconds: int) -> None:
        """Let chain time pass."""
        self.second += seconds
        self.node.tick(self.second)

    def send(self, call: Instruction, *signers: Keypair) -> Receipt | TransactionFailure:
        self.node.tick(self.second)
        blockhash = Hash.from_bytes(self.node.bank.tip.blockhash)
        message = Message.new_with_blockhash([call], signers[0].pubkey(), blockhash)
        return self.node.submit(read_transaction(bytes(VersionedTransaction(message, list(signers)))))

    def land(self, call: Instruction, *signers: Keypair) -> list[ChainEvent]:
        """The events of a call that must succeed, read from its log as a client reads them."""
        receipt = self.send(call, *signers)
        assert isinstance(receipt, Receipt)
        assert receipt.outcome.failure is None, receipt.outcome.logs
        parsed = parse_log(receipt.outcome.logs, NEWEST_PROGRAM_ID, has_failed=False)
        assert parsed.is_ok, receipt.outcome.logs
        events = [decode_event(line.raw) for line in parsed.lines]
        assert all(isinstance(event, ChainEvent) for event in events), events
        return [event for event in events if isinstance(event, ChainEvent)]

    def refused(self, call: Instruction, *signers: Keypair) -> str:
        """The name of a call's refusal; what it touched is as it was."""
        before = self.images()
        name, _ = self.failure(call, *signers)
        assert self.images() == before
        return name

    def failure(self, call: Instruction, *signers: Keypair) -> tuple[str, Any]:
        """A call's error name and its error as JSON."""
        receipt = self.send(call, *signers)
        assert isinstance(receipt, Receipt)
        return self.name_of(receipt), receipt.outcome.failure and receipt.outcome.failure.json

    def name_of(self, receipt: Receipt) -> str:
        """The error name of a transaction that failed."""
        assert receipt.outcome.failure is not None, receipt.outcome.logs
        word = receipt.outcome.failure.json["InstructionError"][1]
        custom, runtime = (word["Custom"], "") if isinstance(word, dict) else (None, word)
        return error_name(custom, receipt.outcome.logs, runtime, self.build)

    def logged(self, call: Instruction, *signers: Keypair) -> str:
        """The one AnchorError line of a call that is refused."""
        receipt = self.send(call, *signers)
        assert isinstance(receipt, Receipt)
        (line,) = [line for line in receipt.outcome.logs if "AnchorError" in line]
        return line

    def images(self) -> dict[bytes, tuple[int, bytes]]:
        """Every account of the program: lamports and bytes."""
        owner, slot = bytes(self.program.program_id), self.node.bank.tip.slot
        return {key: (account.lamports, account.data) for key, account in self.node.bank.owned_by(owner, slot)}

    def lamports(self, key: Pubkey) -> int:
        account = self.node.bank.account(bytes(key), self.node.bank.tip.slot)
        return account.lamports if account else 0

    def data(self, key: Pubkey) -> bytes:
        account = self.node.bank.account(bytes(key), self.node.bank.tip.slot)
        assert account is not None
        return account.data

    @property
    def pda(self) -> Pubkey:
        return self.program.market_address(MARKET)[0]

    @property
    def market(self) -> Market:
        return Market.read(self.data(self.pda))

    @property
    def config(self) -> GlobalConfig:
        return GlobalConfig.read(self.data(self.program.config_address()[0]))

    def position(self, user: Keypair) -> Position:
        return Position.read(self.data(self.program.position_address(self.pda, wallet(user))[0]))

    def vote_record(self, voter: Keypair, vote_type: int) -> VoteRecord:
        return VoteRecord.read(self.data(self.program.vote_address(self.pda, wallet(voter), vote_type)[0]))

    def configure(self, **changes: Any) -> list[ChainEvent]:
        """Update the config: its defaults, but for `changes`."""
        given = ConfigChange(**{**_DEFAULTS, **changes})
        return self.land(self.program.update_global_config(wallet(self.admin), given), self.admin)

    def create(self, b: int = 100 * SOL, liquidity: int = SOL // 10) -> None:
        self.land(self.program.create_market(wallet(self.creator), MARKET, b, liquidity, HASH), self.creator)

    def approve(self) -> None:
        self.land(self.program.aggregate_proposal_votes(wallet(self.backend), MARKET, 7, 3), self.backend)
        self.land(self.program.approve_proposal(wallet(self.admin), MARKET), self.admin)

    def activate(self, b: int = 100 * SOL, liquidity: int = SOL // 10) -> None:
        """A market that trades, created a second ago."""
        self.create(b, liquidity)
        self.approve()
        self.land(self.program.activate_market(wallet(self.creator), MARKET), self.creator)
        self.later(1)

    def buying(self, user: Keypair, outcome: bool, cap: int) -> Instruction:
        return self.program.buy_shares(wallet(user), MARKET, outcome, cap, wallet(self.fees))

    def buy(self, user: Keypair, outcome: bool, cap: int) -> ChainEvent:
        (event,) = self.land(self.buying(user, outcome, cap), user)
        return event

    def selling(self, user: Keypair, outcome: bool, shares: int, least: int = 0) -> Instruction:
        return self.program.sell_shares(wallet(user), MARKET, outcome, shares, least, wallet(self.fees))

    def resolving(self, outcome: bool = True) -> Instruction:
        return self.program.resolve_market(wallet(self.resolver), MARKET, outcome, HASH)

    def resolve(self, outcome: bool = True) -> None:
        self.land(self.resolving(outcome), self.resolver)

    def disputing(self) -> Instruction:
        return self.program.initiate_dispute(wallet(self.bob), MARKET)

    def dispute(self) -> None:
        """Dispute, a second after the resolution."""
        self.later(1)
        self.land(self.disputing(), self.bob)

    def finalizing(self, agree: int | None = None, disagree: int | None = None) -> Instruction:
        return self.program.finalize_market(wallet(self.backend), MARKET, agree, disagree)

    def finalize(self, outcome: bool | None) -> None:
        """Bring a trading market to an outcome, None by a dispute that failed through aggregation."""
        self.resolve(outcome is not False)
        if outcome is None:
            self.dispute()
            self.land(self.program.aggregate_dispute_votes(wallet(self.backend), MARKET, 0, 1), self.backend)
        else:
            self.later(DISPUTE_PERIOD_S)
            self.land(self.finalizing(), self.backend)

    def claiming(self, user: Keypair) -> Instruction:
        return self.program.claim_winnings(wallet(user), MARKET, wallet(self.resolver))

    def withdrawing(self) -> Instruction:
        return self.program.withdraw_liquidity(wallet(self.creator), MARKET)


MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[MakeStage]:
    """Stages of this test: `make_stage(build=..., sell_mode=...)`."""
    opened: list[Stage] = []

    def stage(build: Build = "new", sell_mode: SellMode = "intended") -> Stage:
        opened.append(Stage(tmp_path / str(len(opened)), build, sell_mode))
        return opened[-1]

    yield stage
    for one in opened:
        one.node.close()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """A new chain with the newer build."""
    return make_stage()


_DEFAULTS = {
    "protocol_fee_bps": 300,
    "resolver_reward_bps": 200,
    "liquidity_provider_fee_bps": 500,
    "proposal_approval_threshold": 7_000,
    "dispute_success_threshold": 6_000,
}
