"""Real receivers of alerts on loopback: an HTTP endpoint that answers as it is told, and an SMTP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

SLACK_SECRET = "T0AAAAAAA/B0BBBBBBB/sUperSecretTokenOfSlack1"
ROUTING_KEY = "R0utingKeyOfPagerDuty0123456789x"
BEARER = "bearer-secret-of-the-webhook"
PASSWORD = "mail-pass-word"
SECRETS = (*SLACK_SECRET.split("/"), ROUTING_KEY, BEARER, PASSWORD)


class Receiver:
    """Keeps what was posted. `status` is the next answer's; `gate`, while closed, lets nobody have an answer."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.posts.append((request.path_qs, dict(request.headers), json.loads(await request.read())))
        await self.gate.wait()
        headers = {"Location": f"{self.url}/elsewhere"} if self.status in (302, 307) else {"Retry-After": "30"}
        return web.Response(status=self.status, text="ok", headers=headers)

    def texts(self) -> list[str]:
        """What Slack would show of each post to it."""
        bodies = [body for path, _, body in self.posts if path.startswith("/services/")]
        return [f"{part['title']}\n{part['text']}" for body in bodies for part in body["attachments"]]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    receiver.gate.set()
    await runner.cleanup()


class Mailbox:
    """Keeps what was mailed; `refusal`, if set, is the answer to every message instead."""

    def __init__(self) -> None:
        self.letters: list[tuple[list[str], Message]] = []
        self.refusal: str | None = None
        self.port = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refusal is not None:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        self.letters.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return "250 taken"


class _Listening(Controller):
    """aiosmtpd's own, on a port that the kernel chooses; its probe of the port it asked for would meet port 0."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    controller = _Listening(mailbox, hostname="127.0.0.1", port=0)
    controller.start()
    mailbox.port = controller.port
    yield mailbox
    controller.stop()


@pytest.fixture
def secret_files(tmp_path: Path) -> Path:
    """A folder for a rules file and its secrets."""
    for name, secret in (("routing_key", ROUTING_KEY), ("bearer", BEARER), ("password", PASSWORD)):
        (tmp_path / name).write_text(f"{secret}\n")
    return tmp_path
