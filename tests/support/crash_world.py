"""A world in which the sender dies at any await: a real ledger node, in-memory rows, virtual time, one seed."""

import asyncio
import dataclasses
import random
import uuid
from collections import Counter
from pathlib import Path

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from chain.client import ChainReader
from chain.endpoints import PoolSettings, RpcPool
from chain.keys import SigningKeys, ensure_local_keys
from chain.ledger import faults
from chain.ledger.bank import FINALIZED_SLOTS, Receipt
from chain.ledger.faults import Fault
from chain.ledger.node import Place, open_node
from chain.ledger.zmart.records import FINALIZED, Market
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram
from chain.rpc import Rpc, RpcSettings
from chain.sender import Sender
from domain.ids import MarketId
from domain.intents import Action, Intent, IntentStatus
from storage.memory_tables import Attempt, MemoryDatabase
from tests.support.ledger import B_PARAMETER, LIQUIDITY, QUESTION, START_UNIX_S, market_id
from tests.support.mortal import Life, MortalProvider, MortalStore

SENDING_FAULTS = (
    None,
    faults.DROP_SEND,
    faults.DELAY_SEND,
    faults.LOSE_ANSWER,
    faults.RATE_LIMIT,
    faults.LAG,
    faults.NULL_TRANSACTION,
    faults.DROP_SLOT,
)
ENDED = frozenset({IntentStatus.FINALIZED, IntentStatus.FAILED, IntentStatus.EXPIRED})
SLOT_S = 0.4
HEALED_S = 150.0
"""By then every fault is off."""
OVER_S = 1_500.0
"""By then everything must have ended."""
ATTEMPTS_MAX = 3
EARLY_UNIX_S = START_UNIX_S - 300_000
"""When the markets that end were resolved: a dispute period of three days before anything dies (CI 5)."""
LIVES_MAX = 10
"""Lives that end by a crash; the one after them lasts."""
STEPS_OF_A_LIFE = 60


