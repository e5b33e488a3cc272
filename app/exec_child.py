"""Becomes a command that dies with its parent.

`guarded()` builds, in the parent, the argv that runs this file as a bare script (no site-packages: about 30 ms), which
asks the kernel for a death signal and then execs the command under the same pid. Guarantee: whatever kills the parent,
SIGKILL included, the kernel sends the command its death signal. Three traps are handled here:

- a change of uid clears the death signal, so a uid-changing prefix (`unshare`, `setpriv`) runs *before* this wrapper;
- the signal is tied to the parent *thread*, so `guarded()` refuses to be called outside the main one;
- a parent that died before the request is noticed by comparing getppid(): the command is then never started.

Linux only (prctl(2), PR_SET_PDEATHSIG).
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
ORPHANED_EXIT_STATUS = 114


class NotMainThread(RuntimeError):
    """A guarded child was about to be started by a thread whose end would kill it."""

    def __init__(self, thread_name: str) -> None:
        super().__init__(
            f"children are started from the main thread only, not from {thread_name!r}: "
            "the kernel sends the death signal when the starting thread ends"
        )


def guarded(argv: Sequence[str], death_signal: signal.Signals, prefix: Sequence[str] = ()) -> list[str]:
    """The argv of a child of this process that execs `argv` and gets `death_signal` when this process dies.

    `prefix` is a command that changes identity and then execs its arguments, without forking.
    Raises NotMainThread anywhere but in the main thread.
    """
    thread = threading.current_thread()
    if thread is not threading.main_thread():
        raise NotMainThread(thread.name)
    wrapper = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(death_signal))]
    return [*prefix, *wrapper, *argv]


def _die_with_parent(death_signal: int) -> None:
    import ctypes  # only the wrapper process needs it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def main(parent_pid: int, death_signal: int, argv: Sequence[str]) -> None:
    """Exec `argv`, bound to the life of `parent_pid`; exits with 114 when that parent is already gone."""
    _die_with_parent(death_signal)
    if os.getppid() != parent_pid:
        sys.exit(ORPHANED_EXIT_STATUS)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)  # an ignored signal would survive the exec
    os.execvp(argv[0], list(argv))  # noqa: S606 becoming the command is the purpose


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
