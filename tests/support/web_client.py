"""Builds the TypeScript client for a browser: protos to TypeScript by protoc-gen-es, all of it by esbuild."""

from __future__ import annotations

import shutil
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from tests.support.node import FOLDER, Scripts

IMAGE = Path(__file__).parents[2] / "protos" / "zmart" / "v1" / "descriptors.binpb"


def build_web_client(scripts: Scripts, folder: Path) -> str:
    """The bundle of tests/node/browser.ts with its generated client, as one module."""
    shutil.copy(FOLDER / "browser.ts", folder)
    (folder / "node_modules").symlink_to(scripts.modules)
    _generate(scripts, folder)
    scripts.tool("esbuild", "browser.ts", "--bundle", "--format=esm", "--outfile=bundle.js", cwd=folder)
    return (folder / "bundle.js").read_text()


def _generate(scripts: Scripts, folder: Path) -> None:
    """From the committed descriptor set, which has every file that the contract needs."""
    names = [file.name for file in FileDescriptorSet.FromString(IMAGE.read_bytes()).file]
    wanted = [name for name in names if not name.startswith("google/protobuf/")]  # those are in the runtime
    plugin = f"--plugin=protoc-gen-es={scripts.launcher('protoc-gen-es', folder)}"
    options = [f"--descriptor_set_in={IMAGE}", plugin, f"--es_out={folder}", "--es_opt=target=ts"]
    assert protoc.main(["protoc", *options, *wanted]) == 0