class World:
    """One seed's run, from planned intents to their ends."""

    def __init__(self, seed: int, data_dir: Path) -> None:
        self.seed = seed
        self.fault = SENDING_FAULTS[seed % len(SENDING_FAULTS)]
        self._dice = random.Random(seed)
        self._keys = ensure_local_keys(data_dir)
        self.program = ZmartProgram.at(NEWEST_PROGRAM_ID)
        place = Place(data_dir, Pubkey.from_string(NEWEST_PROGRAM_ID))
        self.node = open_node(place, EARLY_UNIX_S, self._dice.randbytes(32))
        self.database = MemoryDatabase(self._now_s)
        self.signed: dict[str, set[str]] = {}
        self.deaths: Counter[tuple[str, str]] = Counter()
        """How often a life ended where, by the state of the rows then."""
        self.proposals = [market_id(1), market_id(2)]
        self.endings = {market_id(3): (None, None), market_id(4): (9, 2)}
        """Markets to finalize, the second one out of its dispute, with the pair to send."""
        self.markets = [*self.proposals, *self.endings]
        self._foreign: set[bytes] = set()
        """Signatures of what others sent."""
        self._wake = asyncio.Event()

    @property
    def attempts(self) -> list[Attempt]:
        return list(self.database.tables.attempts.values())

    @property
    def finalized(self) -> int:
        """How many markets our own transactions have ended for good."""
        ends = [one for one in self.attempts if one.intent.action is Action.FINALIZE]
        return sum(one.status is IntentStatus.FINALIZED for one in ends)

    async def run(self) -> None:
        """Live through it; raises AssertionError when something never ends."""
        self._furnish()
        around = [
            asyncio.ensure_future(task) for task in (self._slots(), self._shard(), self._weather(), self._others())
        ]
        try:
            async with asyncio.timeout(OVER_S):
                await self._lives()
        except TimeoutError:
            raise AssertionError(f"seed {self.seed}: not ended: {[a.status for a in self.attempts]}") from None
        finally:
            for task in around:
                task.cancel()
            await asyncio.gather(*around, return_exceptions=True)
        for _ in range(200):
            self._tick()

    def close(self) -> None:
        self.node.close()

    # --- the chain ------------------------------------------------------------------------------------------------

    def _furnish(self) -> None:
        for number, (market, (agree, disagree)) in enumerate(self.endings.items()):
            self._resolve(market, EARLY_UNIX_S + 10 * number, is_disputed=agree is not None)
            self._plan(Intent(self._new_id(), market, Action.FINALIZE, 1, agree, disagree))
        self._tick()  # the dispute period is over
        for number, market in enumerate(self.proposals):
            self._create(market)
            self._plan(Intent(self._new_id(), market, Action.AGGREGATE_PROPOSAL, 1, 7 + number, 3))
        if self._dice.random() < 0.3:  # too early: the program refuses it
            self._plan(Intent(self._new_id(), self.proposals[0], Action.APPROVE, 1))
        for _ in range(FINALIZED_SLOTS + 1):
            self._tick()  # no dropped slot shall take the markets with it

    def _create(self, market: MarketId) -> None:
        admin = self._keys.admin
        self._land(self.program.create_market(admin.wallet, market, B_PARAMETER, LIQUIDITY, QUESTION), admin.pair)

    def _resolve(self, market: MarketId, at_unix_s: int, is_disputed: bool) -> None:
        """Bring a market to its resolution, or to its dispute, long before anything dies."""
        backend, admin, program = self._keys.backend, self._keys.admin, self.program
        self._create(market)
        self._land(program.aggregate_proposal_votes(backend.wallet, market, 9, 1), backend.pair)
        self._land(program.approve_proposal(admin.wallet, market), admin.pair)
        self._land(program.activate_market(admin.wallet, market), admin.pair)
        self.node.tick(at_unix_s + 1)
        self._land(program.resolve_market(admin.wallet, market, True, QUESTION), admin.pair)
        if is_disputed:
            self.node.tick(at_unix_s + 2)
            self._land(program.initiate_dispute(admin.wallet, market), admin.pair)

    def _land(self, instruction: Instruction, pair: Keypair) -> None:
        receipt = self.node.sign_and_submit(instruction, pair)
        if isinstance(receipt, Receipt):
            self._foreign.add(receipt.transaction.signature)

    def _tick(self) -> None:
        self.node.tick(START_UNIX_S + int(asyncio.get_running_loop().time()))

    async def _slots(self) -> None:
        while True:
            await asyncio.sleep(SLOT_S)
            self._tick()

    async def _weather(self) -> None:
        """The seed's fault comes and goes, often with a second one, until all is well."""
        while asyncio.get_running_loop().time() < HEALED_S:
            second = self._dice.choice(SENDING_FAULTS) if self._dice.random() < 0.5 else None
            for name in {self.fault, second} - {None}:
                self.node.set_fault(self._fault_now(str(name)))
            await asyncio.sleep(self._dice.uniform(10, 90))
            self.node.clear_faults()
            await asyncio.sleep(self._dice.uniform(1, 20))

    def _fault_now(self, name: str) -> Fault:
        rare = {faults.DROP_SLOT: 0.15, faults.RATE_LIMIT: 0.5}
        likely = rare.get(name, self._dice.choice([0.7, 1.0]))
        slots = self._dice.randrange(30, 149) if name == faults.DELAY_SEND else self._dice.randrange(1, 60)
        return Fault(name, probability=likely, slots=None if name == faults.DROP_SLOT else slots, seed=self.seed)

    async def _others(self) -> None:
        """Others act on the same markets: failing tallies come and go, one is cancelled, one is ended before us."""
        if self._dice.random() < 0.2:
            asyncio.get_running_loop().call_later(self._dice.uniform(1, 60), self._cancel_a_market)
        if self._dice.random() < 0.1:
            asyncio.get_running_loop().call_later(self._dice.uniform(1, 60), self._end_a_market)
        while True:
            await asyncio.sleep(self._dice.uniform(4, 15))
            self._write_tallies(0, 9)
            await asyncio.sleep(self._dice.uniform(4, 15))
            self._write_tallies(9, 1)

    def _write_tallies(self, likes: int, dislikes: int) -> None:
        backend = self._keys.backend
        for market in self.proposals:
            self._land(self.program.aggregate_proposal_votes(backend.wallet, market, likes, dislikes), backend.pair)

    def _cancel_a_market(self) -> None:
        admin = self._keys.admin
        self._land(self.program.cancel_market(admin.wallet, self.proposals[1]), admin.pair)

    def _end_a_market(self) -> None:
        backend, market = self._keys.backend, next(iter(self.endings))
        self._land(self.program.finalize_market(backend.wallet, market), backend.pair)

    # --- the shard ------------------------------------------------------------------------------------------------

    async def _shard(self) -> None:
        """Take ends in, repeat what had no effect, approve what was confirmed."""
        while True:
            await asyncio.sleep(self._dice.uniform(0.1, 3.0))
            for attempt in self.attempts:
                if attempt.settled and not attempt.applied:
                    self._take_in(attempt)

    def _take_in(self, attempt: Attempt) -> None:
        intent = attempt.intent
        self.database.tables.attempts[intent.intent_id] = dataclasses.replace(attempt, applied=True)
        if attempt.status in (IntentStatus.CONFIRMED, IntentStatus.FINALIZED):
            if intent.action is Action.AGGREGATE_PROPOSAL and not self._has_open(intent.market_id, Action.APPROVE):
                self._plan(Intent(self._new_id(), intent.market_id, Action.APPROVE, 1))
        elif intent.attempt < ATTEMPTS_MAX and not self._has_open(intent.market_id, intent.action):
            again = dataclasses.replace(intent, intent_id=self._new_id(), attempt=intent.attempt + 1)
            self._plan(again)

    def _has_open(self, market: MarketId, action: Action) -> bool:
        same = [a for a in self.attempts if (a.intent.market_id, a.intent.action) == (market, action)]
        return any(attempt.status not in ENDED for attempt in same)

    def _plan(self, intent: Intent) -> None:
        self.database.tables.attempts[intent.intent_id] = Attempt(intent, planned_at_s=self._now_s())
        self._wake.set()

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._dice.getrandbits(128), version=4))

    # --- the agent ------------------------------------------------------------------------------------------------

    async def _lives(self) -> None:
        for number in range(LIVES_MAX + 1):
            life = self._life(is_last=number == LIVES_MAX)
            if await self._live(life):
                return
            states = {attempt.status.value for attempt in self.attempts}
            self.deaths.update((state, life.died_at) for state in states)
            await asyncio.sleep(self._dice.choice([0.0, 0.5, 3.0, 100.0]))

    def _life(self, is_last: bool) -> Life:
        """Half of them die around a send or the write after it, where the most is at stake."""
        if is_last:
            return Life(self._dice, None)
        if self._dice.random() < 0.5:
            return Life(self._dice, self._dice.randrange(1, STEPS_OF_A_LIFE))
        deadly = self._dice.choice(["SendRawTransaction", "mark_s"])
        return Life(self._dice, self._dice.randrange(1, 7), deadly)

    async def _live(self, life: Life) -> bool:
        """Whether everything has ended before this life did."""
        sender = self._sender(life)
        working = asyncio.ensure_future(sender.run(self._wake, lambda _: None))
        waiting = [asyncio.ensure_future(life.over.wait()), asyncio.ensure_future(self._all_ended())]
        try:
            await asyncio.wait([working, *waiting], return_when=asyncio.FIRST_COMPLETED)
            has_ended = waiting[1].done()
        finally:
            life.over.set()
            for task in (working, *waiting):
                task.cancel()
            ends = await asyncio.gather(working, *waiting, return_exceptions=True)
        if isinstance(ends[0], Exception):
            raise ends[0]
        return has_ended

    def _sender(self, life: Life) -> Sender:
        clock = asyncio.get_running_loop().time
        provider = MortalProvider(life, self.node, self._dice)
        rpc = Rpc(RpcSettings("http://ledger"), life.sleep, provider)
        pool = RpcPool([rpc], PoolSettings(breaker_open_s=5.0), clock=clock, sleep=life.sleep)
        keys = SigningKeys(self._keys.backend, self._keys.admin)
        store = MortalStore(life, self.database, self.signed)
        return Sender(ChainReader(pool, self.program), keys, store, clock=clock, sleep=life.sleep)

    async def _all_ended(self) -> None:
        def is_over(attempt: Attempt) -> bool:
            return attempt.status in ENDED and attempt.applied

        while not all(map(is_over, self.attempts)):  # noqa: ASYNC110 - the rows are plain values and tell nobody
            await asyncio.sleep(SLOT_S)

    # --- what came of it ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every intent has ended, and what its row says is what the final chain holds, once."""
        executed = Counter[MarketId]()
        for attempt in self.attempts:
            intent = attempt.intent
            assert attempt.status in ENDED, (self.seed, attempt)
            assert len(self.signed.get(intent.intent_id, ())) <= 1, (self.seed, "signed twice", attempt)
            landed = self._landed(attempt.signature)
            if attempt.status is IntentStatus.FINALIZED:
                assert landed == "executed", (self.seed, landed, attempt)
                executed[intent.market_id] += 1
            elif attempt.status is IntentStatus.EXPIRED:
                assert landed == "absent", (self.seed, landed, attempt)
            else:
                assert landed != "executed", (self.seed, landed, attempt)
        for market in self.markets:
            assert self._executions(market) == executed[market], (self.seed, market)
        for market in self.endings:
            assert executed[market] <= 1, (self.seed, "ended twice", market)
            assert executed[market] == 0 or self._is_final(market), (self.seed, market)

    def _is_final(self, market: MarketId) -> bool:
        account = self.node.bank.account(bytes(self.program.market_address(market)[0]), self.node.bank.tip.slot)
        return account is not None and Market.read(account.data).state == FINALIZED

    def _landed(self, signature: str | None) -> str:
        found = self.node.archive.transaction(bytes(Signature.from_string(signature))) if signature else None
        if found is None:
            return "absent"
        return "executed" if found.meta["err"] is None else "failed"

    def _executions(self, market: MarketId) -> int:
        """Transactions that changed the market and were not sent by others: so ours, remembered or not."""
        address = bytes(self.program.market_address(market)[0])
        newest = self.node.bank.tip.slot
        landed = list(self.node.archive.mentioning(address, newest, None, None, 1_000))
        return sum(1 for one in landed if one.meta["err"] is None and one.signature not in self._foreign)
