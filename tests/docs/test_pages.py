"""The map of the code names files that exist, and the index lists every page."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)#]+)\)")


def test_every_file_that_the_map_names_exists():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    links = LINK.findall(text)
    assert len(links) > 20
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_every_function_that_the_map_names_is_in_its_file():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)` in \[[^\]]+\]\(([^)]+)\)", text)
    assert named
    assert [name for name, file in named if f"def {name}(" not in (DOCS / file).read_text(encoding="utf-8")] == []


def test_the_index_lists_every_page():
    listed = set(LINK.findall((DOCS / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= listed
