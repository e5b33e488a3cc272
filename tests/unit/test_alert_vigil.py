"""Silence that is told once, and its end."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.vigil import SILENT_S, Vigil, shard_down
from domain.journal import AlertNote
from indexer.pulse import STUCK_S, Pulse


class Heard:
    """Beats of one role, and what came of them."""

    def __init__(self) -> None:
        self.age_s = 1.0
        self.said: list[str] = []

    async def ages_s(self) -> Mapping[str, float]:
        return {"indexer": self.age_s}

    async def raise_alert(self, note: AlertNote) -> None:
        self.said.append(f"{note.severity} {note.dedupe_key}")

    async def resolve_key(self, dedupe_key: str, now_s: float) -> None:
        self.said.append(f"{dedupe_key} is over")


class Places:
    """Beats of one shard; None when its place is gone."""

    age_s: float | None = None

    async def ages_s(self) -> Mapping[str, float]:
        return {} if self.age_s is None else {"local/0": self.age_s}


async def test_a_role_that_falls_silent_is_told_once_and_so_is_its_return() -> None:
    heard = Heard()
    vigil = Vigil(heard, heard)
    for age_s in (1.0, SILENT_S + 1, SILENT_S + 9, 2.0, 3.0):
        heard.age_s = age_s
        await vigil.look(0)
    over = "role_silent:indexer is over"
    assert heard.said == [over, "HIGH role_silent:indexer", over], "the first look ends what an earlier process said"


async def test_a_shard_that_stays_down_is_told_and_so_is_the_end_of_its_place() -> None:
    # given a shard that is up, then does not come up, while its operator takes the place away
    beats, heard = Places(), Heard()
    vigil = Vigil(beats, heard, shard_down)
    for age_s in (1.0, SILENT_S + 1, SILENT_S + 9, None, None):
        beats.age_s = age_s
        await vigil.look(0)
    over = "shard_down:local/0 is over"
    assert heard.said == [over, "HIGH shard_down:local/0", over]


def test_a_step_that_hangs_is_seen_and_one_that_may_take_long_is_not() -> None:
    now_s = [0.0]
    pulse = Pulse(lambda: now_s[0])
    with pulse.step("inbox"), pulse.step("sweep"):
        assert not pulse.stuck()
        now_s[0] = STUCK_S + 1
        with pulse.step("effects"):
            assert pulse.stuck() == ["inbox"]
    assert not pulse.stuck()
