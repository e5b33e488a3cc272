"""Tallies and voters in Redis under the specification's names (contract section 5, P9): a copy, never a truth.

Every write is one script that compares market versions, so an old write never wins (T5). Any key may be deleted at any
time: a write that finds something missing says GAP and changes no tally, and the whole is written anew.
"""

from __future__ import annotations

import enum
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from storage.redis_client import connect_redis, heed_cancellation
from storage.tallies import Advance, StoredTally, TallyName

ANSWER_TIMEOUT_S = 2.0
TTL_S = 7 * 86_400
"""After a week without a change a market's keys go; who reads its tally then has them written again."""
KEPT_S = 6 * 86_400
"""Keys with more than that left are not written again for a change that was not their tally's."""
WALLETS_MAX = 500
"""Wallets of one tally in a script: some 25 KB. More are gathered beside the set and swapped in."""
WALLETS_AT_ONCE_MAX = 1_000
"""Wallets of all tallies in one script, which nobody interrupts: below a millisecond of the server."""
GATHERING_S = 60
"""A set that was never swapped in, because its writer died, goes by itself."""

_VERSION = "vote_tally:%s:version"
_SPELLINGS = ("vote_tally:%s:yes", "vote_tally:%s:no", _VERSION, "vote_set:%s")
"""Yes, no, version and wallets of a tally; nobody else spells them (T3, T11)."""

_SET_ALL = """#!lua
local function set_all(keys, version, yes, no, ttl_s)
    redis.call('SET', keys[1], yes, 'EX', ttl_s)
    redis.call('SET', keys[2], no, 'EX', ttl_s)
    redis.call('SET', keys[3], version, 'EX', ttl_s)
    redis.call('EXPIRE', keys[4], ttl_s)
    return 'DONE'
end
"""
# Versions are below 2^53, which Lua's numbers hold exactly; to be stored they stay text, like the weights.
ADVANCE = (
    _SET_ALL
    + f"""
local ttl_s, kept_s = ARGV[1], tonumber(ARGV[2])

local function advance(name, since, version, yes, no, voters, wallets)
    local keys = {{ {", ".join(f"string.format('{spelling}', name)" for spelling in _SPELLINGS)} }}
    local had = redis.call('MGET', keys[1], keys[2], keys[3])
    local stored = tonumber(had[3] or '')
    if stored and stored > tonumber(version) then return 'NEWER' end
    if since < 0 then redis.call('UNLINK', keys[4]) end
    if #wallets > 0 and type(redis.pcall('SADD', keys[4], unpack(wallets))) == 'table' then return 'GAP' end
    if since >= 0 and redis.pcall('SCARD', keys[4]) ~= voters then return 'GAP' end
    local is_level = #wallets == 0 and stored and had[1] == yes and had[2] == no
    if is_level and redis.call('TTL', keys[1]) > kept_s then return 'DONE' end
    return set_all(keys, version, yes, no, ttl_s)
end

local answers = {{}}
for place, tally in ipairs(cjson.decode(ARGV[3])) do answers[place] = advance(unpack(tally)) end
return answers
"""
)
"""Set tallies and add the wallets that came since; with `since` -1 they are all there are, and replace the set.

Whoever voted stays a voter, so a set that lacks anybody is smaller than the headcount, whatever was deleted from it. A
key of another type is a GAP too: MGET takes it for missing, and the set's commands answer an error, which is a table.
One argument for all tallies: as commands of their own, the library packs 20 words for each in Python.
"""
SWAP = (
    _SET_ALL
    + """
local stored, version = tonumber(redis.call('MGET', KEYS[3])[1] or ''), tonumber(ARGV[1])
local whole = redis.call('SCARD', KEYS[5]) == tonumber(ARGV[5])
if not whole or (stored and stored > version) then
    redis.call('UNLINK', KEYS[5])
    return whole and 'NEWER' or 'GAP'
end
redis.call('UNLINK', KEYS[4])
redis.call('RENAME', KEYS[5], KEYS[4])
return set_all(KEYS, ARGV[1], ARGV[2], ARGV[3], ARGV[4])
"""
)
"""The same for one with a set that was gathered beside it; part of it lost meanwhile, nothing is changed."""

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
        if not names:
            return []
        found = await self._redis.mget([_VERSION % _label(name) for name in names])
        heed_cancellation()
        return [_number(text) for text in found]

    async def advance(self, advances: Sequence[Advance]) -> list[Written]:
        """Write tallies with the wallets that came since, each as a whole and none twice, in few scripts."""
        answers: list[str] = []
        for some in _portions(advances):
            tallies = json.dumps([_words(advance) for advance in some])
            answers += await self._advance([], [TTL_S, KEPT_S, tallies])
            heed_cancellation()
        return [Written(answer) for answer in answers]

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
        arguments: list[int | str] = [tally.version, str(tally.yes), str(tally.no), TTL_S, gathered]
        answer = await script([*_keys(tally.name), gathering], arguments)
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
    return [spelling % _label(name) for spelling in _SPELLINGS]


def _label(name: TallyName) -> str:
    return f"{name.market_id}:{name.vote_type.value}"


def _words(advance: Advance) -> tuple[Any, ...]:
    """What the script is told of one tally; whatever Lua would round is text."""
    tally, since, wallets = advance
    return _label(tally.name), since, str(tally.version), str(tally.yes), str(tally.no), tally.voters, wallets


def _portions(advances: Sequence[Advance]) -> Iterator[Sequence[Advance]]:
    """These in order, as many at once as have WALLETS_AT_ONCE_MAX wallets together."""
    start = wallets = 0
    for place, advance in enumerate(advances):
        wallets += len(advance.wallets)
        if wallets > WALLETS_AT_ONCE_MAX and place > start:
            yield advances[start:place]
            start, wallets = place, len(advance.wallets)
    if advances:
        yield advances[start:]


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
