"""An HTTP proxy in front of a ledger that loses, swallows, delays and refuses what a test names."""

import base64
import contextlib
import enum
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from aiohttp import web
from solders.transaction import VersionedTransaction


class Fault(enum.Enum):
    """What happens to one request."""

    LOSE_ANSWER = "the node does its work, the connection breaks before the answer"
    SWALLOW_SEND = "the node answers with the signature and forgets the transaction"
    UNAVAILABLE = "HTTP 503"
    RATE_LIMIT = "HTTP 429 with Retry-After 7"
    GARBAGE = "HTTP 200 with a page of HTML"


class RpcProxy:
    """Forwards to `target`; `seen` lists every method asked for, `sent` every transaction handed in."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.seen: list[str] = []
        self.sent: list[str] = []
        self._faults: dict[str, tuple[Fault, int]] = {}
        self._client = httpx.AsyncClient()

    def fail(self, fault: Fault, method: str = "*", times: int = 1_000_000) -> None:
        """Let the next `times` requests of `method` meet `fault`; `*` is any method."""
        self._faults[method] = (fault, times)

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.json()
        self.seen.append(body["method"])
        if body["method"] == "sendTransaction":
            self.sent.append(body["params"][0])
        match self._next(body["method"]):
            case Fault.UNAVAILABLE:
                return web.Response(status=503)
            case Fault.RATE_LIMIT:
                return web.Response(status=429, headers={"Retry-After": "7"})
            case Fault.GARBAGE:
                return web.Response(text="<html>maintenance</html>", content_type="text/html")
            case Fault.SWALLOW_SEND:
                return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": _signature(body)})
            case Fault.LOSE_ANSWER:
                await self._forward(body)
                assert request.transport is not None
                request.transport.close()
        return web.Response(body=await self._forward(body), content_type="application/json")

    async def close(self) -> None:
        """Close the way to the target."""
        await self._client.aclose()

    async def _forward(self, body: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        return (await self._client.post(self.target, content=json.dumps(body), headers=headers)).content

    def _next(self, method: str) -> Fault | None:
        for name in (method, "*"):
            fault, left = self._faults.get(name, (None, 0))
            if fault is not None and left:
                self._faults[name] = (fault, left - 1)
                return fault
        return None


def _signature(body: dict[str, Any]) -> str:
    raw = base64.b64decode(body["params"][0])
    return str(VersionedTransaction.from_bytes(raw).signatures[0])


@contextlib.asynccontextmanager
async def rpc_proxy(target: str) -> AsyncIterator[RpcProxy]:
    """A proxy on a free port."""
    proxy = RpcProxy(target)
    application = web.Application()
    application.router.add_post("/", proxy.serve)
    runner = web.AppRunner(application, shutdown_timeout=1.0, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield proxy
    finally:
        await runner.cleanup()
        await proxy.close()
