"""Thespian 4.0.1, made safe to heal with: every patch this system needs in that library, and nothing else.

Call `harden` first in the launcher and in each gateway, before a system base is imported. The TCP base starts its
processes by fork, so the admin, its logger and every actor inherit the patches. Another Thespian release is refused,
because each patch replaces a line that was read in 4.0.1. Only `multiprocTCPBase` is covered: never use another base
between processes.

What was broken, and is cured here (docs/adr/0003-thespian-hardening.md, shown in test_thespian_hardening.py):

- D1 a second child that dies while the first death is being handled is never reported;
- D2 the death of the logger kills the admin;
- D3 after a SIGKILL of the admin its logger keeps the port; D4 actors outlive whoever started them;
- D5 the admin holds the starter's descriptors: its gateway port, its database session, its listening socket;
- D8 a child that dies while starting is never reported, and what was sent to it waits for ever;
- every process listens on 0.0.0.0, runs any pickle that it is sent, and dies of a negative length prefix.

What no patch cures, and is therefore a rule:

- D6 the loss of a remote host yields no ChildActorExited: parent local children only, hosts beat in the database.
- D7 a global name on a remote host is found once, then the look-up hangs: keep (host, port) in the database.
"""

import contextlib
import ctypes
import errno
import importlib.metadata
import logging
import math
import multiprocessing
import os
import select
import selectors
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from thespian.system import multiprocCommon, simpleSystemBase, transport, utilis
from thespian.system.admin import adminCore
from thespian.system.transport import IPBase, SendStatus, TCPTransport, streamBuffer

from actors.frames import ADMITTED_PACKAGES, BoundedBuffer, RefusedFrame, SealedPickle, forget_refusals

PINNED_VERSION = "4.0.1"
SECRET_BYTES_MIN = 32
TRANSMIT_MAX = timedelta(seconds=5)  # a message that nobody takes is dropped: all that matters is asked for again
LOG_BYTES_MAX = 2**20  # per file, and Thespian keeps one old file

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

_settings: tuple[bytes, Path | None, str, tuple[str, ...]] | None = None
_admin_pid: int | None = None


class UnknownThespian(RuntimeError):
    """The installed Thespian is not the one whose lines these patches replace."""


class AdminMissing(ConnectionError):
    """No admin answers at the given address, and this process must not start one."""


def harden(
    secret: bytes,
    log_dir: Path | None = None,
    *,
    host: str = "127.0.0.1",
    admitted: tuple[str, ...] = ADMITTED_PACKAGES,
) -> None:
    """Patch Thespian for this process and all that it will fork; the same call again does nothing.

    `secret` (32 bytes or more) is shared by every process that may talk to these actors. `log_dir` is where the library
    writes its own complaints (at most 2 MiB); without it, it writes none. `host` is the address processes listen on,
    `admitted` the packages whose classes may arrive in a message. Raises UnknownThespian for another release and
    RuntimeError when a system base was imported before, or the arguments differ from an earlier call's.
    """
    global _settings
    wanted = (secret, log_dir, host, admitted)
    if _settings == wanted:
        return
    _refuse_unsafe_start(secret)
    os.environ["THESPIAN_BASE_IPADDR"] = host
    _direct_log(log_dir)
    _listen_on_advertised_address()
    _seal_frames(SealedPickle(secret, admitted))
    _describe_no_messages()
    _wait_cheaply()
    _fix_lifecycle()
    transport.DEFAULT_MAX_TRANSMIT_PERIOD = TRANSMIT_MAX  # stock: 5 minutes in one of 20 slots for a peer that hangs
    _settings = wanted


def seal() -> SealedPickle:
    """What seals this system's messages; raises RuntimeError before `harden`."""
    if _settings is None:
        raise RuntimeError("harden() comes first")
    secret, _, _, admitted = _settings
    return SealedPickle(secret, admitted)


def listening_host() -> str:
    """The address that processes of this system listen on; raises RuntimeError before `harden`."""
    if _settings is None:
        raise RuntimeError("harden() comes first")
    return _settings[2]


def forbid_admin_start() -> None:
    """Make `ActorSystem` raise AdminMissing where it would fork an admin: a gateway joins a tree, it never owns one."""

    def refuse(_self: Any, address: Any, *_: Any) -> NoReturn:
        raise AdminMissing(f"no actor system answers at {address}")

    multiprocCommon.multiprocessCommon._startAdmin = refuse


