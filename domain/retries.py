"""How long to wait after a failed attempt (T14)."""

from __future__ import annotations

import zlib

RETRY_DELAYS_S = (300, 600, 1200)
"""Wait after the first, second and third failure in a row."""
HOURLY_S = 3_600
"""Wait after every further one; a person is called with the first of these."""
JITTER_PARTS = 10
"""Up to a tenth of the wait comes on top, so that markets which failed together do not come back together."""


def retry_delay_s(failures: int, intent_id: str) -> int:
    """Seconds to wait after `failures` in a row; the same for the same attempt, so that a replay decides the same."""
    assert failures > 0
    delay_s = HOURLY_S if calls_for_help(failures) else RETRY_DELAYS_S[failures - 1]
    return delay_s + zlib.crc32(intent_id.encode()) % (delay_s // JITTER_PARTS + 1)


def calls_for_help(failures: int) -> bool:
    """Whether that many failures in a row are more than retries can be trusted with."""
    return failures > len(RETRY_DELAYS_S)
