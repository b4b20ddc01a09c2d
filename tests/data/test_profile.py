import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tests.data.conftest import draw, png
from vicur.cli import app
from vicur.data import Example
from vicur.data.dataset import DatasetWriter
from vicur.data.hygiene import Finding, Findings
from vicur.data.hygiene.findings import Instance
from vicur.data.profile import profile_of, render_profile
from vicur.data.profile.figures import reason_name
from vicur.steps.dataset_page import write_dataset_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset with hostile texts, skipped rows and findings."""
    folder = tmp_path / "data"
    folder.mkdir()
    writer = DatasetWriter(folder)
    for number, answer in enumerate(["12", "yes", "x^{2}", "a red flower", ATTACK] * 4):
        writer.add(
            Example(
                id=f"{ATTACK}{number}",
                images=(png(300, 200),),
                question=f"{ATTACK} {'long ' * 300}",
                answer=answer,
                cue=ATTACK,
                source="s",
                split="distill" if number % 2 else "test",
            )
        )
    writer.finish({"type": "folder"}, None, 3000)
    rows = [
        {"field": ATTACK, "reason": f"{n} {ATTACK}", "remedy": ATTACK, "file": ATTACK, "row": n} for n in range(3000)
    ]
    (folder / "skipped.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    instance = Instance(ids=(ATTACK, "b"), splits=("distill", "test"), detail=ATTACK)
    found = Findings(images=20, near_copies=2, findings=(Finding(rule="leaked", count=1, instances=(instance,)),))
    (folder / "findings.json").write_text(found.model_dump_json(), encoding="utf-8")
    return folder


def test_figures_describe_the_dataset(dataset: Path) -> None:
    profile = profile_of(dataset)
    split = profile.splits["distill"]
    assert (split.examples, split.types["number"], split.types["yes or no"], split.types["formula"]) == (10, 2, 2, 4)
    assert split.lengths == {"up to 512": 10}
    assert split.sides == {"up to 512": 10}
    assert split.commonest_share == 0.2
    assert (profile.skipped, sum(profile.reasons.values()), len(profile.rejected)) == (3000, 3000, 20)


def test_all_examples_are_counted_and_the_samples_are_spread(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path)
    images = png(40, 30), png(200, 30)
    for number in range(900):
        fields = {"images": (images[number >= 600],), "metadata": {"kind": "late" if number >= 600 else "early"}}
        writer.add(Example(id=str(number), question="?", answer="1", source="s", split="test", **fields))
    writer.finish({"type": "folder"}, None, 0)
    split = profile_of(tmp_path).splits["test"]
    assert (split.sides, split.kinds) == ({"up to 64": 600, "up to 256": 300}, {"early": 600, "late": 300})
    assert [example.id for example in split.samples] == ["0", "150", "300", "450", "600", "750"]
    page = tmp_path / "page.html"
    write_dataset_page(SimpleNamespace(path=str(tmp_path), metadata={}), SimpleNamespace(path=str(page), metadata={}))
    assert "Dataset folder" in page.read_text(encoding="utf-8")


def test_all_text_is_escaped_and_the_page_is_small(dataset: Path) -> None:
    html = render_profile(profile_of(dataset), ATTACK)
    assert "<script" not in html
    assert "onerror=alert" in html
    assert "<img src=x" not in html
    assert len(html) < 400_000


def test_reasons_are_counted_without_their_particulars() -> None:
    first = reason_name("images[0]", "the file 'a.png' does not exist")
    assert first == reason_name("images[3]", "the file 'b.png' does not exist") == "images: the file … does not exist"
    assert reason_name("question", "has at least 60,000 tokens") == reason_name("question", "has at least 9 tokens")


def test_the_command_writes_the_page_of_any_dataset(tmp_path: Path) -> None:
    draw(tmp_path / "scenes")
    before = sorted((tmp_path / "scenes").iterdir())
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["data", "profile", str(tmp_path / "scenes"), "--output", str(page)])
    assert result.exit_code == 0, result.output
    assert "Longer side of an image" in page.read_text(encoding="utf-8")
    assert sorted((tmp_path / "scenes").iterdir()) == before


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide", "narrow"])
def page(request: pytest.FixtureRequest, dataset: Path, tmp_path: Path) -> Iterator["Page"]:
    """The opened page. The test fails if the browser logs anything or opens a dialog."""
    from playwright.sync_api import sync_playwright

    file = tmp_path / "profile.html"
    file.write_text(render_profile(profile_of(dataset), ATTACK), encoding="utf-8")
    width, scheme = request.param
    messages: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened.on("console", lambda message: messages.append(message.text))
        opened.on("dialog", lambda dialog: messages.append(dialog.message))
        opened.goto(file.as_uri())
        yield opened
        browser.close()
    assert messages == []


@pytest.mark.browser
def test_the_page_shows_samples_and_does_not_overflow(page: "Page") -> None:
    widths = page.eval_on_selector_all(".sample img", "images => images.map(image => image.naturalWidth)")
    assert widths == [300] * 12
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
