"""Bodies as they were pushed, kept before they are answered (T29); a sample of those that were refused."""

from storage.bodies import packed
from storage.database import Database
from storage.index_codec import words

SAMPLES_MAX = 100
"""Refused bodies that are kept, the newest."""
SAMPLE_BYTES_MAX = 64 * 1024
"""Of each; enough to see what it was."""


class Inbox:
    """Raises StorageUnavailable; a body may then be stored all the same, and its repeat is harmless."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, body: bytes, traceparent: str | None = None) -> int:
        """Commit a body, with the span that it came in, and return its number."""
        (row,) = await self._database.fetch("put_body", "webhook", packed(body), traceparent)
        return int(row["id"])

    async def keep_sample(self, body: bytes, why: str) -> None:
        """Keep the beginning of a body that was refused."""
        await self._database.fetch("keep_sample", body[:SAMPLE_BYTES_MAX], words(why), SAMPLES_MAX)
