"""A role's log keeps its last words and stays bounded."""

import os
from pathlib import Path

from app.role_log import RoleLog


def write(log: RoleLog, text: str) -> None:
    descriptor = log.open()
    os.write(descriptor, text.encode())
    os.close(descriptor)


def test_a_log_within_its_bound_is_left_alone(tmp_path: Path) -> None:
    log = RoleLog(tmp_path, "one", bytes_max=10)
    write(log, "0123456789")
    log.trim()
    assert [path.name for path in tmp_path.iterdir()] == ["one.log"]


def test_a_log_over_its_bound_moves_aside_and_the_writer_goes_on_in_the_emptied_file(tmp_path: Path) -> None:
    log = RoleLog(tmp_path, "one", bytes_max=10)
    descriptor = log.open()
    os.write(descriptor, b"first run of lines\n")
    log.trim()
    os.write(descriptor, b"later\n")
    os.close(descriptor)
    assert (tmp_path / "one.log.1").read_text() == "first run of lines\n"
    assert log.path.read_text() == "later\n"


def test_only_one_older_log_is_kept(tmp_path: Path) -> None:
    log = RoleLog(tmp_path, "one", bytes_max=3)
    for text in ("oldest", "older", "new"):
        write(log, text)
        log.trim()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one.log": "new", "one.log.1": "older"}


def test_the_tail_is_the_last_twenty_lines(tmp_path: Path) -> None:
    log = RoleLog(tmp_path, "one")
    write(log, "".join(f"line {number}\n" for number in range(5000)))
    assert log.tail().splitlines() == [f"line {number}" for number in range(4980, 5000)]


def test_the_tail_of_a_role_that_never_wrote_is_empty(tmp_path: Path) -> None:
    assert RoleLog(tmp_path, "one").tail() == ""


def test_a_log_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "logs", "one")
    write(log, "secret")
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_the_tail_has_no_line_of_an_earlier_run(tmp_path: Path) -> None:
    write(RoleLog(tmp_path, "one"), "of the run before\n")
    log = RoleLog(tmp_path, "one", bytes_max=10)
    assert log.tail() == ""
    write(log, "of this run\n")
    assert log.tail() == "of this run"
    log.trim()
    write(log, "later\n")
    assert log.tail() == "later"
