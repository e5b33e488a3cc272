"""What the embedded parts need to be reachable from this machine only: ports, passwords, and a place to ask from."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
PROBE_TIMEOUT_S = 2.0
# Below Linux's ephemeral range (32768-60999): no outgoing connection of anybody can take the port before we do.
PORT_MIN, PORT_MAX = 20_000, 32_767
PORT_ATTEMPTS_MAX = 200


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on; raises OSError when 200 tries find none.

    Guarantee: while this process lives nobody else is given it here, so two that choose before either listens, in one
    process or in several, do not meet.
    """
    for _ in range(PORT_ATTEMPTS_MAX):
        port = PORT_MIN + secrets.randbelow(PORT_MAX - PORT_MIN + 1)
        if _all_taken([port]):
            return port
    raise OSError(f"no free port on {LOOPBACK} in {PORT_ATTEMPTS_MAX} attempts")


def free_port_base(count: int) -> int:
    """The first of `count` ports in a row, each as `free_port` gives it; raises OSError when 200 tries fail."""
    for _ in range(PORT_ATTEMPTS_MAX):
        base = PORT_MIN + secrets.randbelow(PORT_MAX - PORT_MIN + 2 - count)
        if _all_taken(range(base, base + count)):
            return base
    raise OSError(f"no {count} free ports in a row on {LOOPBACK} in {PORT_ATTEMPTS_MAX} attempts")


def _all_taken(ports: Sequence[int]) -> bool:
    """Take every one of the ports for this process, or none of them."""
    claims: list[socket.socket] = []
    for port in ports:
        claim = _claim(port)
        if claim is None:
            break
        claims.append(claim)
        if not _is_free(port):
            break
    else:
        for claim in claims:
            claim.detach()  # held until this process ends, however it ends
        return True
    for claim in claims:
        claim.close()
    return False


def _claim(port: int) -> socket.socket | None:
    """A name in the kernel's abstract namespace, which as the ports themselves is the machine's; None if it is held."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0zmart-port-{port}")
    except OSError:
        claim.close()
        return None
    return claim


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def kept_secret(path: Path) -> str:
    """The password kept in `path` (mode 0600), made on first use: 256 random bits, safe in a URL."""
    if not path.exists():
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        partial.replace(path)
    return path.read_text()


def run_probe(probe: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run an async probe from the synchronous runner, at most 2 s; raises what the probe raises, or TimeoutError.

    The loop is private (a loop factory keeps asyncio from touching the thread's current loop).
    """

    async def bounded() -> None:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await probe()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as loop:
        loop.run(bounded())
