"""An ended connection leaves nothing behind: neither memory nor, for a client that reads nothing, a place."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.bridge import RunningBridge, running_bridge
from tests.support.eventually import eventually_async
from tests.support.feed import MARKET, Book
from tests.support.valkey import ValkeyServer
from ws_bridge.sockets import PingedConnection

PATH = f"/ws?channels=market_{MARKET}"
JOINED = ("WELCOME", "SUBSCRIPTION_CONFIRMED", "SNAPSHOT")


@pytest.fixture
async def running(valkey: ValkeyServer) -> AsyncIterator[RunningBridge]:
    book = Book()
    book.open(f"market_{MARKET}")
    async with running_bridge(valkey, book) as running:
        yield running


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed from now on was in no circle."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def no_connection_is_held() -> bool:
    return not any(type(each) is PingedConnection for each in gc.get_objects())


@pytest.mark.usefixtures("no_collector")
async def test_a_client_that_says_goodbye_is_freed_without_the_collector(running: RunningBridge) -> None:
    async with running.browser(PATH) as browser:
        await browser.expect(*JOINED)
        assert not await no_connection_is_held()
    await eventually_async(no_connection_is_held)


@pytest.mark.usefixtures("no_collector")
async def test_a_client_whose_line_breaks_is_freed_without_the_collector(running: RunningBridge) -> None:
    async with running.browser(PATH) as browser:
        await browser.expect(*JOINED)
        browser.socket.transport.abort()
    await eventually_async(no_connection_is_held)


@pytest.mark.usefixtures("no_collector")
async def test_a_client_without_a_token_or_with_a_wrong_path_is_freed_without_the_collector(
    running: RunningBridge,
) -> None:
    async with running.browser(PATH, bearer="forged") as browser:
        assert (await browser.closed())[0] == 4001
    with pytest.raises(InvalidStatus):
        await connect(running.url + "/elsewhere")
    await eventually_async(no_connection_is_held)
