"""A role that does not stay up is told, as soon as the database takes it."""

from __future__ import annotations

import pytest

from app.restarts import LOSSES_HEARD, WITHIN_S, Restarts
from domain.journal import AlertNote
from storage.outages import StorageUnavailable


class Book:
    """Where alerts go; away at will."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.is_away = False
        self.told: list[str] = []

    async def raise_alert(self, note: AlertNote) -> None:
        if self.is_away:
            raise StorageUnavailable("raise_alerts", "away")
        self.told.append(f"{note.severity} {note.dedupe_key}")


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def restarts(book: Book) -> Restarts:
    return Restarts(book.raise_alert, lambda: book.now_s)


def lost(restarts: Restarts, book: Book, times: int, every_s: float, role: str = "notifier") -> None:
    for _ in range(times):
        book.now_s += every_s
        restarts.lost(role)


async def test_the_fifth_loss_within_ten_minutes_is_told_once(restarts: Restarts, book: Book) -> None:
    lost(restarts, book, LOSSES_HEARD - 1, 100.0)
    await restarts.tell()
    assert book.told == [] and not restarts.has_news
    lost(restarts, book, 1, 100.0)
    assert restarts.has_news
    await restarts.tell()
    await restarts.tell()
    assert book.told == ["HIGH role_restarting:notifier"]


async def test_losses_that_are_far_apart_or_of_different_roles_are_not_told(restarts: Restarts, book: Book) -> None:
    lost(restarts, book, 3 * LOSSES_HEARD, WITHIN_S / (LOSSES_HEARD - 1) + 1)
    for role in ("grpc", "bridge", "alerts", "indexer", "actors"):
        lost(restarts, book, 1, 1.0, role)
    await restarts.tell()
    assert book.told == []


async def test_what_the_database_does_not_take_is_told_when_it_is_back(restarts: Restarts, book: Book) -> None:
    book.is_away = True
    lost(restarts, book, LOSSES_HEARD + 2, 1.0, "postgres")
    await restarts.tell()
    assert book.told == []
    book.is_away = False
    await restarts.tell()
    assert book.told == ["HIGH role_restarting:postgres"]
