"""The least that whoever receives webhooks must do: read a body, commit it, answer.

A program of its own, what `zmart bench index` holds the webhook's answer against: HTTP without a proxy in front, one
plain INSERT for each body into a table of its own, no proof, no look at the body. Run as
`python -m app.bench.bare_receiver URL`; the first line it prints is its port.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import uvloop
from aiohttp import web

from app.embedded.loopback import LOOPBACK

TABLE = "bench_bodies"
POOL = 10
"""Sessions, as many as the product's server has."""
BODY_BYTES_MAX = 8 * 1024 * 1024


@contextmanager
def bare_receiver(database_url: str) -> Iterator[str]:
    """Such a server for a while; where it takes bodies."""
    command = [sys.executable, "-m", "app.bench.bare_receiver", database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None, "it was asked for"
            yield f"http://{LOOPBACK}:{int(running.stdout.readline())}/"
        finally:
            running.terminate()


async def _serve(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:
        await pool.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (id bigint GENERATED ALWAYS AS IDENTITY, body bytea)")

        async def receive(request: web.Request) -> web.Response:
            await pool.execute(f"INSERT INTO {TABLE} (body) VALUES ($1)", await request.read())  # noqa: S608 - our own name
            return web.Response(text="{}")

        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_post("/", receive)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)  # noqa: T201 - how the bench learns the port
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(_serve(sys.argv[1]))
