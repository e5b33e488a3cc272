"""Headless Chromium for tests: Debian's `chromium-headless-shell`, or whatever ZMART_CHROMIUM names."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets

NAMES = ("chromium-headless-shell", "chromium", "chrome-headless-shell", "google-chrome")
STOP_S_MAX = 30
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
)


@dataclass(frozen=True)
class Browser:
    """A Chromium with a profile of its own."""

    program: str
    profile: Path

    @contextmanager
    def opened(self, url: str, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
        """Show a page until the block ends; the browser's own words stand in browser.log beside the profile."""
        with (self.profile.parent / "browser.log").open("ab") as log:
            shown = subprocess.Popen(
                self.argv(url, flags), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        try:
            yield shown
        finally:
            _end(shown)

    async def evaluate(self, script: str) -> Any:
        """What a script's value is in the page that is shown; None as long as there is no page to ask."""
        port = self._devtools_port()
        if port is None:
            return None
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [target for target in await answer.json() if target["type"] == "page"]
        if not pages:
            return None
        async with websockets.connect(pages[0]["webSocketDebuggerUrl"], proxy=None, max_size=None) as devtools:
            asked = {"id": 1, "method": "Runtime.evaluate", "params": {"expression": script, "returnByValue": True}}
            await devtools.send(json.dumps(asked))
            told = json.loads(await devtools.recv())  # an error while the page comes
            return told.get("result", {}).get("result", {}).get("value")

    def _devtools_port(self) -> str | None:
        """None until the browser listens and has written its file to the end: the port, then a path."""
        file = self.profile / "DevToolsActivePort"
        port, ended, path = file.read_text().partition("\n") if file.exists() else ("", "", "")
        return port if ended and path else None

    def argv(self, url: str, flags: Sequence[str] = ()) -> list[str]:
        # A debugging port keeps the headless shell from ending with the page's load; 0 takes a free one.
        return [self.program, *_FLAGS, "--remote-debugging-port=0", f"--user-data-dir={self.profile}", *flags, url]


def _end(shown: subprocess.Popen[bytes]) -> None:
    """End all of its group: Debian's program is a shell script, which would leave the browser that it started behind.

    Its profile is the test's own, so what it has not written down is no loss.
    """
    os.killpg(shown.pid, signal.SIGTERM)
    try:
        shown.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(shown.pid, signal.SIGKILL)
        shown.wait()


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """A browser; without one the test is skipped, except in CI, which installs it or says why it could not."""
    found = os.environ.get("ZMART_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        assert not os.environ.get("CI") or os.environ.get("ZMART_WITHOUT_BROWSER"), (
            f"CI needs one of {', '.join(NAMES)}"
        )
        pytest.skip("no Chromium here; Debian has it as chromium-headless-shell")
    return Browser(found, tmp_path / "profile")
