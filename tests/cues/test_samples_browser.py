"""The page of samples in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cues.test_audit import FALSE, LEAK, TRUE
from tests.cues.test_samples import ATTACK, page_of, posed
from vicur.cues.providers import NoCue

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
CHROMIUM = "/usr/bin/chromium"
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide", "narrow"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """The opened page. The test fails if the browser logs anything to its console."""
    from playwright.sync_api import sync_playwright

    pairs = [(posed(i), cue) for i, cue in enumerate([TRUE, FALSE, LEAK, NoCue("dark"), f"{TRUE} {ATTACK}"])]
    file = tmp_path / "samples.html"
    file.write_text(page_of(pairs)[0], encoding="utf-8")
    width, scheme = request.param
    messages: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened.on("console", lambda message: messages.append(message.text))
        opened.on("pageerror", lambda error: messages.append(str(error)))
        opened.on("dialog", lambda dialog: messages.append(dialog.message))
        opened.goto(file.as_uri())
        yield opened
        browser.close()
    assert messages == []


def test_images_load_and_the_page_does_not_overflow(page: Page) -> None:
    widths = page.eval_on_selector_all(".sample img", "images => images.map(image => image.naturalWidth)")
    assert widths == [48] * 5
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_samples_can_be_filtered_by_mark(page: Page) -> None:
    assert page.locator(".sample:visible").count() == 5
    page.get_by_label("not grounded").check(force=True)
    shown = page.locator(".sample:visible")
    assert shown.count() == 1
    assert FALSE in shown.inner_text()
    page.get_by_label("all 5").check(force=True)
    assert page.locator(".sample:visible").count() == 5
