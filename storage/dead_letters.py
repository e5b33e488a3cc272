"""What the indexer gave up: listed for operators, and put back where it came from when they say so."""

from collections.abc import Sequence

from domain.indexed import DeadLetter, LetterKind
from storage import codec, index_codec
from storage.database import Database, OpenTransaction

PAGE_MAX = 1000


class DeadLetters:
    """Raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, after: int = 0, limit: int = PAGE_MAX) -> Sequence[DeadLetter]:
        """Up to `limit` letters after a number that were not replayed, oldest first."""
        rows = await self._database.fetch("dead_letters", after, min(limit, PAGE_MAX))
        return [index_codec.letter_of(row) for row in rows]

    async def replay(self, letter_id: int) -> bool:
        """Put a letter back, once; False when there is none, or it was replayed before."""
        async with self._database.transaction() as opened:
            rows = await opened.fetch("mark_replayed", letter_id)
            for row in rows:
                await _put_back(opened, LetterKind(row["kind"]), row["body"])
        return bool(rows)


async def _put_back(opened: OpenTransaction, kind: LetterKind, body: bytes) -> None:
    match kind:
        case LetterKind.WEBHOOK:
            await opened.fetch("put_bodies", "replay", [body], [None])
        case LetterKind.TRANSACTION:
            await opened.fetch("want_transactions", *codec.columns([(body.decode(), None, "replay")]), 0.0)
        case LetterKind.EFFECT:
            row = index_codec.effect_row(index_codec.effect_of_body(body))
            await opened.fetch("add_effects", *codec.columns([row]))
