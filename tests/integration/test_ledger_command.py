"""`zmart ledger`, alone: an emulator for other people's programs, found through connection.json."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

from app.connection import CONNECTION_FILE
from app.embedded import free_port_base
from chain.program import NEWEST_PROGRAM_ID
from tests.support.eventually import eventually_async


async def rpc(url: str, method: str, *params: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return (await response.json())["result"]


@pytest.mark.parametrize("build", ["new", "old"])
async def test_the_ledger_alone_says_where_it_is_and_takes_the_word_back_when_it_ends(
    tmp_path: Path, build: str
) -> None:
    path = tmp_path / CONNECTION_FILE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "ledger", "--data-dir", str(tmp_path)),
        *("--port-base", str(free_port_base(8))),
        env={**os.environ, "ZMART_SLOT_MS": "50", "ZMART_LEDGER_BUILD": build},
        stdout=asyncio.subprocess.PIPE,
    )

    async def written() -> bool:
        return path.exists()

    await eventually_async(written, timeout_s=60)
    connection = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert connection["pids"] == {"ledger": [process.pid]}
    assert connection["program_id"] == NEWEST_PROGRAM_ID
    assert all(Path(connection[key]).exists() for key in ("admin_keypair", "backend_keypair"))
    assert await rpc(connection["rpc_url"], "getHealth") == "ok"
    async with connect(connection["rpc_ws_url"]) as socket:
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "slotSubscribe"}))
        assert "result" in json.loads(await socket.recv())
    process.send_signal(signal.SIGTERM)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"zmart ledger is ready" in out
    assert not path.exists()
