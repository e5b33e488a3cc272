"""A year of markets in virtual time: the real shard, sender and ledger, while RPC, database and processes come and go.

People and the chain are scripted, everything that is random comes from one seed. Time jumps to whatever is due next;
slots of 0.4 s pass only while somebody waits for them, else the chain goes by in long ones.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from actors.messages import Batch
from actors.shard_core import ShardCore, ShardSettings
from chain.client import ChainReader
from chain.endpoints import PoolSettings, RpcPool
from chain.keys import SigningKeys, ensure_local_keys, local_key_path
from chain.ledger.bank import Receipt
from chain.ledger.node import Place, open_node
from chain.ledger.zmart.records import Market
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram
from chain.rpc import Rpc, RpcSettings
from chain.sender import Sender
from domain.commands import AdoptMarket, CastVote, Command, ObserveMarket
from domain.deadlines import ClockName
from domain.ids import VIRTUAL_SHARDS, MarketId, Wallet
from domain.intents import IntentStatus
from domain.lifecycle import Lifecycle
from domain.observed import ChainClock, ObservedMarket
from domain.outcomes import Done, VoteTaken
from domain.refusals import AlreadyInState
from domain.tally import VoteType
from storage.memory_tables import MemoryDatabase
from storage.outages import JournalLost, StorageUnavailable
from tests.support.ledger import B_PARAMETER, LIQUIDITY, QUESTION, START_UNIX_S, market_id
from tests.support.markets import FiveMinutes, wallet
from tests.support.mortal import Killed, MortalProvider
from tests.support.year_parts import LONG_S, Chronicle, YearJournal, YearLife, YearRows
from tests.support.year_weather import DAY_S, YEAR_S, Weather

KINDS = ("finished", "finished", "disputed", "disputed", "unloved", "unactivated", "unresolved")
"""One market of each; the last three are left alone for more than a month at some time of their lives."""
FIRST_BEGIN_S, LAST_BEGIN_S = 2 * DAY_S, 280 * DAY_S
IDLE_DAYS = (30.5, 37.0)
HEALED_S = 12 * DAY_S
"""After the year everything works, and so long may it take until all is done."""
SLOT_S = 0.4
EXPIRY_SLOTS = 200
"""Slots after which signed bytes are dead and that is final (CI 2); more that nobody saw need not be lived through."""
WATCHED = (IntentStatus.SIGNED, IntentStatus.SENT, IntentStatus.CONFIRMED)
LOOK_S = 600.0


@dataclass(frozen=True, slots=True)
class Move:
    """Something happened to a market on chain, and from when on its actor knows."""

    at_s: float
    known_s: float


class Year:
    """One seed's year."""

    def __init__(self, seed: int, data_dir: Path) -> None:
        self.seed = seed
        self._dice = random.Random(seed)
        _seed_keys(data_dir)
        keys = ensure_local_keys(data_dir)
        self._keys, self._admin = SigningKeys(keys.backend, keys.admin), keys.admin
        self.program = ZmartProgram.at(NEWEST_PROGRAM_ID)
        place = Place(data_dir, Pubkey.from_string(NEWEST_PROGRAM_ID))
        self.node = open_node(place, START_UNIX_S, self._dice.randbytes(32))
        self._people = Keypair.from_seed(bytes([7]) * 32)
        self.node.airdrop(bytes(self._people.pubkey()), 10_000_000_000_000)
        self.database = MemoryDatabase(self.now_s)
        self.weather = Weather(self._dice)
        self.chronicle = Chronicle()
        self.kinds = {market_id(number + 1): kind for number, kind in enumerate(KINDS)}
        self.moves: dict[MarketId, list[Move]] = defaultdict(list)
        """What people did, in order."""
        self.ready_s: dict[MarketId, dict[Lifecycle, float]] = defaultdict(dict)
        """From when on this backend can bring a market there, as far as the market knows."""
        self.sights: list[tuple[float, float]] = []
        """When a shard lived that had its database and the chain's time."""
        self.deaths: Counter[str] = Counter()
        self.signed: dict[str, set[str]] = {}
        self.foreign: set[bytes] = set()
        self._core: ShardCore | None = None
        self._journal: YearJournal | None = None
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._batches = itertools.count(1)
        self._ticked_s = 0.0
        self.ended_s = 0.0

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def chain_s(self) -> int:
        """The chain's second now, counted from the year's beginning as everything here."""
        return int(self.now_s())

    async def run(self) -> None:
        """Live through it; raises AssertionError when a market never ends."""
        self.database.config = await self._reader(self._life(is_mortal=False)).config(self._keys)
        works = (self.weather.blow(), self._slots(), self._shards(), self._agents())
        around: list[asyncio.Future[Any]] = [asyncio.ensure_future(each) for each in works]
        lives: asyncio.Future[Any] = asyncio.gather(*(self._lived(each) for each in self.kinds))
        try:
            async with asyncio.timeout(YEAR_S + HEALED_S):
                done, _ = await asyncio.wait([lives, *around], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                await self._all_taken_in()
            self.ended_s = self.now_s()
        except TimeoutError:
            left = {market: self.stored(market) for market in self.kinds}
            raise AssertionError(f"seed {self.seed}: not over: {left}") from None
        finally:
            for task in (lives, *around):
                task.cancel()
            await asyncio.gather(lives, *around, return_exceptions=True)

    # --- the chain ------------------------------------------------------------------------------------------------

    async def _slots(self) -> None:
        while True:
            missed = int((self.now_s() - self._ticked_s) / SLOT_S) if self._is_watched() else 1
            for _ in range(min(max(missed, 1), EXPIRY_SLOTS)):
                self._tick()
            if self._is_watched():
                await asyncio.sleep(SLOT_S)
            else:
                await self.weather.change(LONG_S)

    def _is_watched(self) -> bool:
        """Whether slots matter: something is on its way, and somebody can see it."""
        if self.weather.is_down("rpc", "database", "agent"):
            return False
        return any(attempt.status in WATCHED for attempt in self.database.tables.attempts.values())

    def _tick(self) -> None:
        self._ticked_s = self.now_s()
        self.node.tick(START_UNIX_S + self.chain_s())

    def account(self, market: MarketId) -> ObservedMarket:
        tip = self.node.bank.tip
        account = self.node.bank.account(bytes(self.program.market_address(market)[0]), tip.slot)
        assert account is not None
        return self.program.market(market, account.data, tip.slot)

    def state(self, market: MarketId) -> Lifecycle:
        """On the chain, now."""
        account = self.node.bank.account(bytes(self.program.market_address(market)[0]), self.node.bank.tip.slot)
        assert account is not None
        return Lifecycle(Market.read(account.data).state)

    # --- the shard ------------------------------------------------------------------------------------------------

    async def _shards(self) -> None:
        """One life after the other; each reads the truth anew."""
        while True:
            while self.weather.is_down("shard", "database"):
                await self.weather.change(LONG_S)
            dies_at = self._dice.randrange(1, 8) if self._dice.random() < 0.3 else None
            journal = YearJournal(self.database, self.weather, self.chronicle, dies_at, self._dice.random() < 0.5)
            seen: list[float] = []
            try:
                await self._shard_life(journal, seen)
            except JournalLost:
                self.deaths["shard"] += 1
            finally:
                self._core = None
                self.database.end_session(journal)
                self._wake.set()  # the real agent finds within seconds what a dead shard has planned and not told
                if seen:
                    self.sights.append((seen[0], self.now_s()))
            await asyncio.sleep(self._dice.uniform(0.1, 3.0))

    async def _shard_life(self, journal: YearJournal, seen: list[float]) -> None:
        def wall_s() -> float:
            return START_UNIX_S + self.now_s()

        core = ShardCore(journal, ShardSettings(FiveMinutes(), 10, wall_s, wall_s, self._new_id))
        await core.boot(range(VIRTUAL_SHARDS), "host", 1, 4_000_000)
        self._core, self._journal = core, journal
        while True:
            async with self._turn:
                await self._shard_turn(core, journal, seen)
            await self.weather.change(self._pause_s(core, has_clock=bool(seen)))

    async def _shard_turn(self, core: ShardCore, journal: YearJournal, seen: list[float]) -> None:
        if not self.weather.is_down("rpc", "agent") and self.database.config is not None:
            self._tick()
            tip = self.node.bank.tip
            core.hear(ChainClock(tip.slot, tip.unix_s), replace(self.database.config, slot=tip.slot))
            seen.append(self.now_s())
            del seen[1:]
        await core.fire_due()
        await core.take_settlements()
        await journal.ping()
        self._pass_on(core)

    def _pass_on(self, core: ShardCore) -> None:
        if core.residents.planned_work:
            core.residents.planned_work = False
            self._wake.set()
            self.weather.stir()

    def _pause_s(self, core: ShardCore, *, has_clock: bool) -> float:
        """A shard looks every half second; here only when something can have come, and after each change."""
        clocks = list(ClockName) if has_clock else [ClockName.WALL]
        wall_s = START_UNIX_S + self.now_s()
        ahead_s = [at_s - wall_s for clock in clocks if (at_s := core.residents.alarms.next_at_s(clock)) is not None]
        waits = any(each.settled and not each.applied for each in self.database.tables.attempts.values())
        return max(1.0, min([1.0 if waits else LONG_S, *ahead_s]))

    # --- the agent ------------------------------------------------------------------------------------------------

    async def _agents(self) -> None:
        while True:
            while self.weather.is_down("agent", "database"):
                await self.weather.change(LONG_S)
            life = self._life(is_mortal=True)
            life.sender = self._sender(life)
            self.weather.stir()
            working = asyncio.ensure_future(life.sender.run(self._wake, lambda _: self.weather.stir()))
            dying = asyncio.ensure_future(self._until_away(life))
            try:
                await asyncio.wait([working, dying], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.deaths["agent"] += 1
                life.close()
                for task in (working, dying):
                    task.cancel()
                (end, _) = await asyncio.gather(working, dying, return_exceptions=True)
            if not isinstance(end, Killed | StorageUnavailable | asyncio.CancelledError):
                assert isinstance(end, BaseException)
                raise end
            await asyncio.sleep(self._dice.uniform(1, 30))

    async def _until_away(self, life: YearLife) -> None:
        while not self.weather.is_down("agent") and not life.over.is_set():
            await self.weather.change(LONG_S)

    def _life(self, *, is_mortal: bool) -> YearLife:
        """A third of them die around a send or the write after it, where the most is at stake."""
        deadly = self._dice.choice(["SendRawTransaction", "mark_s", "mark_c", "raise_alert"])
        death_at = self._dice.randrange(1, 9) if is_mortal and self._dice.random() < 0.35 else None
        return YearLife(self._dice, death_at, deadly, self.weather, self.database, self.chronicle)

    def _sender(self, life: YearLife) -> Sender:
        rows = YearRows(life, self.database, self.signed, self.weather, self.chronicle)
        return Sender(self._reader(life), self._keys, rows, clock=self.now_s, sleep=life.sleep)

    def _reader(self, life: YearLife) -> ChainReader:
        rpc = Rpc(RpcSettings("http://ledger"), life.sleep, MortalProvider(life, self.node, self._dice))
        pool = RpcPool([rpc], PoolSettings(), clock=self.now_s, sleep=life.sleep)
        return ChainReader(pool, self.program)

    # --- the people -----------------------------------------------------------------------------------------------

    async def _lived(self, market: MarketId) -> None:
        """Proposed, voted, approved, activated, resolved, perhaps disputed; by some people with long pauses."""
        people, kind = Wallet(str(self._people.pubkey())), self.kinds[market]
        await asyncio.sleep(self._dice.uniform(FIRST_BEGIN_S, LAST_BEGIN_S))
        await self._act(market, self.program.create_market(people, market, B_PARAMETER, LIQUIDITY, QUESTION))
        await self._vote(market, VoteType.PROPOSAL, [number < (3 if kind == "unloved" else 8) for number in range(10)])
        self.weather.aim_at(self.now_s() + 300)
        if kind == "unloved":
            await asyncio.sleep(self._dice.uniform(*IDLE_DAYS) * DAY_S)
            await self._act(market, self.program.cancel_market(self._admin.wallet, market), self._admin.pair)
            return
        self.ready_s[market][Lifecycle.APPROVED] = self.now_s() + 300
        await self._until(market, Lifecycle.APPROVED)
        await asyncio.sleep(self._pause_of(kind == "unactivated"))
        await self._act(market, self.program.activate_market(people, market))
        await asyncio.sleep(self._pause_of(kind == "unresolved"))
        await self._act(market, self.program.resolve_market(people, market, True, QUESTION))
        if kind == "disputed":
            await self._dispute(market)
        await self._end(market)

    def _pause_of(self, is_idle: bool) -> float:
        return self._dice.uniform(*(IDLE_DAYS if is_idle else (0.01, 5.0))) * DAY_S

    async def _dispute(self, market: MarketId) -> None:
        people = Wallet(str(self._people.pubkey()))
        await asyncio.sleep(self._dice.uniform(60, DAY_S))
        await self._act(market, self.program.initiate_dispute(people, market))
        voters = self._dice.randrange(0, 4)
        await self._vote(market, VoteType.DISPUTE, [self._dice.random() < 0.5 for _ in range(voters)])

    async def _end(self, market: MarketId) -> None:
        """The market is due when its window has passed in chain time and its actor knows of it."""
        seen = self.account(market)
        assert self.database.config is not None
        began_s = max(seen.resolution_proposed_at_s, seen.dispute_initiated_at_s) - START_UNIX_S
        due_s = began_s + self.database.config.dispute_period_s + 5
        self.ready_s[market][Lifecycle.FINALIZED] = max(due_s, self.now_s())
        if due_s > self.now_s():
            self.weather.aim_at(due_s)
        await self._until(market, Lifecycle.FINALIZED)

    async def _act(self, market: MarketId, instruction: Instruction, pair: Keypair | None = None) -> None:
        """Land an instruction, and have the market hear of it as soon as anybody can read it."""
        self._tick()
        receipt = self.node.sign_and_submit(instruction, pair or self._people)
        assert isinstance(receipt, Receipt), receipt
        assert receipt.outcome.failure is None, receipt.outcome.logs
        self.foreign.add(receipt.transaction.signature)
        at_s = receipt.unix_s - START_UNIX_S
        for _ in range(3):
            self._tick()
        while self.weather.is_down("rpc"):
            await self.weather.change(LONG_S)
        kind = ObserveMarket if self.moves[market] else AdoptMarket
        await self._tell(kind(market, self.account(market)))
        self.moves[market].append(Move(at_s, self.now_s()))

    async def _vote(self, market: MarketId, kind: VoteType, choices: list[bool]) -> None:
        slot = 1 if kind is VoteType.DISPUTE else None
        for number, choice in enumerate(choices):
            weight = 1 if slot is None else 10 + number
            voter = wallet(number)
            await self._tell(CastVote(market, self._new_id(), voter, kind, choice, weight, None, weight_slot=slot))

    async def _tell(self, command: Command) -> None:
        """Repeat until it is done, as a client and the indexer do."""
        while not isinstance(await self._ask(command), Done | VoteTaken | AlreadyInState):
            await self.weather.change(120)

    async def _ask(self, command: Command) -> object:
        async with self._turn:
            core = self._core
            if core is None:
                return None
            try:
                (told,) = await core.handle(Batch("people", next(self._batches), core.epochs, (command,)))
            except JournalLost:
                self._core = None
                assert self._journal is not None
                self.database.end_session(self._journal)  # its process exits, and another one reads what is true
                self.weather.stir()
                return None
            self._pass_on(core)
        self.weather.stir()
        return told

    async def _until(self, market: MarketId, state: Lifecycle) -> None:
        while self.state(market) is not state:  # noqa: ASYNC110 - the chain tells nobody
            await asyncio.sleep(LOOK_S)

    async def _all_taken_in(self) -> None:
        """Wait until the database knows every end too."""
        while not all(map(self._is_over, self.kinds)):  # noqa: ASYNC110 - the rows tell nobody
            await asyncio.sleep(LOOK_S)

    def _is_over(self, market: MarketId) -> bool:
        mine = [each for each in self.database.tables.attempts.values() if each.intent.market_id == market]
        followed = all(each.status not in WATCHED and each.applied for each in mine)
        return followed and self.stored(market) in (Lifecycle.FINALIZED, Lifecycle.CANCELLED)

    def stored(self, market: MarketId) -> Lifecycle | None:
        kept = self.database.tables.markets.get(market)
        return kept[0].state if kept else None

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._dice.getrandbits(128), version=4))


def _seed_keys(data_dir: Path) -> None:
    """The same keys each time, so that a seed says everything."""
    for number, role in enumerate(("admin", "backend", "fee_wallet", "faucet")):
        path = local_key_path(data_dir, role)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(bytes(Keypair.from_seed(bytes([100 + number]) * 32)))))
