"""Each defect of Thespian 4.0.1 on the stock library, and its cure by actors/hardening.py, in processes of its own."""

import errno
import hmac
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from thespian.system.transport import IPBase

from actors import frames, hardening
from tests.support.eventually import eventually
from tests.support.thespian.cast import address_of
from tests.support.thespian.launcher import SECRET
from tests.support.thespian.tree import ROOT, Tree

Plant = Callable[..., Tree]
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # what must not be found


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """Starts actor systems; ends every process of theirs afterwards."""
    trees: list[Tree] = []

    def grow(mode: str, start: bool = True, **settings: Any) -> Tree:
        trees.append(Tree(mode, tmp_path, **settings))
        if start:
            assert trees[-1].do("start") == "started"
        return trees[-1]

    yield grow
    for tree in trees:
        tree.end()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- D1: two children die close together --------------------------------------------------------------------------


def kill_the_second_while_the_first_is_handled(tree: Tree, gate: Path) -> tuple[int, int]:
    tree.do("create")
    (first, _), (second, _) = tree.do("ask", "spawn", 2)
    os.mkfifo(gate)
    tree.do("ask", "hold_at_next_death", str(gate))
    kill(first)
    parent_is_held = eventually(lambda: opened_for_writing(gate))
    kill(second)
    assert parent_is_held is not None
    eventually(lambda: psutil.Process(second).status() == psutil.STATUS_ZOMBIE)
    os.close(parent_is_held)
    return first, second


def opened_for_writing(fifo: Path) -> int | None:
    """The descriptor, once somebody reads the other end."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        assert error.errno == errno.ENXIO
        return None


def test_stock_forgets_a_child_that_dies_while_another_death_is_handled(plant: Plant, tmp_path: Path) -> None:
    tree = plant("stock")
    first, _ = kill_the_second_while_the_first_is_handled(tree, tmp_path / "gate")
    # Nobody is watched any more, so no further notice can come.
    assert tree.do("ask", "deaths") == {"noticed": [first], "watched": 0}


def test_both_of_two_children_that_die_close_together_are_reported(plant: Plant, tmp_path: Path) -> None:
    tree = plant("hardened")
    both = kill_the_second_while_the_first_is_handled(tree, tmp_path / "gate")
    eventually(lambda: tree.do("ask", "deaths") == {"noticed": list(both), "watched": 0})


# --- D8: a child dies while starting ------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "noticed"), [("stock", []), ("hardened", [None])])
def test_only_stock_conceals_a_child_that_dies_while_starting(plant: Plant, mode: str, noticed: list[None]) -> None:
    tree = plant(mode)
    tree.do("create")
    tree.do("ask", "spawn_stillborn")
    # Watched no more: whatever was going to be reported has been.
    eventually(lambda: tree.do("ask", "deaths")["watched"] == 0)
    eventually(lambda: tree.do("ask", "deaths")["noticed"] == noticed)


def test_a_creator_is_told_that_its_actor_died_while_starting(plant: Plant) -> None:
    assert "it died while starting" in plant("hardened").do("create_stillborn")


# --- D2: the logger dies ------------------------------------------------------------------------------------------


def test_stock_admin_dies_with_its_logger(plant: Plant) -> None:
    tree = plant("stock")
    actor, _ = tree.do("create")
    admin = tree.admin(actor)
    (logger,) = tree.loggers(admin, actor)
    kill(logger)
    eventually(lambda: admin not in tree.members())


def test_the_admin_outlives_its_logger_and_starts_another(plant: Plant) -> None:
    tree = plant("hardened")
    actor, _ = tree.do("create")
    admin = tree.admin(actor)
    (logger,) = tree.loggers(admin, actor)
    kill(logger)
    eventually(lambda: tree.loggers(admin, actor, logger))
    assert tree.admin(tree.do("create")[0]) == admin


# --- D3, D4: who outlives whom ------------------------------------------------------------------------------------


def test_stock_logger_keeps_the_port_of_a_killed_admin(plant: Plant) -> None:
    tree = plant("stock")
    actor, _ = tree.do("create")
    admin = tree.admin(actor)
    (logger,) = tree.loggers(admin, actor)
    kill(admin)
    eventually(lambda: admin not in tree.members())
    assert (EVERY_ADDRESS, tree.port, logger) in tree.listeners()


def test_a_killed_admin_takes_its_tree_along_and_frees_its_port(plant: Plant) -> None:
    tree = plant("hardened")
    actor, _ = tree.do("create")
    tree.do("ask", "spawn", 2)
    assert tree.do("admin") == tree.admin(actor)
    kill(tree.admin(actor))
    eventually(lambda: tree.members() == {tree.launcher.pid} and not is_listening(tree.port))
    successor = plant("hardened", port=tree.port)
    assert successor.admin(successor.do("create")[0]) in successor.members()


def test_stock_children_go_on_serving_after_their_parent_is_killed(plant: Plant) -> None:
    tree = plant("stock")
    actor, _ = tree.do("create")
    ((child, port),) = tree.do("ask", "spawn", 1)
    kill(actor)
    eventually(lambda: actor not in tree.members())
    assert tree.do("ask_port", port, "who") == ["child", child, port]


def test_a_killed_parent_takes_its_children_along_and_nobody_else(plant: Plant) -> None:
    tree = plant("hardened")
    before = tree.members()
    actor, _ = tree.do("create")
    tree.do("ask", "spawn", 2)
    kill(actor)
    eventually(lambda: tree.members() == before)


def test_stock_tree_outlives_its_killed_launcher(plant: Plant) -> None:
    tree = plant("stock")
    actor, port = tree.do("create")
    kill(tree.launcher.pid)
    tree.launcher.wait()
    assert {actor, tree.admin(actor)} <= tree.members()
    assert is_listening(port)


def test_a_killed_launcher_takes_the_whole_tree_along(plant: Plant) -> None:
    tree = plant("hardened")
    tree.do("create")
    tree.do("ask", "spawn", 2)
    kill(tree.launcher.pid)
    eventually(lambda: not tree.members())
    eventually(lambda: not is_listening(tree.port))  # the kernel takes a dying process's memory before its sockets


def test_a_process_whose_parent_is_gone_already_ends_at_once() -> None:
    nobody = psutil.Process().ppid()  # never the parent of what this test starts
    orphan = f"from actors.hardening import die_with_parent; die_with_parent(parent_pid={nobody}); print('lives')"
    ended = subprocess.run([sys.executable, "-c", orphan], cwd=ROOT, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (70, b"")


# --- D5: what is inherited ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "still_open"), [("stock", True), ("hardened", False)])
def test_only_stock_trees_hold_the_sockets_of_their_starter(plant: Plant, mode: str, still_open: bool) -> None:
    tree = plant(mode, start=False)
    gateway_port = tree.do("listen")
    tree.do("start")
    tree.do("create")
    tree.do("ask", "spawn", 1)
    tree.do("stop_listening")
    assert is_listening(gateway_port) is still_open


def test_every_socket_of_a_hardened_tree_has_one_owner(plant: Plant) -> None:
    tree = plant("hardened")
    tree.do("create")
    tree.do("ask", "spawn", 2)
    ports = [port for _, port, _ in tree.listeners()]
    assert len(ports) == len(set(ports))
    assert len({pid for _, _, pid in tree.listeners()}) == len(tree.members())


# --- who may speak ------------------------------------------------------------------------------------------------


class Touch:
    """A stranger's pickle: whoever loads it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def sealed(body: bytes) -> bytes:
    return hmac.digest(SECRET, body, "sha256") + body


