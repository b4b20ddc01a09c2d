"""The page of samples: its content, and the escaping of text from the dataset."""

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


def posed(number: int, kind: str = "sum", image: bytes | None = None) -> Example:
    images = (encoded((48, 32)) if image is None else image,)
    made = example(QUESTION, evidence=LEFT_COLUMN, kind=kind)
    return made.model_copy(update={"id": f"example-{number}", "images": images})


def page_of(pairs: list[tuple[Example, str | NoCue]], count: int = 72) -> tuple[str, list[Sample]]:
    rows = [audit_cue(one, cue) for one, cue in pairs]
    samples = choose(rows, [one for one, _ in pairs], count)
    return render_page(samples, audited(rows)), samples


def test_faults_come_first_and_every_mark_is_shown() -> None:
    page, _ = page_of([(posed(0), TRUE), (posed(1), NoCue("dark")), (posed(2), LEAK), (posed(3), FALSE)])
    marks = re.findall(r'<article class="card sample[^"]*" data-mark="(\w+)">', page)
    assert marks == ["ungrounded", "leaks", "skipped", "fine"]
    assert "gives the answer away (computed): 7 plus 5 is 12" in page
    assert "No cue: dark." in page
    assert "<dt>left column</dt><dd>7, 5</dd>" in page


def test_a_page_of_many_faults_still_shows_good_cues_and_all_kinds() -> None:
    kinds = ["sum", "difference", "count"]
    pairs = [(posed(i, kinds[i % 3]), FALSE if i < 300 else TRUE) for i in range(400)]
    _, samples = page_of(pairs, 20)
    assert len(samples) == 20
    assert {sample.mark for sample in samples} == {"ungrounded", "fine"}
    assert {sample.row.kind for sample in samples[:3]} == set(kinds)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_no_more_samples_than_requested_are_shown(count: int) -> None:
    pairs: list[tuple[Example, str | NoCue]] = [(posed(0), TRUE), (posed(1), FALSE), (posed(2), NoCue("dark"))]
    page, samples = page_of(pairs, count)
    assert len(samples) == min(count, 3)
    assert ("No samples were requested" in page) == (count == 0)


def test_text_from_a_dataset_is_escaped() -> None:
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
        page, _ = page_of([(made, cue), (posed(1), TRUE)])
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_the_page_is_self_contained() -> None:
    page, _ = page_of([(posed(0), TRUE), (posed(1), FALSE)])
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links
    assert all(link.startswith("data:") for link in links)
    assert not re.search(r"https?:", page)
    assert "default-src 'none'" in page
    assert "@import" not in page


def test_small_images_are_embedded_unchanged_and_large_ones_scaled_down() -> None:
    small, large = encoded((48, 32)), encoded((3000, 2000), "JPEG")
    page, samples = page_of([(posed(0, image=small), TRUE), (posed(1, image=large), TRUE)])
    assert base64.b64encode(small).decode() in page
    assert [sample.pixelated for sample in samples] == [True, False]
    uri = samples[1].images[0]
    assert uri is not None
    shown = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert max(shown.size) == 384


def test_an_undecodable_image_is_reported_on_the_page() -> None:
    page, _ = page_of([(posed(0, image=b"broken"), TRUE)])
    assert "This image cannot be shown." in page


def test_rendering_is_deterministic() -> None:
    pairs: list[tuple[Example, str | NoCue]] = [(posed(0), TRUE), (posed(1), FALSE)]
    assert page_of(pairs)[0] == page_of(pairs)[0]
