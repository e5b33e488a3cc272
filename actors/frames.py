"""Frames between our processes: sealed, bounded, and made of admitted classes only.

`hardening.py` puts these into Thespian's transport in the place of pickle and of its reader of lengths.
"""

import dataclasses
import enum
import hmac
import io
import operator
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

from thespian.system.transport import streamBuffer

FRAME_BYTES_MAX = 8 * 2**20  # a batch is capped at 256 KiB; 8 MiB takes 89 ms to send, 64 MiB 1.8 s
PREFIX_BYTES_MAX = 20  # Thespian asks for 20 bytes while it does not know the length
MAC_BYTES = 32

ADMITTED_PACKAGES = ("actors", "domain", "thespian.actors", "thespian.system")
_ADMITTED_CLASSES = frozenset({
    *(("builtins", name) for name in ("bytearray", "complex", "frozenset", "range", "set", "slice")),
    *(("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
    ("uuid", "UUID"), ("uuid", "SafeUUID"),
    ("socket", "AddressFamily"), ("socket", "SocketKind"),  # inside every actor address
    ("logging", "LogRecord"),  # from an actor to the logger
})  # fmt: skip

_refused_frames = 0


class RefusedFrame(ValueError):
    """A frame that was not sealed with our secret, or that names a class outside the admitted packages."""


def refused_frames() -> int:
    """How many frames this process refused since it started."""
    return _refused_frames


def forget_refusals() -> None:
    """Start counting anew: a forked process has refused nothing yet."""
    global _refused_frames
    _refused_frames = 0


def _count_refusal() -> None:
    global _refused_frames
    _refused_frames += 1


class _Pickler(pickle.Pickler):
    """Writes an enum's member as its class and value, and a dataclass as its class and the values of its fields.

    Of enums Debian 12's 3.11.2 writes `getattr(class, name)`, which nobody should be let in with. Of frozen dataclasses
    with slots every release has Python code read and write each field by name: 5.5 us a vote there and back, this 2.4.
    """

    _getters: ClassVar[dict[type, Callable[[Any], tuple[Any, ...]] | None]] = {}

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind not in self._getters:
            self._getters[kind] = _getter(kind)
        values = self._getters[kind]
        return NotImplemented if values is None else (kind, values(obj))


def _getter(kind: type) -> Callable[[Any], tuple[Any, ...]] | None:
    """What rebuilds a value of this class when the class is called with it; None where pickle's own way is right."""
    if issubclass(kind, enum.Enum):
        return lambda member: (member.value,)
    if not dataclasses.is_dataclass(kind) or not all(field.init for field in dataclasses.fields(kind)):
        return None
    names = [field.name for field in dataclasses.fields(kind)]
    if len(names) < 2:
        return lambda value: tuple(getattr(value, name) for name in names)
    return operator.attrgetter(*names)


class _AdmittedUnpickler(pickle.Unpickler):
    """Builds classes of the admitted packages only. The second wall: the seal was checked before it sees a byte."""

    def __init__(self, body: bytes, admitted: tuple[str, ...], known: dict[tuple[str, str], type]) -> None:
        super().__init__(io.BytesIO(body))
        self._admitted = admitted
        self._known = known

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self._known:
            self._known[module, name] = self._look_up(module, name)
        return self._known[module, name]

    def _look_up(self, module: str, name: str) -> type:
        if (module, name) not in _ADMITTED_CLASSES and not self._inside(module):
            raise RefusedFrame(f"{module}.{name} is not admitted")
        found = super().find_class(module, name)
        # A dotted name walks attributes: ("thespian.actors", "os.system") is a function of another module.
        if not isinstance(found, type) or (found.__module__ != module and not self._inside(found.__module__)):
            raise RefusedFrame(f"{module}.{name} is not a class of an admitted package")
        return found

    def _inside(self, module: str) -> bool:
        return any(module == package or module.startswith(package + ".") for package in self._admitted)


class SealedPickle:
    """Stands in for the pickle module inside the TCP transport: a frame is HMAC-SHA256(body) followed by the body.

    The seal proves that the sender holds the secret, not that the frame is fresh: a key and an epoch are for that.
    """

    def __init__(self, secret: bytes, admitted: tuple[str, ...]) -> None:
        self._secret = secret
        self._admitted = admitted
        self._known: dict[tuple[str, str], type] = {}

    def dumps(self, message: Any) -> bytes:
        """The frame of a message."""
        written = io.BytesIO()
        _Pickler(written, protocol=5).dump(message)
        body = written.getvalue()
        return hmac.digest(self._secret, body, "sha256") + body

    def loads(self, frame: bytes) -> Any:
        """The message in a frame; raises RefusedFrame, and counts it."""
        try:
            return self._open(frame)
        except Exception as error:
            _count_refusal()
            raise RefusedFrame(str(error)) from error

    def _open(self, frame: bytes) -> Any:
        body = frame[MAC_BYTES:]
        if not hmac.compare_digest(frame[:MAC_BYTES], hmac.digest(self._secret, body, "sha256")):
            raise RefusedFrame("bad seal")
        return _AdmittedUnpickler(body, self._admitted, self._known).load()


class BoundedBuffer(streamBuffer.ReceiveBuffer):  # type: ignore[misc]  # untyped base
    """Thespian's reader of `length>frame`, with bounds: stock, "-5>" reaches recv(-5), which kills the process."""

    def addMore(self, buf: bytes) -> None:  # noqa: N802  # Thespian's name
        """Take in what was received; raises RefusedFrame."""
        try:
            super().addMore(buf)
            self._check_bounds()
        except ValueError as error:  # RefusedFrame, or a length that is not a number
            _count_refusal()
            raise RefusedFrame(str(error)) from error

    def _check_bounds(self) -> None:
        if self._size is None and len(self._buf) > PREFIX_BYTES_MAX:
            raise RefusedFrame("no length prefix")
        if self._size is not None and not MAC_BYTES < self._size <= FRAME_BYTES_MAX:
            raise RefusedFrame(f"a frame of {self._size} bytes")