def die_with_parent(sig: signal.Signals = signal.SIGKILL, parent_pid: int | None = None) -> None:
    """Ask the kernel for `sig` when the parent dies; exit at once (status 70) if it has died already.

    The kernel watches the thread that forked: fork from the main thread. `parent_pid` is who the parent must be;
    without it a parent that died before this call goes unseen. Raises OSError where the kernel refuses.
    """
    expected = os.getppid() if parent_pid is None else parent_pid
    if _libc.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != expected:
        os._exit(70)


def admin_pid() -> int | None:
    """The admin that this process forked last, None before: its child, to be reaped here; its tree is one session."""
    return _admin_pid


def _refuse_unsafe_start(secret: bytes) -> None:
    version = importlib.metadata.version("thespian")
    if version != PINNED_VERSION:
        raise UnknownThespian(f"hardening was written for thespian {PINNED_VERSION}, found {version}")
    if len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"the secret needs {SECRET_BYTES_MIN} bytes, got {len(secret)}")
    if _settings is not None:
        raise RuntimeError("already hardened with other arguments")
    if "thespian.system.multiprocTCPBase" in sys.modules:
        raise RuntimeError("harden() must run before a Thespian system base is imported")


def _direct_log(log_dir: Path | None) -> None:
    """Thespian's own log goes where the caller says, bounded; stock it is $TMPDIR/thespian.log, shared by all."""
    utilis.thesplog_control(logging.WARNING, False, LOG_BYTES_MAX if log_dir else 0)
    if log_dir:
        os.environ["THESPLOG_FILE"] = str(log_dir / "thespian.log")
        utilis._thesplog_file = None


def _listen_on_advertised_address() -> None:
    original = IPBase.IPActorAddress.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.bindname = self.sockname

    IPBase.IPActorAddress.__init__ = init


# --- frames ---------------------------------------------------------------------------------------------------------


def _seal_frames(sealed: SealedPickle) -> None:
    TCPTransport.serializer = sealed
    TCPTransport.ReceiveBuffer = BoundedBuffer
    TCPTransport.ackMsg = streamBuffer.toSendBuffer(streamBuffer.ackPacket, sealed.dumps)
    TCPTransport.ackDataErrMsg = streamBuffer.toSendBuffer(streamBuffer.ackDataErrPacket, sealed.dumps)
    TCPTransport.TCPTransport._check_XMIT_4_done = _failing_on_refusal(TCPTransport.TCPTransport._check_XMIT_4_done)


def _failing_on_refusal(check: Callable[..., Any]) -> Callable[..., Any]:
    """A refused acknowledgement fails its message. Stock it leaks one of 20 transmit slots."""

    def checked(self: Any, intent: Any, received: bytes) -> Any:
        try:
            return check(self, intent, received)
        except RefusedFrame:
            return self._finishIntent(intent, SendStatus.BadPacket)

    return checked


def _describe_no_messages() -> None:
    """Stock writes out every message several times for debug lines that nobody reads: a third of a shard's work."""
    transport.TransmitIntent.identify = _kind_and_target
    transport.ReceiveEnvelope.identify = _kind_and_sender
    simpleSystemBase.actor_base_receive = _receive


def _kind_and_target(self: Any) -> str:
    return f"TransportIntent({self.targetAddr}, {type(self.message).__name__}, {self.result})"


def _kind_and_sender(self: Any) -> str:
    return f"ReceiveEnvelope(from: {self.sender}, {type(self.message).__name__})"


def _receive(actor: Any, message: Any, sender: Any) -> None:
    actor.receiveMessage(message, sender)


