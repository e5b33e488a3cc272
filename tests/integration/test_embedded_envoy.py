"""Envoy as our own child: native gRPC, grpc-web and WebSocket through one port, in front of real servers."""

import asyncio
import struct
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import grpc
import pytest
import websockets
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from app.embedded import EmbeddedEnvoy, Endpoint, free_port
from app.runner import Runner, StartFailed
from tests.support.eventually import WAIT_S_MAX

LOOPBACK = "127.0.0.1"
CHECK_PATH = "/grpc.health.v1.Health/Check"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(f"test-{uuid.uuid4()}", tmp_path / "logs")
    yield runner
    runner.stop()


@pytest.fixture
def grpc_port() -> int:
    return free_port()


@pytest.fixture
def bridge_port() -> int:
    return free_port()


@pytest.fixture
def envoy(runner: Runner, tmp_path: Path, grpc_port: int, bridge_port: int) -> EmbeddedEnvoy:
    envoy = EmbeddedEnvoy(tmp_path / "data", Endpoint(LOOPBACK, grpc_port), Endpoint(LOOPBACK, bridge_port))
    runner.start(envoy.role())
    return envoy


@pytest.fixture
async def grpc_server(grpc_port: int) -> AsyncIterator[None]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(f"{LOOPBACK}:{grpc_port}")
    await server.start()
    yield
    await server.stop(grace=None)


@pytest.fixture
async def bridge(bridge_port: int) -> AsyncIterator[None]:
    async def echo_path(connection: websockets.ServerConnection) -> None:
        assert connection.request is not None
        async for message in connection:
            await connection.send(f"{connection.request.path} {message!s}")

    async with websockets.serve(echo_path, LOOPBACK, bridge_port):
        yield


def http(
    port: int, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(LOOPBACK, port, timeout=WAIT_S_MAX)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_the_configuration_is_valid_and_every_name_in_it_is_filled(tmp_path: Path) -> None:
    envoy = EmbeddedEnvoy(tmp_path, Endpoint("grpc", 50051), Endpoint("bridge", 3001), Endpoint("::", 8080), 9901)
    envoy.write_config()
    done = subprocess.run(envoy.argv("--mode", "validate"), capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"configuration '{envoy.config_file}' OK")
    assert "$" not in envoy.config_file.read_text()


async def test_native_grpc_reaches_the_server(envoy: EmbeddedEnvoy, grpc_server: None) -> None:
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{envoy.listen.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S_MAX, wait_for_ready=True)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_grpc_web_reaches_the_server_and_its_trailers_come_back_in_the_body(
    envoy: EmbeddedEnvoy, grpc_server: None
) -> None:
    empty_message = struct.pack(">BI", 0, 0)
    headers = {"content-type": "application/grpc-web+proto", "origin": "http://localhost:5173"}
    response, body = await asyncio.to_thread(http, envoy.listen.port, "POST", CHECK_PATH, headers, empty_message)
    assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
    serving = struct.pack(">BI", 0, 2) + b"\x08\x01"  # a data frame: status, field 1, is 1
    trailers = b"grpc-status:0\r\ngrpc-message:\r\n"
    assert (response.status, body) == (200, serving + struct.pack(">BI", 0x80, len(trailers)) + trailers)


def test_a_page_of_another_site_gets_no_permission(envoy: EmbeddedEnvoy) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-grpc-web"}
    ours, _ = http(envoy.listen.port, "OPTIONS", CHECK_PATH, {"origin": "http://127.0.0.1:8080", **asked})
    theirs, _ = http(envoy.listen.port, "OPTIONS", CHECK_PATH, {"origin": "http://localhost.evil.example", **asked})
    assert ours.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"
    assert "x-grpc-web" in ours.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in theirs.headers


def test_pages_of_the_origins_that_were_named_may_call_and_no_others(runner: Runner, tmp_path: Path) -> None:
    nobody = Endpoint(LOOPBACK, free_port())
    envoy = EmbeddedEnvoy(tmp_path / "data", nobody, nobody, origins=("https://zmart.example", "http://[::1]:5173"))
    runner.start(envoy.role())
    asked = {"access-control-request-method": "POST"}
    for origin in ("https://zmart.example", "http://[::1]:5173"):
        answer, _ = http(envoy.listen.port, "OPTIONS", CHECK_PATH, {"origin": origin, **asked})
        assert answer.headers["access-control-allow-origin"] == origin
    for origin in ("https://zmart-example", "https://zmart.example.evil", "http://localhost:5173"):
        answer, _ = http(envoy.listen.port, "OPTIONS", CHECK_PATH, {"origin": origin, **asked})
        assert "access-control-allow-origin" not in answer.headers, origin


@pytest.mark.parametrize("text", ["*", "zmart.example", "https://a'b", "https://zmart.example/path", ".*"])
def test_what_is_no_origin_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    nobody = Endpoint(LOOPBACK, 1)
    with pytest.raises(ValueError, match="is no origin"):
        EmbeddedEnvoy(tmp_path, nobody, nobody, origins=(text,))


@pytest.mark.parametrize("path", ["/ws?channels=a,b", "/markets/abc/voting"])
async def test_websockets_reach_the_bridge(envoy: EmbeddedEnvoy, bridge: None, path: str) -> None:
    async with websockets.connect(f"ws://{LOOPBACK}:{envoy.listen.port}{path}", proxy=None) as connection:
        await connection.send("hello")
        assert await connection.recv() == f"{path} hello"


async def test_websockets_are_not_opened_elsewhere(envoy: EmbeddedEnvoy, bridge: None, grpc_server: None) -> None:
    with pytest.raises(websockets.InvalidStatus):
        async with websockets.connect(f"ws://{LOOPBACK}:{envoy.listen.port}{CHECK_PATH}", proxy=None):
            pass


def test_a_missing_server_is_unavailable_and_an_unknown_path_not_found(envoy: EmbeddedEnvoy) -> None:
    unavailable, _ = http(envoy.listen.port, "POST", CHECK_PATH, {"content-type": "application/grpc-web+proto"})
    bridge, _ = http(envoy.listen.port, "GET", "/ws", {})
    unknown, _ = http(envoy.listen.port, "GET", "/nowhere", {})
    assert unavailable.headers["grpc-status"] == str(grpc.StatusCode.UNAVAILABLE.value[0])
    assert (bridge.status, unknown.status) == (503, 404)


def test_a_second_envoy_on_the_same_port_is_refused_instead_of_sharing_it(envoy: EmbeddedEnvoy, tmp_path: Path) -> None:
    second = EmbeddedEnvoy(tmp_path / "second", *envoy._upstreams, listen=envoy.listen)
    with pytest.raises(StartFailed, match="Address already in use"):
        Runner(f"test-{uuid.uuid4()}", tmp_path / "second").start(second.role())
