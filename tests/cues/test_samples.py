"""The page of samples: what is on it, and that nothing from a dataset gets out of its place."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image

from tests.cues.examples import LEFT_COLUMN, example
from tests.cues.test_audit import FALSE, LEAK, QUESTION, TRUE, audited
from vicur.cues.audit import audit_cue
from vicur.cues.providers import NoCue
from vicur.cues.samples import Sample, choose, render_page
from vicur.data.schema import Example

ATTACK = '<script>alert("x")</script>\' onload=alert(1)'


def encoded(size: tuple[int, int], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


def asked(number: int, kind: str = "sum", image: bytes | None = None) -> Example:
    images = (encoded((48, 32)) if image is None else image,)
    made = example(QUESTION, evidence=LEFT_COLUMN, kind=kind)
    return made.model_copy(update={"id": f"example-{number}", "images": images})


def page_of(pairs: list[tuple[Example, str | NoCue]], count: int = 72) -> tuple[str, list[Sample]]:
    rows = [audit_cue(one, cue) for one, cue in pairs]
    samples = choose(rows, [one for one, _ in pairs], count)
    return render_page(samples, audited(rows)), samples


def test_faults_stand_first_and_every_mark_is_shown() -> None:
    page, _ = page_of([(asked(0), TRUE), (asked(1), NoCue("dark")), (asked(2), LEAK), (asked(3), FALSE)])
    marks = re.findall(r'<article class="sample" data-mark="(\w+)">', page)
    assert marks == ["ungrounded", "leaks", "skipped", "fine"]
    assert "gives the answer away (computed): 7 plus 5 is 12" in page
    assert "No cue: dark." in page
    assert "<dt>left column</dt><dd>7, 5</dd>" in page


def test_a_page_of_many_faults_still_shows_good_cues_and_all_kinds() -> None:
    kinds = ["sum", "difference", "count"]
    pairs = [(asked(i, kinds[i % 3]), FALSE if i < 300 else TRUE) for i in range(400)]
    _, samples = page_of(pairs, 20)
    assert len(samples) == 20
    assert {sample.mark for sample in samples} == {"ungrounded", "fine"}
    assert {sample.row.kind for sample in samples[:3]} == set(kinds)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_no_more_than_asked_for_are_shown(count: int) -> None:
    pairs: list[tuple[Example, str | NoCue]] = [(asked(0), TRUE), (asked(1), FALSE), (asked(2), NoCue("dark"))]
    page, samples = page_of(pairs, count)
    assert len(samples) == min(count, 3)
    assert ("None were asked for." in page) == (count == 0)


def test_texts_of_a_dataset_cannot_become_markup() -> None:
    made = Example(
        id=ATTACK,
        images=(encoded((48, 32)),),
        question=ATTACK,
        choices=(ATTACK, "b"),
        answer=ATTACK,
        source="test",
        split="distill",
        metadata={"kind": ATTACK, "evidence": [{"subject": ATTACK, "value": ATTACK}]},
    )
    for cue in (f"Therefore {ATTACK}", NoCue(ATTACK)):
        page, _ = page_of([(made, cue), (asked(1), TRUE)])
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_the_page_needs_nothing_but_itself() -> None:
    page, _ = page_of([(asked(0), TRUE), (asked(1), FALSE)])
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links
    assert all(link.startswith("data:") for link in links)
    assert "http" not in page
    assert "@import" not in page


def test_a_small_image_is_shown_as_it_is_and_a_large_one_scaled_down() -> None:
    small, large = encoded((48, 32)), encoded((3000, 2000), "JPEG")
    page, samples = page_of([(asked(0, image=small), TRUE), (asked(1, image=large), TRUE)])
    assert base64.b64encode(small).decode() in page
    assert [sample.pixelated for sample in samples] == [True, False]
    uri = samples[1].images[0]
    assert uri is not None
    shown = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert max(shown.size) == 384


def test_an_image_that_cannot_be_shown_is_said_to_be_so() -> None:
    page, _ = page_of([(asked(0, image=b"broken"), TRUE)])
    assert "This image cannot be shown." in page


def test_the_same_samples_make_the_same_page() -> None:
    pairs: list[tuple[Example, str | NoCue]] = [(asked(0), TRUE), (asked(1), FALSE)]
    assert page_of(pairs)[0] == page_of(pairs)[0]
