import hashlib

import numpy as np
import pytest
from PIL import Image

from tests.data.hygiene.pictures import drawing, photos, saved, scaled, scenes
from vicur.data.fingerprint import FINGERPRINT_BYTES, fingerprint
from vicur.data.hygiene.prints import Prints
from vicur.data.hygiene.similar import alike, near_duplicates


def _prints(images: list[Image.Image]) -> Prints:
    data = b"".join(fingerprint(image) for image in images)
    return Prints.of(np.frombuffer(data, dtype=np.uint8).reshape(-1, FINGERPRINT_BYTES))


def _found(originals: list[Image.Image], copies: list[Image.Image]) -> float:
    """Return the share of the copies that are near-duplicates of their original."""
    count = np.arange(len(originals))
    return float(np.mean(alike(_prints([*originals, *copies]), count, count + len(originals))))


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    # Computed once and pinned: with floating point, bits of the blank image and of the drawing would depend on the machine.
    chequered = Image.fromarray(np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((9, 9), int)).astype(np.uint8) * 255)
    pictures = [chequered, Image.new("RGB", (64, 64), "white"), scenes("test", 1)[0][0]]
    digests = [hashlib.sha256(fingerprint(each)).hexdigest()[:12] for each in pictures]
    assert digests == ["c4f5721fe7b0", "f7c090687fcc", "76e928b1e6f8"]


def test_other_scenes_photos_and_drawings_are_not_near_duplicates() -> None:
    images = [scene[0] for split in ("distill", "ood") for scene in scenes(split, 100)]
    images += photos() + [drawing(number) for number in range(40)]
    prints = _prints(images)
    left, right = np.triu_indices(len(prints), k=1)
    assert not alike(prints, left, right).any()
    assert len(set(near_duplicates(prints).tolist())) == len(prints)


@pytest.mark.parametrize("variant", [1, 2], ids=["another digit", "swapped colours"])
def test_scenes_that_differ_in_one_digit_or_two_colours_are_not_near_duplicates(variant: int) -> None:
    pairs = scenes("distill", 100) + scenes("ood", 100)
    assert _found([pair[0] for pair in pairs], [pair[variant] for pair in pairs]) == 0


def test_compressed_and_scaled_copies_are_found() -> None:
    for originals in ([scene[0] for scene in scenes("distill", 60)], photos(), [drawing(n) for n in range(20)]):
        for copies in (
            [saved(image, quality=75) for image in originals],
            [saved(image, "PNG") for image in originals],
            [scaled(image, 0.5) for image in originals],
            [scaled(image, 2) for image in originals],
        ):
            assert _found(originals, copies) >= 0.9


def test_copies_are_found_among_many_images() -> None:
    random = np.random.default_rng(0)
    prints = random.integers(0, 256, (20_000, FINGERPRINT_BYTES), dtype=np.uint8)
    prints[:500] = prints[500:1000]
    prints[:500, 3] ^= 0b101  # two bits of the hash
    prints[:500, 40] = np.clip(prints[:500, 40].astype(int) + 5, 0, 255)  # five levels of the thumbnail
    clusters = near_duplicates(Prints.of(prints))
    assert (clusters[:500] == clusters[500:1000]).all()
    assert len(np.unique(clusters)) == 19_500


def test_any_fifteen_bits_may_differ() -> None:
    random = np.random.default_rng(1)
    original = random.integers(0, 256, FINGERPRINT_BYTES, dtype=np.uint8)
    for _ in range(50):
        bits = np.zeros(256, dtype=np.uint8)
        bits[random.choice(256, 15, replace=False)] = 1
        copy = original.copy()
        copy[:32] ^= np.packbits(bits)
        assert len(set(near_duplicates(Prints.of(np.stack([original, copy]))).tolist())) == 1


def test_many_similar_drawings_stay_apart() -> None:
    # 40 drawings that differ in one label only: no copies, but one kind of drawing.
    prints = _prints([drawing(1, label=number) for number in range(10, 50)])
    assert len(set(near_duplicates(prints).tolist())) > 8
