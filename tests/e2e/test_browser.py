"""The API from a page of another origin in a real browser: the TypeScript client that users build, through Envoy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.browser import Browser, browser
from tests.support.node import Scripts, node_scripts
from tests.support.system import RunningSystem, create_markets, new_market_id
from tests.support.web_client import build_web_client

__all__ = ["browser", "node_scripts"]

OUTCOME_S_MAX = 60
PAGE = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/bundle.js"></script>'


@asynccontextmanager
async def page(bundle: str, given: dict[str, Any]) -> AsyncIterator[tuple[str, asyncio.Future[dict[str, Any]]]]:
    """A site of its own with the client in a page; its address, and what the page has to say in the end."""
    outcome: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def take(request: web.Request) -> web.Response:
        outcome.set_result(json.loads(await request.text()))
        return web.Response()

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def script(_request: web.Request) -> web.Response:
        return web.Response(text=bundle, content_type="text/javascript")

    async def tell(_request: web.Request) -> web.Response:
        return web.json_response(given)

    site = web.Application()
    site.add_routes(
        [web.get("/", show), web.get("/bundle.js", script), web.get("/given", tell), web.post("/outcome", take)]
    )
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", outcome
    finally:
        await runner.cleanup()


async def test_a_page_signs_in_watches_votes_and_reads_why_it_is_refused(
    system: RunningSystem, browser: Browser, node_scripts: Scripts, tmp_path: Path
) -> None:
    market_id = new_market_id()
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
    bundle = build_web_client(node_scripts, tmp_path)
    given = {"url": system.connection["envoy_url"], "marketId": market_id}
    async with page(bundle, given) as (url, outcome):
        with browser.opened(url):
            seen = await asyncio.wait_for(outcome, OUTCOME_S_MAX)
    assert seen == {
        "nobody": {"code": "Unauthenticated", "reasons": ["TOKEN_MISSING"]},
        "first": "snapshot",
        "counted": 1,
        "change": "VOTE_UPDATE",
        "resumedTheSame": True,
        "second": {"code": "AlreadyExists", "reasons": ["ALREADY_VOTED"]},
        "tally": {"likes": 1, "dislikes": 0},
    }
