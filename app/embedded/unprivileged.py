"""Another identity for PostgreSQL, which refuses to run as root, or (initdb) as a uid without a name.

Two ways, the first that works for the given binary and folder:

1. a user namespace in which we are seen as uid 65534, `nobody`: outside, everything still belongs to us, no chown;
2. uid 65534 itself, keeping CAP_DAC_OVERRIDE so that a folder below /root can be reached: for containers, whose default
   seccomp profile forbids user namespaces, and for folders below another user's private home.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED_ID = 65534
CHECK_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Identity:
    """`prefix` execs its arguments under the identity; `owner_uid` is who owns its files, seen from outside."""

    prefix: tuple[str, ...]
    owner_uid: int


class NoUnprivilegedIdentity(Exception):
    """Running as root or as a nameless uid, and neither a user namespace nor a change of uid is possible."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"PostgreSQL does not run as root or as a uid without a name, and neither unshare(1) nor setpriv(1) of "
            f"util-linux can run it as another user over {folder}; start as an ordinary user or configure "
            "ZMART_DATABASE_URL"
        )


NAMESPACE = Identity(
    ("unshare", "--user", f"--map-user={UNPRIVILEGED_ID}", f"--map-group={UNPRIVILEGED_ID}", "--"),
    owner_uid=os.geteuid(),
)
OTHER_USER = Identity(
    (
        "setpriv",
        f"--reuid={UNPRIVILEGED_ID}",
        f"--regid={UNPRIVILEGED_ID}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "--",
    ),
    owner_uid=UNPRIVILEGED_ID,
)


def unprivileged(binary: Path, folder: Path, candidates: Sequence[Identity] = (NAMESPACE, OTHER_USER)) -> Identity:
    """An identity that PostgreSQL accepts and that can run `binary` and write into `folder`; our own if it will do.

    Raises NoUnprivilegedIdentity.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Identity((), os.geteuid())
    for identity in candidates:
        if works(identity, binary, folder):
            return identity
    raise NoUnprivilegedIdentity(folder)


def _has_name(uid: int) -> bool:
    """Containers often run under a uid that is in no passwd file."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def works(identity: Identity, binary: Path, folder: Path) -> bool:
    """Whether `binary` can be run and `folder` written under the identity, by trying."""
    if shutil.which(identity.prefix[0]) is None:
        return False
    check = [*identity.prefix, "test", "-x", str(binary), "-a", "-w", str(folder)]
    return subprocess.run(check, capture_output=True, timeout=CHECK_TIMEOUT_S).returncode == 0
