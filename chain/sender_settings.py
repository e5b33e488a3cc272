"""How often the sender does what, and how much of it at once."""

from dataclasses import dataclass

from chain.transition_gate import FAILURES_MAX, OPEN_S


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """Rhythm and bounds of sending."""

    resend_s: float = 2.0
    """The same bytes are sent again this often until they land (C4)."""
    poll_s: float = 0.4
    """A look at the chain per slot while anything is open."""
    follow_s: float = 2.0
    """What is confirmed is looked at this often until it is final, 13 s later."""
    idle_s: float = 5.0
    """With nothing open, rows are looked for this often even without a wake-up."""
    backoff_s_min: float = 0.5
    backoff_s_max: float = 10.0
    open_max: int = 1_024
    """Rows in hand at once, so that many that wait for their expiry do not keep others from their turn."""
    concurrency: int = 16
    """Steps taken at once."""
    overdue_s: int = 240
    """The specification's four minutes for each market: what is not signed by then is failed, what is, is reported."""
    transition_failures_max: int = FAILURES_MAX
    """Outages in a row, half a minute apart, after which no state transition is signed."""
    transition_open_s: float = OPEN_S
    """How long none is signed before one is tried."""
    remembered_max: int = 4_096
    """Send times and signatures kept in memory; forgetting one costs a repeated send, never a second execution."""
