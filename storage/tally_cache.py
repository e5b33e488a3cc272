"""Tallies and voters in Redis under the specification's names (contract section 5, P9): a copy, never a truth.

Every write is one script that compares market versions, so an old write never wins (T5). Any key may be deleted at any
time: a write that finds something missing says GAP and changes no tally, and the whole is written anew.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from storage.redis_client import connect_redis, heed_cancellation
from storage.tallies import Advance, StoredTally, TallyName

ANSWER_TIMEOUT_S = 2.0
TTL_S = 7 * 86_400
"""After a week without a change a market's keys go; who reads its tally then has them written again."""
WALLETS_MAX = 500
"""Wallets in one script: some 25 KB, 0.2 ms of the server. More are gathered beside the set and swapped in."""
GATHERING_S = 60
"""A set that was never swapped in, because its writer died, goes by itself."""

_SET_ALL = """
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[5])
redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[5])
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[5])
redis.call('EXPIRE', KEYS[4], ARGV[5])
return 'DONE'
"""
_IS_NEWER = """#!lua
local stored = tonumber(redis.call('MGET', KEYS[3])[1] or '')
local since, version, voters = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[6])
"""
# MGET has no error for a key of another type; versions are below 2^53, which Lua's numbers hold exactly.
ADVANCE = (
    _IS_NEWER
    + """
if stored and stored > version then return 'NEWER' end
if since < 0 then redis.call('UNLINK', KEYS[4]) end
if #ARGV > 6 then redis.call('SADD', KEYS[4], unpack(ARGV, 7)) end
if since >= 0 and redis.call('SCARD', KEYS[4]) ~= voters then return 'GAP' end
"""
    + _SET_ALL
)
"""Set the tally and add the wallets that came since; with `since` -1 they are all there are, and replace the set.

Whoever voted stays a voter, so a set that lacks anybody is smaller than the headcount, whatever was deleted from it.
"""
SWAP = (
    _IS_NEWER
    + """
local whole = redis.call('SCARD', KEYS[5]) == voters
if not whole or (stored and stored > version) then
    redis.call('UNLINK', KEYS[5])
    return whole and 'NEWER' or 'GAP'
end
redis.call('UNLINK', KEYS[4])
redis.call('RENAME', KEYS[5], KEYS[4])
"""
    + _SET_ALL
)
"""The same with a set that was gathered beside it; part of it lost meanwhile, nothing is changed."""

NOTHING = -1
"""The version of a tally that is not in Redis: every vote comes after it."""


class Written(enum.StrEnum):
    """What became of a write: by NEWER and GAP no tally is changed; wallets that a GAP added did vote."""

    DONE = "DONE"
    NEWER = "NEWER"
    GAP = "GAP"


class TallyCache:
    """The keys of Redis; every call raises one of REDIS_TROUBLE when it was not answered, and may be repeated."""

    def __init__(self, redis_url: str, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._redis: Redis = connect_redis(redis_url, answer_timeout_s)
        self._advance, self._swap = self._redis.register_script(ADVANCE), self._redis.register_script(SWAP)

    async def versions(self, names: Sequence[TallyName]) -> list[int]:
        """The market version of each tally, NOTHING for one that is not there."""
        found = await self._redis.mget([_keys(name)[2] for name in names]) if names else []
        heed_cancellation()
        return [_number(text) for text in found]

    async def advance(self, advances: Sequence[Advance]) -> list[Written]:
        """Write tallies with the wallets that came since; a key of another type is a GAP too."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for tally, since, wallets in advances:
                await self._advance(_keys(tally.name), [since, *_arguments(tally, tally.voters), *wallets], pipeline)
            answers = await pipeline.execute(raise_on_error=False)
        heed_cancellation()
        return [_written(answer, advance) for answer, advance in zip(answers, advances, strict=True)]

    async def replace(self, tally: StoredTally, pages: AsyncIterator[Sequence[str]]) -> Written:
        """Write a tally with all its wallets, however many: they are gathered beside the set and swapped in at once."""
        gathering = f"{_keys(tally.name)[3]}:gathering:{uuid.uuid4().hex}"
        gathered = 0
        async for wallets in pages:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.sadd(gathering, *wallets)
                pipeline.expire(gathering, GATHERING_S)
                gathered += (await pipeline.execute())[0]
            heed_cancellation()
        script: AsyncScript = self._swap
        answer = await script([*_keys(tally.name), gathering], [NOTHING, *_arguments(tally, gathered)])
        heed_cancellation()
        return Written(answer)

    async def faults(self, tallies: Sequence[StoredTally], *, missing: bool) -> list[TallyName]:
        """Which tallies differ from these without being newer; with `missing` also those that are not there."""
        names = [tally.name for tally in tallies]
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.mget([key for name in names for key in _keys(name)[:3]])
            for name in names:
                pipeline.scard(_keys(name)[3])
            values, *counts = await pipeline.execute(raise_on_error=False) if names else [[]]
        heed_cancellation()
        if isinstance(values, Exception):
            raise values
        found = zip(values[::3], values[1::3], values[2::3], counts, strict=True)
        return [tally.name for tally, seen in zip(tallies, found, strict=True) if _is_fault(tally, seen, missing)]

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()


def _keys(name: TallyName) -> list[str]:
    """Yes, no, version and wallets of a tally; nobody else spells them (T3, T11)."""
    tally = f"vote_tally:{name.market_id}:{name.vote_type.value}"
    return [f"{tally}:yes", f"{tally}:no", f"{tally}:version", f"vote_set:{name.market_id}:{name.vote_type.value}"]


def _arguments(tally: StoredTally, wallets: int) -> Iterable[int | str]:
    return tally.version, str(tally.yes), str(tally.no), TTL_S, wallets


def _written(answer: Any, advance: Advance) -> Written:
    """A script that met a key of another type is a GAP, as long as it was not asked to write the whole."""
    if isinstance(answer, Exception):
        if "WRONGTYPE" in str(answer) and advance.since != NOTHING:
            return Written.GAP
        raise answer
    return Written(answer)


def _is_fault(tally: StoredTally, seen: tuple[Any, ...], missing: bool) -> bool:
    yes, no, version, wallets = seen
    if missing and None in seen:
        return True
    stored = _number(version)
    if stored > tally.version or (stored == NOTHING and not missing):
        return False
    return (yes, no, wallets) != (str(tally.yes), str(tally.no), tally.voters)


def _number(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isdecimal() else NOTHING
