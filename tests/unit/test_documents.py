"""What the documents name exists: files, tests, functions and links. They are read by people who then go and look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]+\]\((?!https?://|#)([^)#]+)[^)]*\)")
TEST = re.compile(r"`(test_[a-z0-9_]+)`")
SOURCE = re.compile(r"`((?:[a-z_]+/)+[a-z0-9_]+\.(?:py|sql|proto|yaml))`")
PLACE = re.compile(r"`([a-z_]+(?:/[a-z_]+)*\.py)`,\s+`([A-Za-z_.]+)`")
"""A file and, right after it, what is to be found there."""


def named(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Each page with what it names by `pattern`, once."""
    return sorted({(str(page.relative_to(ROOT)), name) for page in PAGES for name in pattern.findall(page.read_text())})


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """The names of all tests."""
    sources = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for source in sources for name in re.findall(r"^(?:async )?def (test_\w+)", source, re.MULTILINE)}


@pytest.mark.parametrize(("page", "link"), named(LINK))
def test_a_link_leads_somewhere(page: str, link: str) -> None:
    assert (ROOT / page).parent.joinpath(link).exists()


@pytest.mark.parametrize(("page", "name"), [row for row in named(SOURCE) if (ROOT / row[1].split("/")[0]).is_dir()])
def test_a_file_that_is_named_exists(page: str, name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize(("page", "name"), named(TEST))
def test_a_test_that_is_named_exists(page: str, name: str, tests: set[str]) -> None:
    assert name in tests | {path.stem for path in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize(("file", "name"), sorted(set(PLACE.findall((ROOT / "ARCHITECTURE.md").read_text()))))
def test_the_walk_of_a_vote_goes_through_code_that_is_there(file: str, name: str) -> None:
    source = (ROOT / file).read_text()
    for part in name.split("."):
        assert re.search(rf"^\s*(?:async )?(?:def|class) {part}\b", source, re.MULTILINE), f"no {part} in {file}"


def test_the_readme_is_short_and_its_commands_are_those_of_the_script() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) < 120
    assert "\n.uv/bin/uv run pytest\n" in readme
    assert ".uv/bin/uv run pytest " in (ROOT / ".ci" / "run").read_text()
