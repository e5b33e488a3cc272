"""Posts webhooks at a fixed rate, whether or not the last ones were answered: a load of `zmart bench index`.

Run as `python -m app.bench.webhook_load FOLDER`, which has the plan; prints its figures. A request's time runs from
when it was due, so that a server which stalls is not spared.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import uvloop

from app.bench.harness import Figures, percentiles
from app.clock import monotonic_s

PLAN = "webhooks.json"
ANSWER_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class WebhookPlan:
    """Where to post the bodies of `bodies.jsonl`, in turn, with which secret, and how often."""

    url: str
    secret: str
    per_s: float
    seconds: float

    def write(self, folder: Path) -> None:
        """For the load process to read."""
        (folder / PLAN).write_text(json.dumps(asdict(self)))


async def post_all(plan: WebhookPlan, bodies: list[bytes]) -> Figures:
    """Post at the plan's rate for its time, and wait for every answer."""
    latencies_s: list[float] = []
    refused: list[int] = []
    headers = {"authorization": plan.secret, "content-type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=headers) as http:
        began_s, count = monotonic_s(), int(plan.per_s * plan.seconds)

        async def post(number: int) -> None:
            due_s = began_s + number / plan.per_s
            await asyncio.sleep(max(due_s - monotonic_s(), 0))
            async with http.post(plan.url, data=bodies[number % len(bodies)]) as response:
                await response.read()
            latencies_s.append(monotonic_s() - due_s)
            if response.status != 200:
                refused.append(response.status)

        await asyncio.gather(*(post(number) for number in range(count)))
        took_s = monotonic_s() - began_s
    figures = {"posted": count, "per_s": round(count / took_s, 1), "refused": len(refused)}
    return {**figures, **percentiles(latencies_s)}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    told = WebhookPlan(**json.loads((folder / PLAN).read_text()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(post_all(told, (folder / "bodies.jsonl").read_bytes().splitlines()))
    sys.stdout.write(json.dumps(figures))