def frame(body: bytes) -> bytes:
    return b"%d>" % len(body) + body


def deliver(port: int, data: bytes) -> None:
    """Send and wait until the other side has hung up on us."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stranger:
        stranger.sendall(data)
        try:
            while stranger.recv(4096):
                pass
        except ConnectionResetError:
            pass


@pytest.mark.parametrize(("mode", "expected"), [("stock", EVERY_ADDRESS), ("hardened", "127.0.0.1")])
def test_only_stock_trees_listen_on_every_address(plant: Plant, mode: str, expected: str) -> None:
    tree = plant(mode)
    tree.do("create")
    tree.do("ask", "spawn", 1)
    assert {address for address, _, _ in tree.listeners()} == {expected}


def test_stock_runs_the_pickle_of_a_stranger(plant: Plant, tmp_path: Path) -> None:
    tree = plant("stock")
    _, port = tree.do("create")
    for target, made in [(tree.port, tmp_path / "by-admin"), (port, tmp_path / "by-actor")]:
        deliver(target, frame(pickle.dumps(Touch(made))))
        assert made.is_dir()


def test_stock_admin_dies_of_a_negative_length(plant: Plant) -> None:
    tree = plant("stock")
    admin = tree.admin(tree.do("create")[0])
    with socket.create_connection(("127.0.0.1", tree.port)) as stranger:
        stranger.sendall(b"-5>")
    eventually(lambda: admin not in tree.members())


def pickled_call(function: str, argument: str) -> bytes:
    """A pickle that reaches a function through the attributes of an admitted module."""
    module, name, only = (b"\x8c%c%b" % (len(text), text.encode()) for text in (IPBase.__name__, function, argument))
    return b"\x80\x04" + module + name + b"\x93" + only + b"\x85R."


HONEST = pickle.dumps((address_of(1), ("who",)), protocol=5)
FORGERIES: dict[str, Callable[[Path], bytes]] = {
    "an unsealed pickle": lambda made: frame(pickle.dumps(Touch(made))),
    "a wrong seal": lambda _: frame(bytes(32) + HONEST),
    "a seal of another body": lambda _: frame(sealed(b"")[:32] + HONEST),
    "a frame shorter than a seal": lambda _: frame(b"short"),
    "an empty frame": lambda _: b"0>",
    "a negative length": lambda _: b"-5>x",
    "a length that is no number": lambda _: b"five>12345",
    "no length at all": lambda _: b"x" * 100,
    "a length beyond the bound": lambda _: b"%d>x" % (frames.FRAME_BYTES_MAX + 1),
    "a sealed pickle of a foreign class": lambda made: frame(sealed(pickle.dumps(Touch(made)))),
    "a sealed pickle of a module's function": lambda made: frame(sealed(pickled_call("os.mkdir", str(made)))),
    "sealed rubbish": lambda _: frame(sealed(b"rubbish")),
}


def test_forged_frames_are_refused_and_counted_while_the_system_goes_on_answering(plant: Plant, tmp_path: Path) -> None:
    tree = plant("hardened")
    actor, port = tree.do("create")
    before = tree.members()
    for target in (tree.port, port):
        for number, forge in enumerate(FORGERIES.values()):
            deliver(target, forge(tmp_path / f"{target}-{number}"))
    assert not [entry for entry in tmp_path.iterdir() if entry.is_dir()]
    assert tree.do("ask", "refused") == len(FORGERIES)
    assert tree.members() == before
    newcomer, _ = tree.do("create")
    assert tree.admin(newcomer) == tree.admin(actor)
    assert tree.do("ask", "refused") == 0  # a new process counts for itself


# --- a peer that answers rubbish ----------------------------------------------------------------------------------


def answer_rubbish(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.recv(4096)
        peer.sendall(frame(b"rubbish"))


@pytest.mark.parametrize(("mode", "slots_lost"), [("stock", 3), ("hardened", 0)])
def test_only_stock_loses_a_transmit_slot_to_each_rubbish_acknowledgement(
    plant: Plant, mode: str, slots_lost: int
) -> None:
    tree = plant(mode)
    tree.do("create")
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            tree.do("ask", "send", listener.getsockname()[1], 1)
            answer_rubbish(listener)
    eventually(lambda: tree.do("ask", "transmits") == {"slots_taken": slots_lost, "waiting": 0})


# --- Thespian's own log -------------------------------------------------------------------------------------------


def test_stock_writes_a_log_to_the_temporary_folder(plant: Plant, tmp_path: Path) -> None:
    tree = plant("stock")
    deliver(tree.port, frame(b"rubbish"))
    eventually((tmp_path / "thespian.log").exists)


def test_the_library_logs_where_it_is_told(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    tree = plant("hardened", log_dir=tmp_path / "logs")
    deliver(tree.port, frame(bytes(100)))
    log = tmp_path / "logs" / "thespian.log"
    eventually(lambda: log.exists() and "bad seal" in log.read_text())
    assert not (tmp_path / "thespian.log").exists()


def test_the_library_keeps_silent_without_a_log_folder(plant: Plant, tmp_path: Path) -> None:
    tree = plant("hardened")
    deliver(tree.port, frame(b"rubbish"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["stderr.txt"]


# --- gateways and refusals ----------------------------------------------------------------------------------------


def test_a_gateway_without_an_admin_says_so_and_starts_none(plant: Plant, tmp_path: Path) -> None:
    gateway = plant("gateway", start=False)
    with pytest.raises(AssertionError, match="the launcher ended"):
        gateway.do("start")
    assert gateway.launcher.wait() == 3
    assert not gateway.members()
    assert "AdminMissing: no actor system answers at" in (tmp_path / "stderr.txt").read_text()


def test_a_gateway_joins_the_admin_that_is_there(plant: Plant) -> None:
    tree = plant("hardened")
    actor, port = tree.do("create")
    gateway = plant("gateway", port=tree.port)
    assert gateway.do("ask_port", port, "who") == [actor, port]
    assert gateway.members() == {gateway.launcher.pid}


def test_another_release_of_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "4.0.2")
    with pytest.raises(hardening.UnknownThespian, match=r"written for thespian 4\.0\.1, found 4\.0\.2"):
        hardening.harden(SECRET)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="the secret needs 32 bytes, got 5"):
        hardening.harden(b"short")


@pytest.mark.parametrize(
    ("before", "complaint"),
    [
        ("import thespian.system.multiprocTCPBase", "before a Thespian system base is imported"),
        ("harden(b'a' * 32)", "already hardened with other arguments"),
        ("harden(b'b' * 32)", ""),
    ],
)
def test_hardening_happens_once_and_first(before: str, complaint: str) -> None:
    script = f"from actors.hardening import harden; {before}; harden(b'b' * 32)"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode == 1) is bool(complaint)
    assert complaint in ended.stderr
