"""The page at `/`: a newcomer sees markets, and one of them live, without signing in."""

from __future__ import annotations

from typing import Any

from solders.keypair import Keypair

from tests.support.browser import Browser, browser
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, create_markets, new_market_id

__all__ = ["browser"]

START_S_MAX = 60.0
VERSION = "Number(document.getElementById('version').textContent)"
SEEN = "[document.getElementById('light').textContent, document.getElementById('proposal').textContent]"


async def test_a_newcomer_sees_a_market_live_in_a_browser(system: RunningSystem, browser: Browser) -> None:
    market_id = new_market_id()
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        voters = [system.token(Keypair()) for _ in range(3)]
        await doors.cast(voters[0], market_id, "like")

        async def page_shows(script: str, wanted: Any) -> bool:
            return bool(await browser.evaluate(script) == wanted)

        with browser.opened(system.connection["envoy_url"]):
            buttons = "[...document.querySelectorAll('#markets button')]"
            choose = f"{buttons}.some((one) => one.title === '{market_id}' && !one.click())"
            await eventually_async(lambda: page_shows(choose, True), START_S_MAX)
            # live is the answer's beginning; what is cast before its snapshot is in it, and no change
            await eventually_async(lambda: page_shows(f"{VERSION} > 0", True), START_S_MAX)
            await eventually_async(lambda: page_shows(SEEN, ["live", "1 like, 0 dislike, 100 %"]), START_S_MAX)
            await doors.cast(voters[1], market_id, "like")
            await doors.cast(voters[2], market_id, "dislike")
            await eventually_async(lambda: page_shows(SEEN, ["live", "2 like, 1 dislike, 66.66 %"]), START_S_MAX)
            lines = "document.querySelectorAll('#log > div').length"
            assert await browser.evaluate(lines) == 2
            await browser.evaluate(f"proposalBar(0, 0, 0); show({{ snapshot: {{ market_id: '{market_id}' }} }})")
            await eventually_async(lambda: page_shows(SEEN, ["live", "2 like, 1 dislike, 66.66 %"]), START_S_MAX)
