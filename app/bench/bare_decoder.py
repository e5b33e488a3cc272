"""The baseline of `zmart bench index`: the log parser and the decoder on logs in memory, and nothing else.

Run as `python -m app.bench.bare_decoder FOLDER SECONDS`; prints its figures.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from app.bench.harness import Figures
from app.bench.webhook_bodies import logs_of
from chain.decoder import decode_event
from chain.events import UndecodableEvent
from chain.logs import parse_log
from chain.program import NEWEST_PROGRAM_ID


def decode(logs: list[list[str]], seconds: float) -> Figures:
    """Decode the same logs again and again for so long."""
    began_s, events = time.perf_counter(), 0
    while time.perf_counter() - began_s < seconds:
        for log in logs:
            for line in parse_log(log, NEWEST_PROGRAM_ID, has_failed=False).lines:
                assert not isinstance(decode_event(line.raw), UndecodableEvent)
                events += 1
    took_s = time.perf_counter() - began_s
    return {"events_per_s": round(events / took_s, 1), "us_per_event": round(took_s / events * 1_000_000, 2)}


if __name__ == "__main__":
    bodies = (Path(sys.argv[1]) / "bodies.jsonl").read_bytes().splitlines()
    sys.stdout.write(json.dumps(decode([log for body in bodies for log in logs_of(body)], float(sys.argv[2]))))
