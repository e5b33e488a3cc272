"""What PostgreSQL announces, for whoever waits for it."""

import asyncio

import asyncpg

from storage.outages import TROUBLE, outages
from storage.session import COMMAND_TIMEOUT_S, CONNECT_TIMEOUT_S, SHARED_SETTINGS


class News:
    """Listens on one channel, on a connection of its own; a hint, for what is announced to nobody is lost."""

    def __init__(self, database_url: str, channel: str, application_name: str) -> None:
        self._database_url = database_url
        self._channel = channel
        self._application_name = application_name
        self._listener: asyncpg.Connection | None = None
        self._news = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be news, or after `timeout_s`; safe to cancel. Raises StorageUnavailable.

        Returns at once after (re)connecting, for what was announced while nobody listened.
        """
        if self._listener is None or self._listener.is_closed():
            await self._listen()
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def close(self) -> None:
        """Stop listening."""
        listener, self._listener = self._listener, None
        if listener is not None:
            try:
                await listener.close(timeout=CONNECT_TIMEOUT_S)
            except TROUBLE:
                listener.terminate()

    async def _listen(self) -> None:
        with outages("listen"):
            listener = await asyncpg.connect(
                self._database_url,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                server_settings={**SHARED_SETTINGS, "application_name": self._application_name},
            )
            try:
                await listener.add_listener(self._channel, lambda *_: self._news.set())
            except BaseException:
                listener.terminate()
                raise
        listener.add_termination_listener(lambda *_: self._news.set())
        self._listener = listener
        self._news.clear()
