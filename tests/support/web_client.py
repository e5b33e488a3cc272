"""The TypeScript client for a browser: protos to TypeScript by protoc-gen-es, checked by tsc, bundled by esbuild."""

from __future__ import annotations

import shutil
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from tests.support.node import FOLDER, Scripts

IMAGE = Path(__file__).parents[2] / "protos" / "zmart" / "v1" / "descriptors.binpb"


def build_web_client(scripts: Scripts, folder: Path) -> str:
    """The bundle of tests/node/browser.ts with its generated client, as one module."""
    _lay_out(scripts, folder)
    scripts.tool("esbuild", "browser.ts", "--bundle", "--format=esm", "--outfile=bundle.js", cwd=folder)
    return (folder / "bundle.js").read_text()


def check_web_client(scripts: Scripts, folder: Path, addition: str = "") -> None:
    """Check the types of tests/node/browser.ts, with a line more, and of its generated client; asserts no error."""
    _lay_out(scripts, folder)
    with (folder / "browser.ts").open("a") as client:
        client.write(addition)
    scripts.tool("tsc", "--project", ".", cwd=folder)


def _lay_out(scripts: Scripts, folder: Path) -> None:
    for name in ("browser.ts", "tsconfig.json"):
        shutil.copy(FOLDER / name, folder)
    (folder / "node_modules").symlink_to(scripts.modules)
    _generate(scripts, folder)


def _generate(scripts: Scripts, folder: Path) -> None:
    """From the committed descriptor set, which has every file that the contract needs."""
    names = [file.name for file in FileDescriptorSet.FromString(IMAGE.read_bytes()).file]
    wanted = [name for name in names if not name.startswith("google/protobuf/")]  # those are in the runtime
    plugin = f"--plugin=protoc-gen-es={scripts.launcher('protoc-gen-es', folder)}"
    options = [f"--descriptor_set_in={IMAGE}", plugin, f"--es_out={folder}", "--es_opt=target=ts"]
    assert protoc.main(["protoc", *options, *wanted]) == 0
