"""A launcher of the hardening tests, run by exec: starts an actor system as told, answers JSON line by line.

    launcher.py (stock | hardened | gateway) PORT [LOG_DIR]

A gateway is hardened and may not start an admin. The process ends with status 3 when it finds no admin it may use.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

SECRET = b"hardening-test-secret-of-40-bytes-length"
ASK_TIMEOUT_S = 60


def main(mode: str, port: int, log_dir: Path | None) -> None:
    if mode != "stock":
        from actors import hardening

        hardening.harden(SECRET, log_dir)
        if mode == "gateway":
            hardening.forbid_admin_start()
    Launcher(port).serve()


class Launcher:
    """Answers one command a line: {"do": name, "with": [arguments]}."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.system: Any = None
        self.context: Any = None
        self.parent: Any = None
        self.own_listener: socket.socket | None = None

    def serve(self) -> None:
        for line in sys.stdin:
            command = json.loads(line)
            sys.stdout.write(json.dumps(getattr(self, command["do"])(*command["with"])) + "\n")
            sys.stdout.flush()

    def start(self) -> str:
        from thespian.actors import ActorSystem

        try:
            self.system = ActorSystem("multiprocTCPBase", capabilities={"Admin Port": self.port})
        except ConnectionError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(3)
        self.private = self.system.private()
        self.context = self.private.__enter__()
        return "started"

    def admin(self) -> int | None:
        from actors.hardening import admin_pid

        return admin_pid()

    def create(self) -> Any:
        """Create a parent actor, the one that `ask` asks from now on; its [pid, port]."""
        self.parent = self.context.createActor("tests.support.thespian.cast.Parent")
        return self.ask("who")

    def create_stillborn(self) -> str:
        """What the library says to a creator whose actor died while starting."""
        try:
            self.context.createActor("tests.support.thespian.cast.Stillborn")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "created"

    def ask(self, *message: Any) -> Any:
        return self.context.ask(self.parent, message, ASK_TIMEOUT_S)

    def ask_port(self, port: int, *message: Any) -> Any:
        from tests.support.thespian.cast import address_of

        return self.context.ask(address_of(port), message, ASK_TIMEOUT_S)

    def listen(self) -> int:
        self.own_listener = socket.create_server(("127.0.0.1", 0))
        return int(self.own_listener.getsockname()[1])

    def stop_listening(self) -> str:
        assert self.own_listener is not None
        self.own_listener.close()
        return "closed"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None)
