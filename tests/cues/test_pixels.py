"""The pixels provider: cues are a function of image and question."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from tests.cues.examples import example
from vicur.cues.digit_reader import DigitReader, edge_features
from vicur.cues.grounding import is_grounded
from vicur.cues.pixels import PixelProvider, RecognizedScene, cue_for, parse_question
from vicur.cues.providers import NoCue
from vicur.data.png import encode_png
from vicur.data.schema import Example
from vicur.errors import VicurError

SCENE = RecognizedScene(((3, 7, 1), (5, 0, 9)), (("red", "green", "blue"), ("yellow", "purple", "orange")))


@pytest.mark.parametrize(
    ("question", "cue"),
    [
        ("What is the sum of the left column?", "The left column holds 3 and 5."),
        ("What is the difference of the middle column?", "The middle column holds 7 and 0."),
        ("What is the sum of the blue digit and the red digit?", "The blue digit is 1 and the red digit is 3."),
        ("Which is larger, the red digit or the orange digit?", "The red digit is 3 and the orange digit is 9."),
        ("What is the largest digit in the top row?", "The top row holds 3, 7 and 1."),
        ("How many even digits are in the bottom row?", "The bottom row holds 5, 0 and 9."),
        ("  how many EVEN digits\nare in the bottom row? ", "The bottom row holds 5, 0 and 9."),
    ],
)
def test_the_cue_is_the_evidence_that_the_question_needs(question: str, cue: str) -> None:
    posed = parse_question(question)
    assert posed is not None
    assert cue_for(posed, SCENE) == cue


@pytest.mark.parametrize(
    "question", ["", "What is this?", "What is the sum of the upper column?", "Describe the image."]
)
def test_other_questions_are_not_parsed(question: str) -> None:
    assert parse_question(question) is None


def test_every_question_of_the_dataset_gives_the_annotated_cue(scenes: dict[str, list[Example]]) -> None:
    for posed in (one for examples in scenes.values() for one in examples):
        scene = posed.metadata["scene"]
        known = RecognizedScene(*(tuple(map(tuple, scene[name])) for name in ("digits", "colours")))
        parsed = parse_question(posed.question)
        assert parsed is not None
        assert parsed[0] == posed.kind
        assert cue_for(parsed, known) == posed.cue


@pytest.mark.parametrize(("split", "least"), [("distill", 0.85), ("validation", 0.75), ("test", 0.75), ("ood", 0.5)])
def test_most_cues_are_grounded(
    scenes: dict[str, list[Example]], provider: PixelProvider, split: str, least: float
) -> None:
    cues = [(provider.cue(posed), posed) for posed in scenes[split]]
    cues_with_text = [(cue, posed) for cue, posed in cues if isinstance(cue, str)]
    assert len(cues_with_text) >= 0.9 * len(cues)
    assert sum(is_grounded(cue, posed) is True for cue, posed in cues_with_text) >= least * len(cues_with_text)


def test_the_cue_depends_on_image_and_question_only(scenes: dict[str, list[Example]], provider: PixelProvider) -> None:
    for posed in [*scenes["distill"][:60], *scenes["test"][:30]]:
        blank = Example(
            id="other",
            images=posed.images,
            question=posed.question,
            answer="?",
            source="other",
            split="test",
            metadata={},
        )
        assert provider.cue(blank) == provider.cue(posed)


def test_another_image_gives_another_cue(scenes: dict[str, list[Example]], provider: PixelProvider) -> None:
    posed = scenes["test"][0]
    images = {other.images[0] for other in scenes["test"]}
    cues = {provider.cue(posed.model_copy(update={"images": (image,)})) for image in images}
    assert len(cues) > 5


def test_fitting_again_gives_the_same_cues(scenes: dict[str, list[Example]], provider: PixelProvider) -> None:
    again = PixelProvider()
    again.fit(posed for split in again.fitted_on for posed in scenes[split])
    assert again.fingerprint == provider.fingerprint
    assert [again.cue(posed) for posed in scenes["validation"]] == [
        provider.cue(posed) for posed in scenes["validation"]
    ]


def test_other_training_scenes_give_another_fingerprint(
    scenes: dict[str, list[Example]], provider: PixelProvider
) -> None:
    other = PixelProvider()
    other.fit(scenes["base"])
    assert other.fingerprint != provider.fingerprint


def test_fitting_skips_scenes_without_a_valid_grid(scenes: dict[str, list[Example]]) -> None:
    wrong: list[object] = [
        None,
        "a grid",
        {},
        {"digits": [[1, 2]], "colours": [["red"]]},
        {"digits": [[12]], "colours": [["red"]]},
        {"digits": [], "colours": []},
        {"digits": [[]], "colours": [[]]},
    ]
    first = scenes["base"][0]
    examples = [first.model_copy(update={"metadata": {"scene": scene}}) for scene in wrong]
    with pytest.raises(VicurError, match="no digit scenes") as caught:
        PixelProvider().fit(examples)
    assert "annotation" in str(caught.value)
    PixelProvider().fit([*examples, first])


def test_cues_before_fitting_raise_runtimeerror(scenes: dict[str, list[Example]]) -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(\)"):
        PixelProvider().cue(scenes["base"][0])


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ((), "not exactly one image"),
        ((b"broken",), "cannot be decoded"),
        ((encode_png(np.full((32, 48, 3), 30, dtype=np.uint8)),), "nothing stands out"),
        ((encode_png(np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)),), "grid|digits"),
    ],
)
def test_an_unreadable_image_gives_a_reason_instead_of_a_cue(
    provider: PixelProvider, images: tuple[bytes, ...], reason: str
) -> None:
    posed = example("What is the sum of the left column?").model_copy(update={"images": images})
    cue = provider.cue(posed)
    assert isinstance(cue, NoCue)
    assert re.search(reason, cue.reason)


def test_an_unknown_question_has_no_cue(scenes: dict[str, list[Example]], provider: PixelProvider) -> None:
    cue = provider.cue(scenes["test"][0].model_copy(update={"question": "What is this?"}))
    assert isinstance(cue, NoCue)


def test_reading_a_known_digit_does_not_look_up_its_own_label() -> None:
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (2, 16, 16), dtype=np.uint8)
    patches[1] = np.clip(patches[0].astype(int) + 9, 0, 255)
    reader = DigitReader(patches, np.array([3, 8], dtype=np.uint8), np.array([b"own", b"other"]))
    assert reader.read(patches[[0, 0, 1]], [b"own", b"new", b"own"]) == [8, 3, 8]


def test_distances_between_digits_are_exact_in_float32() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    features = edge_features(patches)
    whole = features.astype(np.int64)
    assert np.array_equal(whole, features)
    assert np.array_equal(features @ features.T, whole @ whole.T)
    assert 2 * (whole @ whole.T).max() < 2**24


def test_digits_are_read_alike_together_and_alone(scenes: dict[str, list[Example]], provider: PixelProvider) -> None:
    fitted = PixelProvider()
    fitted.fit(posed for split in fitted.fitted_on for posed in scenes[split])
    posed = [*scenes["distill"][:40], example("What is this?"), *scenes["ood"][:40]]
    assert list(fitted.cues(posed)) == [provider.cue(each) for each in posed]


def test_the_cues_of_the_small_dataset_do_not_change(scenes: dict[str, list[Example]], provider: PixelProvider) -> None:
    cues = [provider.cue(posed) for split in ("distill", "validation", "test", "ood") for posed in scenes[split]]
    text = "\n".join(cue if isinstance(cue, str) else cue.reason for cue in cues)
    assert provider.fingerprint == "962354fadeca98c7"
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "e1baa992cc35388c"
