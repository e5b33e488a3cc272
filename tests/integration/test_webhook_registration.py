"""`zmart webhook` against a stand-in of Helius' API: its paths, its key in the query, its words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

KEY = "key-of-this-test"
URL = "https://zmart.example/webhooks/events"
PROGRAM = "6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw"


@dataclass
class FakeHelius:
    """One account's webhooks, and what was asked of them."""

    webhooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    url: str = ""
    status: int = 200

    def put(self, webhook_id: str, **body: Any) -> None:
        self.webhooks[webhook_id] = {"webhookID": webhook_id, "wallet": "w", **body}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/v0/webhooks", self._all)
        app.router.add_route("*", "/v0/webhooks/{id}", self._one)
        return app

    async def _all(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if request.method == "POST":
            self.put("new", **await request.json())
            return web.json_response(self.webhooks["new"])
        return web.json_response(list(self.webhooks.values()))

    async def _one(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        webhook_id = request.match_info["id"]
        if request.method == "DELETE":
            del self.webhooks[webhook_id]
            return web.Response(status=200)
        self.put(webhook_id, **await request.json())
        return web.json_response(self.webhooks[webhook_id])

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.calls.append(request.method)
        if request.query.get("api-key") != KEY:
            return web.Response(status=401)
        return web.Response(status=self.status) if self.status != 200 else None


@pytest.fixture
async def helius() -> AsyncIterator[FakeHelius]:
    fake = FakeHelius()
    runner = web.AppRunner(fake.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    with contextlib.suppress(asyncio.CancelledError):
        yield fake
    await runner.cleanup()


async def zmart(helius: FakeHelius, folder: Path, command: str, **settings: str) -> tuple[int, str]:
    """The real command in a process of its own: exit status, and everything it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZMART_")}
    environment |= {
        "ZMART_HELIUS_URL": helius.url,
        "ZMART_HELIUS_API_KEY": KEY,
        "ZMART_WEBHOOK_URL": URL,
        "ZMART_DATA_DIR": str(folder),
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "webhook", command),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_it_is_registered_raw_for_the_program_only_and_once(helius: FakeHelius, tmp_path: Path) -> None:
    helius.put("of-others", webhookURL="https://elsewhere.example", accountAddresses=["x"])
    status, said = await zmart(helius, tmp_path, "register")
    secret = (tmp_path / "webhook.secret").read_text()
    assert (status, "created new" in said, secret in said) == (0, True, False)
    assert helius.webhooks["new"] == {
        "webhookID": "new",
        "wallet": "w",
        "webhookURL": URL,
        "transactionTypes": ["Any"],
        "accountAddresses": [PROGRAM],
        "webhookType": "raw",
        "authHeader": secret,
    }
    helius.webhooks["new"]["transactionTypes"] = ["ANY"]
    assert await zmart(helius, tmp_path, "register") == (0, said.replace("created", "unchanged"))
    assert helius.calls == ["GET", "POST", "GET"]
    assert await zmart(helius, tmp_path, "check") == (0, "registered as it should be\n")
    assert await zmart(helius, tmp_path, "delete") == (0, "deleted new\n")
    assert list(helius.webhooks) == ["of-others"]


async def test_a_wrong_one_is_told_and_mended_and_a_second_one_goes(helius: FakeHelius, tmp_path: Path) -> None:
    helius.put("a", webhookURL=URL, accountAddresses=["x"], webhookType="enhanced", transactionTypes=["SWAP"])
    status, said = await zmart(helius, tmp_path, "check", ZMART_HELIUS_NETWORK="devnet")
    assert status == 1
    for word in ("accountAddresses is ['x']", "webhookType is 'enhanced', not 'rawDevnet'", "our secret"):
        assert word in said
    helius.put("b", webhookURL=URL, webhookType="rawDevnet", transactionTypes=["ANY"], accountAddresses=[PROGRAM])
    assert "2 webhooks post" in (await zmart(helius, tmp_path, "check", ZMART_HELIUS_NETWORK="devnet"))[1]
    status, said = await zmart(helius, tmp_path, "register", ZMART_HELIUS_NETWORK="devnet")
    assert (status, "changed b" in said, list(helius.webhooks)) == (0, True, ["b"])
    assert (await zmart(helius, tmp_path, "check", ZMART_HELIUS_NETWORK="devnet"))[0] == 0


async def test_one_that_was_switched_off_is_told_and_replaced(helius: FakeHelius, tmp_path: Path) -> None:
    helius.put("off", webhookURL=URL, webhookType="raw", accountAddresses=[PROGRAM], active=False)
    status, said = await zmart(helius, tmp_path, "check")
    assert (status, "it is switched off" in said) == (1, True)
    status, said = await zmart(helius, tmp_path, "register")
    assert (status, "created new" in said, list(helius.webhooks)) == (0, True, ["new"])


async def test_an_answer_of_another_shape_is_an_outage_in_words(helius: FakeHelius, tmp_path: Path) -> None:
    helius.webhooks = {"a": {"webhookURL": URL}}
    code, said = await zmart(helius, tmp_path, "check")
    assert (code, "no list of webhooks" in said, "Traceback" in said) == (1, True, False)


@pytest.mark.parametrize(("status", "settings"), [(200, {"ZMART_HELIUS_API_KEY": "wrong"}), (429, {}), (500, {})])
async def test_a_refusal_ends_the_command_with_words_and_without_the_key(
    helius: FakeHelius, tmp_path: Path, status: int, settings: dict[str, str]
) -> None:
    helius.status = status
    code, said = await zmart(helius, tmp_path, "check", **settings)
    assert (code, "Error: GET" in said, f"status {401 if settings else status}" in said) == (1, True, True)
    assert KEY not in said and "Traceback" not in said


async def test_without_key_or_address_nothing_is_asked(helius: FakeHelius, tmp_path: Path) -> None:
    code, said = await zmart(helius, tmp_path, "register", ZMART_WEBHOOK_URL="")
    assert (code, helius.calls) == (1, [])
    assert "ZMART_WEBHOOK_URL" in said


async def test_nobody_at_the_other_end_is_an_outage_in_words(helius: FakeHelius, tmp_path: Path) -> None:
    code, said = await zmart(helius, tmp_path, "check", ZMART_HELIUS_URL="http://127.0.0.1:9")
    assert (code, "ClientConnectorError" in said) == (1, True)
    assert KEY not in said
