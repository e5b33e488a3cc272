"""Aggregation locks (contract section 5, T11, T12): one worker on a market's tallies, also across deployments.

They save double work. Safety is the database's: one open attempt for each market and action, and stored bytes before
the first send. So with Redis away, or a lock lost, work goes on or is done later, and is never done twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from redis.commands.core import AsyncScript

from domain.ids import MarketId
from domain.intents import Action, Intent
from domain.tally import VoteType
from storage.redis_client import REDIS_TROUBLE, OutageLog, connect_redis, heed_cancellation

TAKE = """#!lua
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
"""1 when the lock is the token's now, new or as before; 0 when it is somebody else's."""
RENEW = """#!lua
local owner = redis.pcall('GET', KEYS[1])
if not owner then return -1 end
if owner ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
"""1 when renewed, 0 when it is somebody else's, -1 (GONE) when it is nobody's; a late renewal makes no lock."""
RELEASE = """#!lua
if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

GONE = -1
KEYS_MAX = 4_096
"""Locks remembered for giving back; one that is forgotten in a long outage ends by itself after `ttl_s`."""

log = structlog.get_logger("locks")


@dataclass(frozen=True, slots=True)
class LockSettings:
    """Times of a lock, in seconds."""

    ttl_s: float = 60.0
    """A holder that died is waited for this long; it renews three times as often (T12)."""
    answer_timeout_s: float = 0.5
    """The longest that Redis may keep an attempt waiting; after that it goes without a lock."""
    retry_s: float = 5.0
    """After an outage nobody asks for so long, so that a Redis that hangs costs 0.5 s in 5, not in each round."""


def lock_of(intent: Intent) -> str | None:
    """The key of the lock that this attempt needs, None for one that puts no votes on chain."""
    match intent.action:
        case Action.AGGREGATE_PROPOSAL:
            return lock_name(intent.market_id, VoteType.PROPOSAL)
        case Action.FINALIZE | Action.INVALIDATE:
            return lock_name(intent.market_id, VoteType.DISPUTE)
        case Action.APPROVE | Action.ACTIVATE | Action.CANCEL:
            return None


def lock_name(market_id: MarketId, vote_type: VoteType) -> str:
    """The key of a market's lock, the only place that spells it (T11)."""
    return f"aggregation_lock:{market_id}:{vote_type.value}"


class AttemptLocks:
    """Implements `chain.ports.AttemptLocks`; the token is the intent's id, so a restarted agent goes on at once.

    No call raises for an outage of Redis. `run` renews what is held; without it a lock ends after `ttl_s`.
    """

    def __init__(
        self,
        redis_url: str,
        settings: LockSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings or LockSettings()
        self._redis = connect_redis(redis_url, self._settings.answer_timeout_s)
        self._take, self._renew, self._release = map(self._redis.register_script, (TAKE, RENEW, RELEASE))
        self._clock, self._sleep = clock, sleep
        self._keys: dict[str, str] = {}
        """Lock by intent id, of all that may be ours in Redis; an answer that was lost leaves one here."""
        self._held: set[str] = set()
        self._elsewhere: set[str] = set()
        """Intents whose lock is somebody else's."""
        self._turn = asyncio.Lock()
        self._asks_again_s = clock()
        self._outage = OutageLog("locks", "attempts go on without locks, guarded by the database alone")

    async def hold(self, intents: Sequence[Intent]) -> None:
        """These are the attempts in hand: take their locks, and give back those of attempts that are not among them.

        Returns within two `answer_timeout_s` (another exchange may be under way); without an answer all may step.
        """
        wanted = {intent.intent_id: key for intent in intents if (key := lock_of(intent)) is not None}
        async with self._turn:
            self._held &= wanted.keys()
            self._elsewhere &= wanted.keys()
            missing = {token: key for token, key in wanted.items() if token not in self._held}
            settled = {token: key for token, key in self._keys.items() if token not in wanted}
            self._keys = dict([*self._keys.items(), *missing.items()][-KEYS_MAX:])
            if (missing or settled) and self._clock() >= self._asks_again_s:
                await self._exchange(missing, settled)

    def may_step(self, intent: Intent) -> bool:
        """Whether nobody else is known to hold the lock that this attempt needs."""
        return intent.intent_id not in self._elsewhere

    async def run(self) -> None:
        """Renew what is held every third of its life, until cancelled; what turns out to be another's is given up."""
        while True:
            await self._sleep(self._settings.ttl_s / 3)
            async with self._turn:
                if self._held:
                    await self._renew_all()

    async def close(self) -> None:
        """Disconnect; locks of attempts that are not settled stay for their agent's return, `ttl_s` at the most."""
        await self._redis.aclose()

    async def _exchange(self, missing: Mapping[str, str], settled: Mapping[str, str]) -> None:
        """Give back first: the next attempt of a market may be among those that are taken."""
        answers = await self._answers(
            [(self._release, key, token) for token, key in settled.items()]
            + [(self._take, key, token) for token, key in missing.items()]
        )
        if answers is None:
            return
        self._keys = {token: key for token, key in self._keys.items() if token not in settled}
        for (token, key), is_ours in zip(missing.items(), answers[len(settled) :], strict=True):
            self._note(token, key, is_ours=bool(is_ours))

    async def _renew_all(self) -> None:
        held = [(token, self._keys[token]) for token in self._held]
        answers = await self._answers([(self._renew, key, token) for token, key in held])
        for (token, key), answer in zip(held, answers or (), strict=False):
            self._held.discard(token)
            if answer != GONE:
                self._note(token, key, is_ours=answer == 1)

    def _note(self, token: str, key: str, *, is_ours: bool) -> None:
        if is_ours:
            self._held.add(token)
            self._elsewhere.discard(token)
        elif token not in self._elsewhere:
            log.warning("attempt waits, its lock is somebody else's", lock=key, intent_id=token)
            self._elsewhere.add(token)

    async def _answers(self, calls: Sequence[tuple[AsyncScript, str, str]]) -> list[int] | None:
        """What each script said, in one exchange; None in an outage, and then all may step."""
        ttl_ms = int(self._settings.ttl_s * 1000)
        try:
            async with asyncio.timeout(self._settings.answer_timeout_s), self._redis.pipeline(False) as pipeline:
                for script, key, token in calls:
                    await script([key], [token, ttl_ms], pipeline)
                answers: list[int] = await pipeline.execute()
        except REDIS_TROUBLE as outage:
            heed_cancellation()
            self._outage.failed(outage)
            self._asks_again_s = self._clock() + self._settings.retry_s
            self._elsewhere.clear()
            return None
        heed_cancellation()
        self._outage.answered()
        return answers
