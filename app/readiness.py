"""When a role that `zmart up` started is ready; until then its probe raises NotReady or OSError."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from app.config import Settings
from app.connection import at
from app.embedded.loopback import LOOPBACK
from app.identities import webhook_secrets
from app.pids import PROBE_S, is_alive, read_status
from app.roles import INDEXER_STATUS_FILE
from app.roles_actors import STATUS_FILE
from app.runner import NotReady

log = structlog.get_logger("up")
WEBHOOK_PATH = "/webhooks/events"


class Probes:
    """Asks each role in its own way."""

    def __init__(self, settings: Settings, data_dir: Path) -> None:
        """`settings` carries the run id that actors and indexer write down."""
        self._settings = settings
        self._data_dir = data_dir

    def ledger(self) -> None:
        """The local ledger calls itself healthy."""
        if self._ask_ledger("getHealth").get("result") != "ok":
            raise NotReady("the ledger is not healthy yet")

    def _ask_ledger(self, method: str, *params: str) -> dict[str, Any]:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self._settings.rpc_url, body, headers)  # noqa: S310  # our own http URL
        with urllib.request.urlopen(request, timeout=PROBE_S) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
        return answer

    def register_webhook(self) -> None:
        """Have the local ledger post to our front door, as Helius would; without it the sweep finds everything."""
        url = f"http://{at(self._settings, 'envoy')}{WEBHOOK_PATH}"
        try:
            answer = self._ask_ledger("zmart_setWebhook", url, webhook_secrets(self._settings)[0])
        except OSError as error:
            answer = {"error": str(error)}
        if "error" in answer:
            log.warning("webhook not registered", error=answer["error"])

    def indexer(self) -> None:
        """This run's indexer has written its status and lives."""
        status = read_status(self._data_dir / INDEXER_STATUS_FILE)
        if status.get("run_id") != self._settings.run_id or not is_alive(status["pid"]):
            raise NotReady("the indexer is not up yet")

    def metrics(self) -> None:
        """The exporter answers a scrape."""
        with urllib.request.urlopen(f"http://{at(self._settings, 'metrics')}/metrics", timeout=PROBE_S):
            pass

    def envoy(self) -> None:
        """Envoy calls itself live; its admin interface listens on the loopback whatever the host is."""
        port = self._settings.ports.envoy_admin
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/ready", timeout=PROBE_S):
            pass

    def actors(self) -> None:
        """This run's actor tree has written its status."""
        if read_status(self._data_dir / STATUS_FILE).get("run_id") != self._settings.run_id:
            raise NotReady("the actor tree is not up yet")

    def grpc(self) -> None:
        """grpc.health.v1 answers SERVING."""
        with grpc.insecure_channel(at(self._settings, "grpc")) as channel:
            try:
                health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PROBE_S)
            except grpc.RpcError as error:
                raise NotReady(str(error.code())) from error
        if health.status != health_pb2.HealthCheckResponse.SERVING:
            raise NotReady("not serving yet")

    def bridge(self) -> None:
        """The bridge answers its health check."""
        with urllib.request.urlopen(f"http://{at(self._settings, 'bridge')}/healthz", timeout=PROBE_S):
            pass
