"""The pages name files, modules and functions that exist, and the index lists every page."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
LINK = re.compile(r"\]\(([^)#]+)\)")
# Folders whose files the pages name without a link.
FOLDERS = "vicur|pipelines|components|tests|benchmarks|configs|images|k8s|serving|docs"


def text_of(page):
    return page.read_text(encoding="utf-8")


def test_the_map_links_the_files_that_it_names():
    links = LINK.findall(text_of(DOCS / "architecture.md"))
    assert len(links) > 20
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_the_map_names_definitions_that_are_in_the_linked_file():
    named = re.findall(r"`(\w+)` in \[[^\]]+\]\(([^)]+)\)", text_of(DOCS / "architecture.md"))
    assert len(named) > 5
    definition = r"(?m)^\s*(def|class) {0}\b|^{0}\b.* ="
    assert [name for name, file in named if not re.search(definition.format(name), text_of(DOCS / file))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_files_that_exist(page):
    text = text_of(page)
    named = re.findall(rf"`((?:{FOLDERS})/[\w./*-]+)`", text) + re.findall(r"\btests/[\w/]+\.py\b", text)
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/").rstrip(".")))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_modules_that_exist(page):
    named = set(
        re.findall(r"(?<![\w./])(?:from |import |`)(vicur(?:_\w+)?(?:\.[a-z]\w*)+)(?=`| import)", text_of(page))
    )

    def exists(name):
        try:
            return importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    # A dotted name may also be a metadata tag, which no page writes as an import.
    imported = {name for name in named if re.search(rf"(from|import) {re.escape(name)}\b", text_of(page))}
    assert [name for name in sorted(imported) if not exists(name)] == []


def test_the_index_lists_every_page():
    listed = set(LINK.findall(text_of(DOCS / "README.md")))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= listed
