"""When a delivery is tried again: pure figures."""

from __future__ import annotations

import random

RETRY_S_FIRST = 5.0
RETRY_S_MAX = 900.0
RATE_LIMITED_S_MIN = 60.0
"""After a 429. Apprise hides Retry-After; Slack and PagerDuty count by the minute, and ask for one at most."""
GIVE_UP_S = 86_400.0
"""A delivery that did not go out in a day is no news any more; the alert itself stays."""
JITTER = 0.2
_DOUBLINGS_MAX = 10


def retry_after_s(attempts: int, rate_limited: bool, chance: random.Random) -> float:
    """Seconds until the next attempt after so many: 5, 10, 20 ... 900, each up to a fifth longer, so that they part."""
    wait_s = min(RETRY_S_FIRST * 2.0 ** min(max(attempts - 1, 0), _DOUBLINGS_MAX), RETRY_S_MAX)
    if rate_limited:
        wait_s = max(wait_s, RATE_LIMITED_S_MIN)
    return wait_s * (1 + JITTER * chance.random())
