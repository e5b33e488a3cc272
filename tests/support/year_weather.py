"""When which part of a simulated year is away: spans from one seed, some of them aimed at what is about to happen."""

import asyncio
import math
import random
from collections.abc import Sequence

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
PARTS = ("rpc", "database", "shard", "agent")
OUTAGES_EACH = 6
OUTAGE_S_MIN, OUTAGE_S_MAX = 20.0, 3 * DAY_S
AIMED_S_MIN, AIMED_S_MAX = 1.0, 6 * 3_600.0
AIM_S = 90.0
"""How far from what it aims at an outage begins at most."""
AIMED_AT_EACH = 0.35
"""Share of parts that go away around something that is about to happen."""
JUST_AFTER_S = 0.001
"""A loop runs what is due a little early, so a change is told when it has surely come."""

Span = tuple[float, float]


class Weather:
    """Outages in seconds since the year began. None begins after the year, so that everything can end."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.outages: dict[str, list[Span]] = {part: self._anywhere() for part in PARTS}
        self._change = asyncio.Event()

    def is_down(self, *parts: str) -> bool:
        """Whether one of them is away."""
        now_s = asyncio.get_running_loop().time()
        return any(began_s <= now_s < ended_s for part in parts for began_s, ended_s in self.outages[part])

    def aim_at(self, at_s: float) -> None:
        """Let some parts go away around an instant that lies ahead."""
        now_s = asyncio.get_running_loop().time()
        for part in PARTS:
            if self._dice.random() < AIMED_AT_EACH:
                began_s = max(now_s, at_s + self._dice.uniform(-AIM_S, AIM_S))
                self.outages[part].append((began_s, began_s + self._length_s(AIMED_S_MIN, AIMED_S_MAX)))
        self.stir()

    async def change(self, rest_s: float) -> None:
        """Return when a part goes or comes back, or `rest_s` have passed."""
        try:
            async with asyncio.timeout(rest_s):
                await self._change.wait()
        except TimeoutError:
            pass

    async def blow(self) -> None:
        """Tell whoever waits for a change of every one, until cancelled."""
        while True:
            now_s = asyncio.get_running_loop().time()
            ahead_s = [at_s for spans in self.outages.values() for span in spans for at_s in span if at_s > now_s]
            await self.change(min(ahead_s) - now_s + JUST_AFTER_S if ahead_s else YEAR_S)
            self.stir()

    def spans_without(self, since_s: float, until_s: float) -> Sequence[Span]:
        """The stretches between two instants in which every part is there."""
        free, at_s = list[Span](), since_s
        for began_s, ended_s in sorted(span for spans in self.outages.values() for span in spans):
            if began_s > at_s:
                free.append((at_s, min(began_s, until_s)))
            at_s = max(at_s, ended_s)
            if at_s >= until_s:
                return [span for span in free if span[0] < span[1]]
        return [*free, (at_s, until_s)]

    def stir(self) -> None:
        """Wake whoever waits for a change."""
        change, self._change = self._change, asyncio.Event()
        change.set()

    def _anywhere(self) -> list[Span]:
        begins = [self._dice.uniform(0, YEAR_S) for _ in range(OUTAGES_EACH)]
        return [(at_s, at_s + self._length_s(OUTAGE_S_MIN, OUTAGE_S_MAX)) for at_s in begins]

    def _length_s(self, least_s: float, most_s: float) -> float:
        """Short ones are as likely as long ones: minutes, hours and days alike."""
        return math.exp(self._dice.uniform(math.log(least_s), math.log(most_s)))
