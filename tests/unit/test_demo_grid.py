"""A system that is watched is never surprised by its own aggregation grid."""

import pytest

from app.config import Settings
from app.demo.run import far_from_grid
from app.demo.story import GRID_S
from app.schedule import CronSchedule

DAY_S = 86_400


@pytest.mark.parametrize("now_s", [DAY_S * 20_000 + offset_s for offset_s in (0, 1, 21_599, 21_600, 43_199, 64_800)])
def test_the_grid_is_far_away_whenever_a_system_begins(now_s: int) -> None:
    settings = Settings(aggregation_cron=far_from_grid(now_s)["ZMART_AGGREGATION_CRON"])
    grid = CronSchedule(settings.aggregation_cron)
    first_s = grid.next_after(now_s)
    assert 0 <= GRID_S // 2 - (first_s - now_s) < 60, "an instant is a whole minute"
    assert grid.next_after(first_s) - first_s == GRID_S
