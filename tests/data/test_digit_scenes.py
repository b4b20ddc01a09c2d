import io
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.data.conftest import SMALL
from vicur.config.data import SPLITS, DigitScenesConfig, Distortion, Pool
from vicur.data import Example, digit_scenes, read_examples, rendering
from vicur.data.digit_scenes import build_pools, digit_pools
from vicur.data.scene_text import KINDS
from vicur.errors import VicurError


@pytest.fixture(scope="module")
def examples(embedded: Path) -> dict[str, list[Example]]:
    return {split: read_examples(embedded, split) for split in SPLITS}


def _digit_ids(examples: list[Example]) -> set[int]:
    return {digit for example in examples for line in example.metadata["scene"]["digit_ids"] for digit in line}


def test_splits_share_no_digit_image(examples: dict[str, list[Example]]) -> None:
    for one, other in combinations(SPLITS, 2):
        assert not _digit_ids(examples[one]) & _digit_ids(examples[other])


def test_no_two_digit_images_are_equal() -> None:
    pools = digit_pools(DigitScenesConfig())
    images = [image.tobytes() for pool in pools.values() for image in pool.images]
    assert len(set(images)) == len(images) == 1630


def test_pools_are_balanced_and_the_same_for_every_seed() -> None:
    sizes = {"base": 80, "distill": 700, "validation": 150, "test": 300, "ood": 400}
    for split, pool in digit_pools(DigitScenesConfig()).items():
        assert np.bincount(pool.labels).tolist() == [sizes[split] // 10] * 10
    allowed = digit_pools(SMALL)
    for seed in (0, 1):
        for split, examples in build_pools(SMALL, seed).items():
            assert _digit_ids(examples) <= set(allowed[split].ids.tolist())


def test_splits_have_the_documented_sizes(examples: dict[str, list[Example]]) -> None:
    assert {split: len(rows) for split, rows in examples.items()} == {
        "base": 6000,
        "distill": 4050,
        "validation": 600,
        "test": 1200,
        "ood": 600,
    }
    assert len({example.group for example in examples["test"]}) == 400


def test_ids_are_unique_and_no_scene_is_in_two_splits(examples: dict[str, list[Example]]) -> None:
    everything = [example for rows in examples.values() for example in rows]
    assert len({example.id for example in everything}) == len(everything)
    splits_of: dict[bytes, set[str]] = {}
    for example in everything:
        splits_of.setdefault(example.images[0], set()).add(example.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert len(splits_of) == len({example.group for example in everything})


def test_kinds_are_balanced_and_guessing_gains_little(examples: dict[str, list[Example]]) -> None:
    for split, rows in examples.items():
        kinds = Counter(example.kind for example in rows)
        assert set(kinds) == set(KINDS)
        assert max(kinds.values()) - min(kinds.values()) <= 1
        guessed = sum(
            Counter(example.answer for example in rows if example.kind == kind).most_common(1)[0][1] for kind in KINDS
        )
        assert guessed / len(rows) < 0.17, split


def test_the_questions_about_a_scene_are_of_different_kinds(examples: dict[str, list[Example]]) -> None:
    kinds: dict[str, list[str]] = {}
    for example in examples["test"]:
        kinds.setdefault(example.group, []).append(example.kind)
    assert all(len(set(each)) == len(each) == 3 for each in kinds.values())


def test_images_are_rgb_of_48_by_32_in_all_six_colours(
    examples: dict[str, list[Example]],
) -> None:
    for example in examples["test"][::100]:
        image = Image.open(io.BytesIO(example.images[0]))
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (48, 32))
        assert sorted(colour for row in example.metadata["scene"]["colours"] for colour in row) == sorted(
            ["red", "green", "blue", "yellow", "purple", "orange"]
        )


def test_the_image_shows_the_listed_digits() -> None:
    """Rendered without distortion, each cell correlates most with the digit image that the scene lists for it."""
    plain = Distortion(rotation=0, shift=0, scale=(100, 100), intensity=(100, 100), noise=0)
    config = SMALL.model_copy(update={"test": Pool(digits_per_class=20, scenes=5, distortion=plain)})
    handwriting = digit_pools(config)["test"]
    count = len(handwriting.ids)
    rendered = rendering._resample(
        handwriting.images, np.zeros(count, int), np.zeros((count, 2), int), np.full(count, 100)
    )
    for example in build_pools(config, 0)["test"]:
        scene = example.metadata["scene"]
        pixels = np.asarray(Image.open(io.BytesIO(example.images[0]))).max(axis=2)
        cells = pixels.reshape(2, 16, 3, 16).transpose(0, 2, 1, 3).reshape(6, 256)
        similarity = np.corrcoef(cells, rendered.reshape(count, 256))[:6, 6:]
        best = similarity.argmax(axis=1)
        assert handwriting.ids[best].tolist() == [digit for row in scene["digit_ids"] for digit in row]
        assert handwriting.labels[best].tolist() == [digit for row in scene["digits"] for digit in row]


def test_a_scene_depends_only_on_seed_split_and_number() -> None:
    pools = build_pools(SMALL, 0)
    more = build_pools(SMALL.model_copy(update={"base": Pool(digits_per_class=2, scenes=9)}), 0)
    assert more["base"][: len(pools["base"])] == pools["base"]
    assert more["ood"] == pools["ood"]
    assert build_pools(SMALL, 1)["ood"] != pools["ood"]


def test_pools_with_too_much_handwriting_are_rejected() -> None:
    with pytest.raises(ValidationError, match="adds up to 266, but there are only 174 images"):
        DigitScenesConfig(base=Pool(digits_per_class=111, scenes=1))


def test_a_descending_range_is_rejected() -> None:
    with pytest.raises(ValidationError, match="scale must be"):
        Distortion(scale=(110, 90))


def test_another_release_of_the_handwriting_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digit_scenes, "_HANDWRITING", "0" * 64)
    with pytest.raises(VicurError, match="other images in load_digits"):
        digit_pools(SMALL)


def test_combining_questions_changes_the_prompts_and_not_the_images() -> None:
    pool = Pool(digits_per_class=4, scenes=6)
    alone = DigitScenesConfig(base=pool, distill=pool, validation=pool, test=pool, ood=pool)
    apart, joined = (build_pools(config, 0)["test"] for config in (alone, alone.model_copy(update={"together": 5})))
    assert len(apart) == len(joined) == 18
    assert [e.images for e in apart[::3]] == [e.images for e in joined[::3]]
    assert all(e.question.count("?") == 5 for e in joined)
    assert len({e.id for e in joined}) == len(joined)
