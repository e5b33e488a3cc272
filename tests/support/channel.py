"""The shard's end of a channel, in a thread of its own: answers batches as a test says."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable

from actors.channel import Channel
from actors.frames import ADMITTED_PACKAGES, SealedPickle
from actors.messages import Answer, Batch, Result
from domain.outcomes import VoteTaken
from domain.tally import Tally

TAKEN = VoteTaken("id", Tally(), False, 1, b"leaf")
LOOK_S = 0.01


def seal(secret: bytes = b"s" * 32) -> SealedPickle:
    return SealedPickle(secret, ADMITTED_PACKAGES)


class Shard:
    """`answer` says what comes of each command of a batch, None for no result at all."""

    def __init__(self, sealed: SealedPickle | None = None) -> None:
        self.channel = Channel("127.0.0.1", sealed or seal())
        self.door = self.channel.place
        self.received: list[Batch] = []
        self.answer: Callable[[Batch], Answer | None] = lambda _: TAKEN
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """As a process ends: its connections with it."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            ready = select.select(self.channel.descriptors, [], [], LOOK_S)[0]
            for line, batch in self.channel.read(ready):
                self.received.append(batch)
                answer = self.answer(batch)
                if answer is not None:
                    self.channel.answer(line, Result(batch.batch_id, (answer,) * len(batch.commands)))
        self.channel.close()
