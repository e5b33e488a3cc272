"""What Prometheus hears of the actors. A batch costs five writes to mapped memory, whatever it holds; a vote none."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from actors.messages import Answer
from domain.commands import CastVote

VOTES = Counter("zmart_votes", "Votes through the API, by how they were answered.", ["vote_type", "outcome"])
BATCH_COMMANDS = Histogram(
    "zmart_batch_commands", "Commands of one batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
)
BATCH_S = Histogram(
    "zmart_batch_duration_seconds",
    "From a batch's arrival in its shard to its commit.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1, 2, 5),
)
ACTOR_RESTARTS = Counter("zmart_actor_restarts", "Processes of actors that were lost after they had come up.")
SHARD_LAG_S = Gauge("zmart_shard_lag_seconds", "How late a shard came to its last turn.", multiprocess_mode="livemax")


def note_batch(commands: Sequence[object], answers: Sequence[Answer], took_s: float) -> None:
    """A batch was answered."""
    BATCH_COMMANDS.observe(len(commands))
    BATCH_S.observe(took_s)
    votes = Tally(
        (command.vote_type.value, type(answer).__name__)
        for command, answer in zip(commands, answers, strict=True)
        if isinstance(command, CastVote)
    )
    for (vote_type, outcome), count in votes.items():
        VOTES.labels(vote_type, outcome).inc(count)
