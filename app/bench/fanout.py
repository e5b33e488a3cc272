"""`zmart bench fanout`: one market's updates to thousands of browsers, ours against npm's `ws` in the same broadcast.

Half of the connections subscribe to one market; two updates a second, then ten at once twice a second. Ours is the
bridge with its stream, snapshots and numbering; the baseline sends the same texts and knows nothing. What is compared
is the messages that one second of the server's CPU delivers.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.typing import EncodableT, FieldT

from app.bench.fanout_load import CHANNEL
from app.bench.harness import Figures, Report, Shape, in_turns, percentiles, worst
from app.bench.node import node_command
from app.bench.processes import busy_s, resident_kib
from app.embedded.valkey import EmbeddedValkey
from app.exec_child import guarded
from app.runner import Runner
from ws_bridge import FEED_STREAM, frames
from ws_bridge.ports import FeedEntry

SHAPE = Shape(seconds=10.0, rounds=1, connections=10_000)
LOADS = 2
TOGETHER = 10
"""Updates of one tick in the second case."""
UPDATE_EVERY_S = 0.5
SETTLE_S = 1.0
KEPT = Path(".zmart") / "bench"


@dataclass
class Served:
    """One server under load."""

    process: subprocess.Popen[str]
    port: int
    publish: Callable[[Sequence[FeedEntry]], None]
    loads: list[subprocess.Popen[str]] = field(default_factory=list)
    seq: int = 0

    def fill(self, connections: int) -> float:
        """Open every connection; KiB of memory for each."""
        before = resident_kib(self.process.pid)
        each = connections // LOADS
        for _ in range(LOADS):
            arguments = [self.port, each, each // 2]
            self.loads.append(_python("app.bench.fanout_load", *map(str, arguments)))
        for load in self.loads:
            _answer(load)
        time.sleep(SETTLE_S)
        return (resident_kib(self.process.pid) - before) / connections

    def run(self, seconds: float, together: int) -> Figures:
        """Updates for some time; what they cost and how long they took."""
        self.ask()
        spent_s = busy_s(self.process.pid)
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            self.publish([self.update() for _ in range(together)])
            time.sleep(UPDATE_EVERY_S)
        time.sleep(SETTLE_S)
        spent_s = busy_s(self.process.pid) - spent_s
        answers = self.ask()
        messages = sum(answer["messages"] for answer in answers)
        waits_s = [wait / 1e9 for answer in answers for wait in answer["waits_ns"]]
        closed = sum(answer["closed"] for answer in answers)
        cost = round(spent_s * 1e6 / max(messages, 1), 3)
        each = {"messages_per_cpu_s": round(messages / max(spent_s, 0.01)), "cpu_us_per_message": cost}
        return {**each, "messages": messages, "closed": closed, **percentiles(waits_s)}

    def update(self, padding: str = "") -> FeedEntry:
        """The market's next message; `padding` makes it bigger."""
        self.seq += 1
        payload = {
            "market_id": CHANNEL.removeprefix("market_"),
            "vote_type": "proposal",
            "likes": self.seq,
            "dislikes": 3,
            "percentage_bps": 7000,
            "sent_ns": time.time_ns(),
            "end": padding,
        }
        return FeedEntry(CHANNEL, "bench", self.seq, "VOTE_UPDATE", "2026-01-01T00:00:00.000Z", json.dumps(payload))

    def ask(self) -> list[Figures]:
        """What came to each process of clients since it was asked last."""
        return self.tell("?")

    def tell(self, line: str) -> list[Figures]:
        """A line for every process of clients; their answers."""
        for load in self.loads:
            assert load.stdin is not None
            load.stdin.write(f"{line}\n")
            load.stdin.flush()
        return [_answer(load) for load in self.loads]


def measure(shape: Shape) -> Report:
    """Both cases; each server is filled once for both, ours and the baseline in turns."""
    cases = {"one": dict[str, list[Figures]](), "ten": dict[str, list[Figures]]()}
    for _ in range(shape.rounds):
        for name, server in (("baseline", _ws), ("ours", bridge_served)):
            with server() as running:
                kib = round(running.fill(shape.connections), 1)
                for case, together in (("one", 1), ("ten", TOGETHER)):
                    figures = {**running.run(shape.seconds, together), "kib_per_connection": kib}
                    cases[case].setdefault(name, []).append(figures)
    return worst({case: _report(shape.rounds, runs) for case, runs in cases.items()})


def _report(rounds: int, runs: dict[str, list[Figures]]) -> Report:
    ours, baseline = iter(runs["ours"]), iter(runs["baseline"])
    return in_turns("fanout", "messages_per_cpu_s", rounds, lambda: next(ours), lambda: next(baseline))


@contextlib.contextmanager
def bridge_served() -> Iterator[Served]:
    """The bridge in a process of its own, over a stream of its own."""
    with tempfile.TemporaryDirectory(prefix="zmart-bench-") as folder:
        valkey, runner = EmbeddedValkey(Path(folder)), Runner("bench", Path(folder))
        runner.start(valkey.role())
        client = redis.Redis.from_url(valkey.url)

        def publish(entries: Sequence[FeedEntry]) -> None:
            pipeline = client.pipeline()
            for entry in entries:
                pipeline.xadd(FEED_STREAM, _fields(entry))
            pipeline.execute()

        try:
            with _serving(_python("app.bench.fanout_bridge", valkey.url), publish) as server:
                yield server
        finally:
            client.close()
            runner.stop()


@contextlib.contextmanager
def _ws() -> Iterator[Served]:
    process = _started(node_command(KEPT))

    def publish(entries: Sequence[FeedEntry]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps([frames.numbered(entry, entry.channel, entry.seq) for entry in entries]) + "\n")
        process.stdin.flush()

    with _serving(process, publish) as server:
        yield server


@contextlib.contextmanager
def _serving(process: subprocess.Popen[str], publish: Callable[[Sequence[FeedEntry]], None]) -> Iterator[Served]:
    server: Served | None = None
    try:
        assert process.stdout is not None
        server = Served(process, int(process.stdout.readline()), publish)
        yield server
    finally:
        for each in [process, *(server.loads if server else ())]:
            each.kill()
            each.communicate()


def _fields(entry: FeedEntry) -> dict[FieldT, EncodableT]:
    return {
        "channel": entry.channel,
        "epoch": entry.epoch,
        "seq": entry.seq,
        "type": entry.type,
        "timestamp": entry.timestamp,
        "payload": entry.payload_json,
    }


def _python(module: str, *arguments: str) -> subprocess.Popen[str]:
    return _started([sys.executable, "-m", module, *arguments])


def _started(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(guarded(command, signal.SIGKILL), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _answer(load: subprocess.Popen[str]) -> Figures:
    assert load.stdout is not None
    answer: Figures = json.loads(load.stdout.readline())
    return answer
