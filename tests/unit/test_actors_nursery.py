"""What the supervisor knows of its children, without any process."""

import pytest

from actors.nursery import (
    BACKOFF_S_MAX,
    BOOT_S_MAX,
    CALM_S,
    LOSSES_WITHIN_S,
    PATIENCE_S_MAX,
    SILENCE_S_MAX,
    STABLE_S,
    Child,
    shares,
)
from domain.ids import VIRTUAL_SHARDS


def serving(since_s: float = 0.0) -> Child:
    child = Child("local/0")
    child.spawned("address", since_s)
    child.serves(77, {1: 1}, since_s)
    return child


def test_a_child_that_had_served_is_replaced_at_once() -> None:
    assert serving().lost(STABLE_S) == 0.0


def test_a_child_that_never_came_up_is_tried_with_growing_pauses_up_to_a_bound() -> None:
    child, waits = Child("local/0"), []
    for _ in range(8):
        child.spawned("address", 0.0)
        waits.append(child.lost(1.0))
    assert waits[:4] == [0.04, 0.08, 0.16, 0.32]
    assert waits[-1] == BACKOFF_S_MAX


def test_a_child_that_falls_right_after_coming_up_counts_as_a_failure() -> None:
    assert serving(since_s=10.0).lost(10.0 + STABLE_S / 2) == 0.04


def test_one_that_has_served_makes_earlier_failures_forgotten() -> None:
    child = Child("local/0")
    child.spawned("address", 0.0)
    child.lost(0.0)
    child.spawned("address", 0.0)
    child.serves(77, {}, 0.0)
    assert (child.lost(60.0), child.failures) == (0.0, 0)


def test_losses_are_counted_for_ten_minutes_and_a_sound_life_does_not_forget_them() -> None:
    child = Child("local/0")
    for at_s in (0.0, 100.0, 200.0):
        child.spawned("address", at_s)
        child.serves(77, {}, at_s)
        child.lost(at_s + STABLE_S)
    child.spawned("address", 200.0 + STABLE_S)
    child.lost(200.0 + STABLE_S)  # without a database, most likely
    assert child.recent_losses(200.0 + STABLE_S) == 3
    assert child.recent_losses(100.0 + STABLE_S + LOSSES_WITHIN_S) == 2
    assert child.recent_losses(201.0 + LOSSES_WITHIN_S) == 0


@pytest.mark.parametrize(("silent_s", "overdue"), [(SILENCE_S_MAX, False), (SILENCE_S_MAX + 0.1, True)])
def test_silence_is_bounded(silent_s: float, overdue: bool) -> None:
    child = serving()
    child.heard(77, 5.0)
    assert child.overdue(5.0 + silent_s) is overdue


def test_one_after_the_other_that_was_killed_for_its_silence_is_given_twice_the_time() -> None:
    child, at_s = serving(), 5.0
    for patience_s in (2.0, 4.0, 8.0, PATIENCE_S_MAX, PATIENCE_S_MAX):
        child.heard(77, at_s)
        assert (child.overdue(at_s + patience_s), child.overdue(at_s + patience_s + 0.1)) == (False, True)
        child.killed()
        child.lost(at_s)
        child.spawned("address", at_s)
        child.serves(78, {}, at_s)
    child.heard(78, at_s + CALM_S)
    assert child.overdue(at_s + CALM_S + SILENCE_S_MAX + 0.1)


@pytest.mark.parametrize(("booting_s", "overdue"), [(BOOT_S_MAX, False), (BOOT_S_MAX + 0.1, True)])
def test_coming_up_takes_longer_but_not_for_ever(booting_s: float, overdue: bool) -> None:
    child = Child("local/0")
    child.spawned("address", 0.0)
    assert child.overdue(booting_s) is overdue


def test_an_empty_place_is_not_overdue() -> None:
    child = serving()
    child.lost(1.0)
    assert not child.overdue(1e9)
    assert child.epochs == {}


@pytest.mark.parametrize("shard_count", [1, 2, 3, 16, 64])
def test_every_virtual_shard_is_dealt_once(shard_count: int) -> None:
    dealt = shares(VIRTUAL_SHARDS, shard_count)
    assert sorted(vshard for share in dealt for vshard in share) == list(range(VIRTUAL_SHARDS))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
