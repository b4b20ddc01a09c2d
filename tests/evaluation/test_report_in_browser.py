"""Open the report as a file in a headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.evaluation.conftest import context
from vicur.config.comparison import ComparisonConfig
from vicur.evaluation import compare

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Milliseconds. Generous, since a busy machine may be slow.
_PATIENCE = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.fail("no Chromium found: install it (apt-get install chromium) or deselect the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS, timeout=_PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(compared: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "output").mkdir()
    compare(ComparisonConfig(resamples=1000, cards=24), compared, folder / "output", context(folder))
    return folder / "output" / "report.html"


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The open report. Messages on its console and network requests fail the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(_PATIENCE)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if not _is_own(request.url, report) else None)
    page.goto(report.as_uri())
    yield page
    page.close()
    assert problems == []


def _is_own(url: str, report: Path) -> bool:
    return url.startswith("data:") or url.split("#")[0] == report.as_uri()


def test_verdict_and_tables_are_visible(page: Page) -> None:
    assert "vicur answers" in page.locator("h1").inner_text()
    assert page.locator("#results table").count() == 5
    for row in ("base", "opsd", "vicur"):
        assert page.locator("#results table").first.get_by_role("rowheader", name=row).is_visible()
    plots = page.locator("#results svg.forest[role=img]")
    assert plots.count() == 2 * 3 + 1
    assert all(box["width"] > 60 for box in (plots.nth(n).bounding_box() for n in range(7)) if box)


def test_kinds_switch_between_splits(page: Page) -> None:
    tables = page.locator("#kinds .panel")
    assert [tables.nth(n).is_visible() for n in range(3)] == [True, False, False]
    assert tables.first.locator("tbody tr").count() == 7
    page.get_by_role("button", name="Out of domain").click()
    assert [tables.nth(n).is_visible() for n in range(3)] == [False, True, False]


def test_curves_are_drawn_and_can_be_read_with_the_pointer(page: Page) -> None:
    charts = page.locator("[data-chart]")
    assert charts.count() == 12
    assert all(charts.nth(n).locator("path.line").first.bounding_box() for n in range(12))
    surface = charts.first.locator(".surface")
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    assert "step 100" in charts.first.locator("[data-readout]").inner_text()
    assert "step 100" in charts.nth(5).locator("[data-readout]").inner_text()
    assert charts.first.locator(".cursor").is_visible()
    page.mouse.move(1, 1)
    assert charts.first.locator("[data-readout]").inner_text() == ""


def test_curves_can_be_read_with_the_keyboard(page: Page) -> None:
    surface = page.locator("[data-chart] .surface").first
    surface.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert "step 2" in page.locator("[data-readout]").first.inner_text()


def test_cards_are_filtered_by_outcome_student_and_kind(page: Page) -> None:
    visible = page.locator(".card:visible")
    assert visible.count() == 9
    page.get_by_role("button", name="Show more").click()
    assert visible.count() == 24
    image = visible.first.locator("img")
    assert image.evaluate("i => i.complete && i.naturalWidth === 48")
    assert image.evaluate("i => getComputedStyle(i).imageRendering") == "pixelated"
    for outcome, name in (("fixed", "Fixed by student"), ("broken", "Broken by student"), ("wrong", "Both wrong")):
        page.get_by_role("button", name=name).click()
        assert visible.count() > 0
        assert set(visible.evaluate_all("cards => cards.map(c => c.dataset.s1)")) == {outcome}
    page.locator("[data-filter=outcome] button", has_text="Fixed").click()
    page.locator("[data-filter=student] button", has_text="opsd").click()
    assert set(visible.evaluate_all("cards => cards.map(c => c.dataset.s2)")) <= {"fixed"}
    page.locator("[data-filter=outcome] button", has_text="All").click()
    page.locator("select[data-filter=kind]").select_option("colour_sum")
    assert set(visible.evaluate_all("cards => cards.map(c => c.dataset.kind)")) == {"colour_sum"}
    assert "24 in all" in page.locator("#shown").inner_text()


def test_sink_attention_overlays_the_image_for_each_layer(page: Page) -> None:
    view = page.locator("[data-heat]").first
    view.scroll_into_view_if_needed()
    heat = view.locator(".heat-image").first
    overlay, image = heat.locator(".overlay:visible"), heat.locator("img")
    assert overlay.count() == 1
    assert overlay.bounding_box() == image.bounding_box()
    assert overlay.get_attribute("data-layer") == "mean"
    assert overlay.locator("rect.shade").count() == 6
    view.get_by_role("button", name="Layer 2").click()
    assert heat.locator(".overlay:visible").get_attribute("data-layer") == "2"


def test_the_theme_can_be_switched(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Change between light and dark").click()
    assert page.evaluate(background) != light
    page.get_by_role("button", name="Change between light and dark").click()
    assert page.evaluate(background) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_every_screen(browser: Browser, report: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").is_visible()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Browser, report: Path, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(report.as_uri())
    assert page.evaluate(_LOW_CONTRAST) == []
    page.close()


def test_everything_is_readable_without_the_script(browser: Browser, report: Path) -> None:
    closed = browser.new_context(java_script_enabled=False)
    page = closed.new_page()
    page.goto(report.as_uri())
    assert page.locator(".card:visible").count() == 24
    assert page.locator("#kinds table:visible").count() == 3
    assert page.locator("#filters").is_hidden()
    closed.close()


def test_it_works_in_a_sandboxed_frame(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content('<iframe sandbox="allow-scripts" style="width:900px;height:700px"></iframe>')
    page.locator("iframe").evaluate("(frame, html) => { frame.srcdoc = html; }", report.read_text(encoding="utf-8"))
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="Fixed by student").click()
    assert frame.locator(".card:visible").first.get_attribute("data-s1") == "fixed"
    assert errors == []
    page.close()


# Text whose contrast to the nearest opaque background is below WCAG AA (4.5, or 3 where it is large).
_LOW_CONTRAST = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const e of document.querySelectorAll("body *:not(svg *)")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.offsetParent || e.closest(".sr, script, option, .missing")) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(style.color)), light(behind(e))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) found.add(`${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 20)}`);
  }
  return [...found];
}"""
