"""The recount script, imported by its path as it stands alone; it is no part of any package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).parents[2] / "tools" / "recount_votes.py"


def recount_script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("recount_votes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
