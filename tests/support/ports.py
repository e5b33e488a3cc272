"""A port on which nobody listens and which nobody else is given."""

import pytest

from app.embedded import free_port


@pytest.fixture
def unused_tcp_port() -> int:
    """Takes the place of pytest-asyncio's, whose port is anybody's again before the test looks at it."""
    return free_port()
