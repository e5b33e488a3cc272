"""The least that anything must do that accepts transactions: parse, verify signatures, store, answer.

A program of its own, the baseline of `zmart bench ledger`: the same HTTP server, event loop, JSON, ed25519 and SQLite
settings as the ledger, without accounts, program, preflight, history, slots or subscribers. Run as
`python -m app.bench.bare_node FOLDER`; the first line it prints is its port.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web
from solders.transaction import VersionedTransaction


def _store(folder: Path) -> sqlite3.Connection:
    store = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
    store.execute("PRAGMA locking_mode=EXCLUSIVE")
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=NORMAL")
    store.execute("CREATE TABLE sent (signature BLOB PRIMARY KEY, raw BLOB NOT NULL) WITHOUT ROWID")
    return store


def application(store: sqlite3.Connection) -> web.Application:
    """The server."""

    async def post(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        raw = base64.b64decode(body["params"][0])
        transaction = VersionedTransaction.from_bytes(raw)
        if not all(transaction.verify_with_results()):
            return web.Response(status=400)
        signature = transaction.signatures[0]
        store.execute("INSERT INTO sent VALUES (?, ?)", (bytes(signature), raw))
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"], "result": str(signature)}
        return web.Response(body=json.dumps(reply).encode(), content_type="application/json")

    served = web.Application()
    served.router.add_post("/", post)
    return served


async def _serve(folder: Path) -> None:
    runner = web.AppRunner(application(_store(folder)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    addresses: list[Any] = runner.addresses
    print(addresses[0][1], flush=True)  # noqa: T201 - how the bench learns the port
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(_serve(Path(sys.argv[1])))
