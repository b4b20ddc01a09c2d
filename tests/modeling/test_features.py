"""Features that are kept: those of the right tower, to the last bit, within their room, and never from a damaged file."""

from pathlib import Path

import pytest
import torch

from tests.modeling.factory import Picture, backbone
from vicur.config.features import FeatureCacheConfig
from vicur.modeling.chat import Pixels
from vicur.modeling.feature_files import FeatureFiles, tower_sha256
from vicur.modeling.features import FrozenFeatures
from vicur.modeling.vision import encode_images
from vicur.storage.folders import files_below


def image(seed: int) -> Pixels:
    picture = Picture(seed=seed)
    return Pixels(f"{seed:064x}", lambda: picture.pixels, picture.grid, picture.height * picture.width)


IMAGES = [image(n) for n in range(4)]
# What the features of one image take: 6 visual tokens of the vision tower, and as many for its one deepstack layer.
SIZE = 2 * 6 * 64 * 4


@pytest.fixture(scope="module")
def model():
    return backbone()


@pytest.fixture
def calls(model):
    """Images that the tower encodes, a number a call."""
    seen: list[int] = []
    hook = model.model.visual.register_forward_hook(
        lambda _module, _args, kwargs, _out: seen.append(len(kwargs["grid_thw"])), with_kwargs=True
    )
    yield seen
    hook.remove()


def files(model, folder: Path, room: int = 1 << 20) -> FeatureFiles:
    return FeatureFiles(folder, tower_sha256(model), room)


def same(first, second) -> bool:
    pairs = zip((first.tokens_NH, *first.deepstack_NH), (second.tokens_NH, *second.deepstack_NH), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_features_do_not_depend_on_the_batch_in_which_an_image_came_first(model):
    together, alone = FrozenFeatures(model).of(IMAGES), FrozenFeatures(model).of(IMAGES[2:3])
    assert same(together[IMAGES[2].key], alone[IMAGES[2].key])
    with torch.no_grad():
        plain = encode_images(model, IMAGES)
    assert torch.allclose(together[IMAGES[2].key].tokens_NH, plain[IMAGES[2].key].tokens_NH, atol=1e-5)


def test_memory_holds_what_was_used_last(model, calls):
    kept = FrozenFeatures(model, max_bytes=2 * SIZE)
    kept.of(IMAGES[:2])
    kept.of(IMAGES[:1])
    kept.of(IMAGES[2:3])  # takes the place of image 1
    assert calls == [1] * 3
    kept.of([IMAGES[0], IMAGES[2]])
    assert calls == [1] * 3
    kept.of(IMAGES[1:2])
    assert calls == [1] * 4


def test_a_batch_larger_than_memory_is_answered_whole(model, calls):
    made = FrozenFeatures(model, max_bytes=SIZE).of([*IMAGES, IMAGES[0]])
    assert list(made) == [i.key for i in IMAGES]
    assert calls == [1] * 4


def test_what_leaves_memory_is_found_on_disk_bit_for_bit(model, calls, tmp_path):
    first = FrozenFeatures(model, 0, files(model, tmp_path)).of(IMAGES)
    second = FrozenFeatures(model, 0, files(model, tmp_path)).of(IMAGES)
    assert calls == [1] * 4
    assert all(same(first[i.key], second[i.key]) for i in IMAGES)


def test_files_of_another_tower_are_not_taken(model, tmp_path):
    other = backbone(seed=1)
    FrozenFeatures(model, files=files(model, tmp_path)).of(IMAGES)
    found = FrozenFeatures(other, files=files(other, tmp_path)).of(IMAGES)[IMAGES[0].key]
    with torch.no_grad():
        own = encode_images(other, IMAGES[:1])[IMAGES[0].key]
    assert same(found, own)


def test_a_tower_is_told_apart_by_a_single_bit_and_not_by_the_text_backbone(model):
    other = backbone()
    assert tower_sha256(model) == tower_sha256(other)
    with torch.no_grad():
        other.model.language_model.norm.weight.add_(1.0)
    assert tower_sha256(model) == tower_sha256(other)
    with torch.no_grad():
        weight = other.model.visual.merger.linear_fc2.weight
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert tower_sha256(model) != tower_sha256(other)


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty"])
def test_a_damaged_file_is_passed_over_with_a_warning_and_written_again(model, calls, tmp_path, caplog, harm):
    whole = FrozenFeatures(model, files=files(model, tmp_path)).of(IMAGES[:1])[IMAGES[0].key]
    (path,) = files_below(tmp_path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes({"flipped": bytes(data), "cut": bytes(data[:-8]), "empty": b""}[harm])
    again = FrozenFeatures(model, files=files(model, tmp_path)).of(IMAGES[:1])[IMAGES[0].key]
    assert same(again, whole)
    assert calls == [1, 1]
    assert "is damaged" in caplog.text
    FrozenFeatures(model, files=files(model, tmp_path)).of(IMAGES[:1])
    assert calls == [1, 1]


def test_files_take_no_more_than_their_room_in_this_process_and_the_next(model, calls, tmp_path):
    room = 2 * SIZE + 1024  # and their headers
    for _ in range(2):
        FrozenFeatures(model, 0, files(model, tmp_path, room)).of(IMAGES)
        assert 0 < sum(path.stat().st_size for path in files_below(tmp_path)) <= room
    assert calls == [1] * 4 + [1] * 2


def test_a_disk_that_takes_no_files_costs_time_alone(model, calls, tmp_path, caplog):
    (tmp_path / "features").write_text("in the way")
    made = FrozenFeatures(model, 0, files(model, tmp_path / "features")).of(IMAGES)
    assert len(made) == 4
    assert calls == [1] * 4
    assert caplog.text.count("no longer kept on disk") == 1


def test_settings_give_the_room(model, tmp_path):
    FrozenFeatures.kept(model, FeatureCacheConfig(disk_gb=0), tmp_path).of(IMAGES)
    assert not files_below(tmp_path)
    FrozenFeatures.kept(model, FeatureCacheConfig(disk_gb=4 * SIZE / 1e9), tmp_path).of(IMAGES)
    assert 1 <= len(files_below(tmp_path)) <= 4
