"""Makes and checks the Python twins of the .proto files: `python protos/generate.py [--check]`.

Writes `zmart/v1/*_pb2.py`, `*_pb2_grpc.py`, their `.pyi`, and `descriptors.binpb`: the descriptor set (imports and the
google.rpc error details included) that Envoy's transcoder loads and that the next change is compared with.
`--check` writes nothing and fails when a twin is stale, when `buf lint` complains or when `buf breaking` finds a change
that breaks clients of the committed descriptor set or of the last release (git tag). Everything runs offline;
google/api and google/rpc come from googleapis-common-protos.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib import import_module
from pathlib import Path

from google.rpc import error_details_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
REPOSITORY = ROOT.parent
PACKAGE = Path("zmart/v1")
IMAGE = PACKAGE / "descriptors.binpb"
GOOGLE = Path(error_details_pb2.__file__).parents[2]
"""The site folder that holds google/api and google/rpc with their .proto files."""
WELL_KNOWN = Path(protoc.__file__).parent / "_proto"
SCRIPTS = Path(sysconfig.get_path("scripts"))
TOOL_TIMEOUT_S = 120
STALE = "stale; run `python protos/generate.py`"


class Broken(Exception):
    """A tool refused; carries what it said."""


def sources() -> list[str]:
    """The .proto files of the contract, relative to the module root, sorted."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).glob("*.proto"))


def generate_into(target: Path) -> None:
    """Write every twin and the descriptor set below `target`."""
    includes = [f"-I{folder}" for folder in (ROOT, GOOGLE, WELL_KNOWN)]
    plugins = [f"--plugin=protoc-gen-{name}={SCRIPTS / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python")]
    stubs = [f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{target}"]
    (target / PACKAGE).mkdir(parents=True)
    _protoc([*includes, *plugins, *outputs, *stubs, *sources()])
    image = ["--include_imports", f"--descriptor_set_out={target / IMAGE}"]
    _protoc([*includes, *image, *sources(), "google/rpc/error_details.proto"])


def stale(fresh: Path) -> list[str]:
    """What in the repository differs from a fresh generation, one line each."""
    wanted = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    present = {path.relative_to(ROOT) for path in (ROOT / PACKAGE).glob("*_pb2*")} | {IMAGE}
    changed = {name for name in wanted & present if not _same(fresh / name, ROOT / name)}
    missing = {name for name in wanted if not (ROOT / name).is_file()}
    return [f"{name}: {STALE}" for name in sorted(changed | missing)] + [
        f"{name}: has no .proto any more" for name in sorted(present - wanted) if (ROOT / name).is_file()
    ]


def lint() -> list[str]:
    """What `buf lint` says about the contract, one line each."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        shutil.copy(REPOSITORY / "buf.yaml", workspace)
        shutil.copytree(ROOT / PACKAGE, workspace / "protos" / PACKAGE, ignore=shutil.ignore_patterns("*.py*"))
        for part in ("google/api", "google/rpc"):
            shutil.copytree(GOOGLE / part, workspace / "protos" / part, ignore=shutil.ignore_patterns("*.py*"))
        return _buf(["lint", "--path", "protos/zmart"], cwd=workspace)


def breaking(image: Path, baseline: Path) -> list[str]:
    """What `buf breaking` finds between `baseline` and `image`, one line each."""
    return _buf(["breaking", str(image), "--against", str(baseline), "--config", str(REPOSITORY / "buf.yaml")])


def check() -> list[str]:
    """Every complaint about the repository as it stands."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "fresh"
        generate_into(fresh)
        released = _released(Path(folder) / "released.binpb")
        return stale(fresh) + lint() + _breaks(fresh / IMAGE, ROOT / IMAGE) + _breaks(fresh / IMAGE, released)


def write(accept_breaking: bool) -> list[str]:
    """Replace the twins; refuses, and writes nothing, when the change breaks clients and that is not accepted."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "fresh"
        generate_into(fresh)
        complaints = [] if accept_breaking else _breaks(fresh / IMAGE, ROOT / IMAGE)
        if complaints:
            return complaints
        for old in (ROOT / PACKAGE).glob("*_pb2*"):
            old.unlink()
        shutil.copytree(fresh, ROOT, dirs_exist_ok=True)
        return []


def _breaks(image: Path, baseline: Path) -> list[str]:
    return breaking(image, baseline) if baseline.is_file() else []


def _released(target: Path) -> Path:
    """The descriptor set of the last tag below HEAD, written to `target` unless there is no git, tag or set in it."""
    tag = _git("describe", "--tags", "--abbrev=0")
    image = _git("show", f"{tag.decode().strip()}:./{IMAGE}") if tag else b""
    if image:
        target.write_bytes(image)
    return target


def _git(*arguments: str) -> bytes:
    """What git prints, nothing when it refuses or is not installed."""
    try:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=TOOL_TIMEOUT_S, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return b""


def _same(left: Path, right: Path) -> bool:
    return right.is_file() and filecmp.cmp(left, right, shallow=False)


def _protoc(arguments: list[str]) -> None:
    code = protoc.main(["protoc", *arguments])
    if code != 0:
        raise Broken(f"protoc ended with status {code}")


def _buf(arguments: list[str], cwd: Path | None = None) -> list[str]:
    done = subprocess.run(
        [str(SCRIPTS / "buf"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
    )
    if done.returncode not in (0, 100):  # 100 is buf's status for "files have complaints"
        raise Broken(f"buf {arguments[0]} ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def main(arguments: list[str]) -> int:
    """Run as told and return the exit status: 0 in order, 1 with complaints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is wrong")
    parser.add_argument("--accept-breaking", action="store_true", help="write even if clients break (before a release)")
    options = parser.parse_args(arguments)
    import_module("mypy_protobuf")  # a missing plugin would only show as protoc's "program not found"
    complaints = check() if options.check else write(options.accept_breaking)
    for complaint in complaints:
        print(complaint, file=sys.stderr)  # noqa: T201 - this is a command
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