class _Poll:
    """What the transport asks of a selector, by `poll`: stock makes an epoll for every wait, ten calls of the kernel.

    It registers a descriptor for one thing at a time.
    """

    EVENT_READ, EVENT_WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    @classmethod
    def DefaultSelector(cls) -> "_Poll":  # noqa: N802  # the name in the module that this stands in for
        return cls()

    def register(self, fd: int, event: int) -> None:
        if fd < 0:
            raise ValueError(f"Invalid file descriptor: {fd}")
        self._events[fd] = event

    def select(self, timeout_s: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        poll = select.poll()
        for fd, event in self._events.items():
            poll.register(fd, select.POLLIN if event == self.EVENT_READ else select.POLLOUT)
        ready = poll.poll(None if timeout_s is None else math.ceil(timeout_s * 1_000))
        return [self._told(fd, happened) for fd, happened in ready]

    def _told(self, fd: int, happened: int) -> tuple[selectors.SelectorKey, int]:
        """Trouble is what was waited for, so that the read or the write meets it."""
        if happened & select.POLLNVAL:
            raise OSError(errno.EBADF, f"descriptor {fd} is closed")
        return selectors.SelectorKey(fd, fd, self._events[fd], None), self._events[fd]

    def close(self) -> None:
        self._events.clear()


def _wait_cheaply() -> None:
    """Fewer calls of the kernel for a message: 0.60 ms of CPU there and back instead of 0.76, both sides together."""
    TCPTransport.selectors = _Poll
    TCPTransport.TCPTransport._next_XMIT_2 = _going_on_to_the_answer(TCPTransport.TCPTransport._next_XMIT_2)
    system = simpleSystemBase.ActorSystemBase
    system._realizeWakeups = _only_if_there_are_any(system._realizeWakeups)


def _going_on_to_the_answer(send: Callable[..., Any]) -> Callable[..., Any]:
    """Stock waits until the socket can be written once more, in order to do nothing."""

    def sent(self: Any, intent: Any) -> Any:
        goes_on = send(self, intent)
        is_written = goes_on and intent.stage == self._XMITStepShutdownWrite
        return self._next_XMIT_3(intent) if is_written else goes_on

    return sent


def _only_if_there_are_any(realize: Callable[..., None]) -> Callable[..., None]:
    def realized(self: Any) -> None:
        if self._wakeUps:
            realize(self)

    return realized


# --- life and death -------------------------------------------------------------------------------------------------


def _fix_lifecycle() -> None:
    multiprocCommon.startAdmin = _born_clean(_without_daemonising(multiprocCommon.startAdmin))
    multiprocCommon.startupASLogger = _born_clean(multiprocCommon.startupASLogger)
    multiprocCommon.startChild = _born_clean(multiprocCommon.startChild)
    multiprocCommon.detach_child = _remembering_admin(multiprocCommon.detach_child)
    replicator = multiprocCommon.MultiProcReplicator
    replicator._childExited = _forget_only_this_child
    replicator.childDied = _reporting_stillbirths(replicator.childDied)
    adminCore.AdminCore.logDefs = property(lambda self: self.logdefs)  # childDied() misspells it


def _born_clean(start: Callable[..., Any]) -> Callable[..., Any]:
    """The entry of a forked process: it dies with its parent, holds no descriptor but 0-2, and has refused no frame."""

    def started(*args: Any) -> Any:
        parent = multiprocessing.parent_process()
        assert parent is not None, "a Thespian process is forked by multiprocessing"
        die_with_parent(parent_pid=parent.pid)
        _shed_descriptors()
        forget_refusals()
        return start(*args)

    return started


def _shed_descriptors() -> None:
    """Point every inherited descriptor at /dev/null, so the parent's sockets close when the parent says so.

    Replaced rather than closed: a number that stays taken cannot be reused by this process's endpoint and then be
    closed by an inherited object that still thinks it owns it. The endpoint opens its own socket afterwards.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
            os.fstat(number)
            if number > 2 and number != nothing:
                os.dup2(nothing, number)
    os.close(nothing)


def _without_daemonising(start_admin: Callable[..., Any]) -> Callable[..., Any]:
    """The admin stays its starter's child. Stock forks once more, and then nothing ends it with its parent."""

    def started(*args: Any) -> Any:
        fork = os.fork

        def stay() -> int:
            os.fork = fork  # only startAdmin's own call is answered here
            return 0

        os.fork = stay
        return start_admin(*args)

    return started


def _remembering_admin(detach: Callable[..., None]) -> Callable[..., None]:
    def detached(child: Any) -> None:
        global _admin_pid
        if child.name == "ThespianAdmin":
            _admin_pid = child.pid
        detach(child)

    return detached


def _forget_only_this_child(self: Any, address: Any) -> None:
    """Stock forgets every dead child when it handles one notice; those that died since the table was read are lost."""
    self._child_procs = [
        child
        for child in getattr(self, "_child_procs", [])
        if getattr(child, "childRealAddr", child.childAddr) != address or self._checkChildLiveness(child)
    ]


def _reporting_stillbirths(died: Callable[..., bool]) -> Callable[..., bool]:
    """A child that dies before its first word is reported too. Stock its parent waits for ever, a creator 50 s."""

    def reported(self: Any) -> bool:
        before = getattr(self, "_child_procs", [])
        result = died(self)
        for child in before:
            if child not in self._child_procs and not hasattr(child, "childRealAddr"):
                _report_stillbirth(self, child.childNum)
        return result

    return reported


def _report_stillbirth(self: Any, number: int) -> None:
    requests = getattr(self, "_pendingChildren", None) or {}  # of the admin only, and a list while it shuts down
    refusal = adminCore.PendingActorResponse.ERROR_Invalid_ActorClass
    for request in requests.pop(number, []):
        self._sendPendingActorResponse(request, None, errorCode=refusal, errorStr="it died while starting")
    self._retryPendingChildOperations(number, None)
