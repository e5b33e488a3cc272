"""Random transaction logs of which we know, from the tree they were made of, what is ours and what is forged."""

import base64
import random
from dataclasses import dataclass, field

OURS = "6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw"
OTHERS = (
    "11111111111111111111111111111111",
    "ComputeBudget111111111111111111111111111111",
    "6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxx",
    "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
)
DEPTH_MAX = 5
MARK = "Log truncated"


@dataclass
class Log:
    """A transaction's log, and the data that our own frames put into it."""

    lines: list[str] = field(default_factory=list)
    ours: list[bytes] = field(default_factory=list)
    origins: list[bytes | None] = field(default_factory=list)
    """For each line, the bytes of ours that it carries."""

    def add(self, line: str, ours: bytes | None = None) -> None:
        self.lines.append(line)
        self.origins.append(ours)
        if ours is not None:
            self.ours.append(ours)

    def cut(self, limit_bytes: int) -> "Log":
        """What a node keeps of it: a line that does not fit is dropped, one mark is written, shorter ones still fit."""
        kept, used, is_marked = Log(), 0, False
        for line, ours in zip(self.lines, self.origins, strict=True):
            if used + len(line.encode()) >= limit_bytes:
                if not is_marked:
                    kept.add(MARK)
                is_marked = True
                continue
            used += len(line.encode())
            kept.add(line, None if is_marked else ours)
        return kept

    @property
    def is_cut(self) -> bool:
        return MARK in self.lines


def random_log(rng: random.Random) -> Log:
    """One transaction of one to three top-level instructions."""
    log = Log()
    for _ in range(rng.randint(1, 3)):
        _call(rng, log, 1)
    return log


def _call(rng: random.Random, log: Log, depth: int) -> None:
    program = rng.choice((OURS, OURS, *OTHERS))
    log.add(f"Program {program} invoke [{depth}]")
    for _ in range(rng.randint(0, 4)):
        if depth < DEPTH_MAX and rng.random() < 0.3:
            _call(rng, log, depth + 1)
        else:
            _speak(rng, log, program)
    if rng.random() < 0.5:
        log.add(f"Program {program} consumed {rng.randint(1, 9999)} of 200000 compute units")
    log.add(f"Program {program} success")


def _speak(rng: random.Random, log: Log, program: str) -> None:
    """A line of a program: an event, or something made to look like one of the runtime's own lines."""
    raw = rng.randbytes(rng.randint(8, 90))
    text = base64.b64encode(raw).decode()
    match rng.randint(0, 9):
        case 0 | 1 | 2 | 3:
            log.add(f"Program data: {text}", raw if program == OURS else None)
        case 4:
            log.add(f"Program log: {text}")
        case 5:
            log.add(f"Program log: Program {OURS} invoke [{rng.randint(1, 5)}]")
        case 6:
            log.add(f"Program log: x\nProgram {OURS} invoke [1]\nProgram data: {text}")
        case 7:
            log.add(f"Program data: {text} {text}")
        case 8:
            log.add(f"Program return: {program} {text}")
        case 9:
            log.add(f"Program log: {rng.choice((MARK, f'Program {OURS} success', 'Program data: ' + text))}")
