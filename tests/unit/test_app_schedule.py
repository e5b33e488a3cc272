"""The aggregation grid is a cron expression in UTC."""

import pytest

from app.schedule import CronSchedule
from tests.support.markets import NOON_S


def test_the_default_grid_has_an_instant_every_five_minutes() -> None:
    grid, at_s, instants = CronSchedule("*/5 * * * *"), NOON_S - 1, list[int]()
    for _ in range(300):
        at_s = grid.next_after(at_s)
        instants.append(at_s)
    assert instants == [NOON_S + 300 * number for number in range(300)]


@pytest.mark.parametrize(("second", "next_s"), [(-1, 0), (0, 300), (1, 300), (299, 300), (300, 600)])
def test_an_instant_is_followed_by_the_next_one(second: int, next_s: int) -> None:
    assert CronSchedule("*/5 * * * *").next_after(NOON_S + second) == NOON_S + next_s


def test_the_grid_is_the_same_whatever_was_asked_before() -> None:
    grid = CronSchedule("*/5 * * * *")
    asked = [NOON_S + second for second in (1_000, 5, 299, 300, 86_400, 0)]
    assert [grid.next_after(at_s) for at_s in asked] == [at_s // 300 * 300 + 300 for at_s in asked]


@pytest.mark.parametrize("expression", ["", "five minutes", "*/5 * * *", "99 * * * *"])
def test_what_is_no_cron_expression_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="not a cron expression"):
        CronSchedule(expression)
