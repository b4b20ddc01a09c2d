"""Cached image features: bit-identical, of the right tower, within their limits, and never from a damaged file."""

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
# Bytes of the features of one image: 6 visual tokens of the vision tower, and as many of its one deepstack layer.
SIZE = 2 * 6 * 64 * 4


@pytest.fixture(scope="module")
def model():
    return backbone()


@pytest.fixture
def calls(model):
    """Number of images that the tower encodes in each call."""
    encoded: list[int] = []
    hook = model.model.visual.register_forward_hook(
        lambda _module, _args, kwargs, _out: encoded.append(len(kwargs["grid_thw"])), with_kwargs=True
    )
    yield encoded
    hook.remove()


def files(model, folder: Path, limit: int = 1 << 20) -> FeatureFiles:
    return FeatureFiles(folder, tower_sha256(model), limit)


def same(first, second) -> bool:
    pairs = zip((first.tokens_NH, *first.deepstack_NH), (second.tokens_NH, *second.deepstack_NH), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_features_do_not_depend_on_the_batch(model):
    together, alone = FrozenFeatures(model).of(IMAGES), FrozenFeatures(model).of(IMAGES[2:3])
    assert same(together[IMAGES[2].key], alone[IMAGES[2].key])
    with torch.no_grad():
        plain = encode_images(model, IMAGES)
    assert torch.allclose(together[IMAGES[2].key].tokens_NH, plain[IMAGES[2].key].tokens_NH, atol=1e-5)


def test_memory_evicts_the_least_recently_used_features(model, calls):
    cache = FrozenFeatures(model, max_bytes=2 * SIZE)
    cache.of(IMAGES[:2])
    cache.of(IMAGES[:1])
    cache.of(IMAGES[2:3])  # evicts image 1
    assert calls == [1] * 3
    cache.of([IMAGES[0], IMAGES[2]])
    assert calls == [1] * 3
    cache.of(IMAGES[1:2])
    assert calls == [1] * 4


def test_a_batch_larger_than_memory_is_returned_completely(model, calls):
    features = FrozenFeatures(model, max_bytes=SIZE).of([*IMAGES, IMAGES[0]])
    assert list(features) == [i.key for i in IMAGES]
    assert calls == [1] * 4


def test_evicted_features_are_read_from_disk_bit_for_bit(model, calls, tmp_path):
    first = FrozenFeatures(model, 0, files(model, tmp_path)).of(IMAGES)
    second = FrozenFeatures(model, 0, files(model, tmp_path)).of(IMAGES)
    assert calls == [1] * 4
    assert all(same(first[i.key], second[i.key]) for i in IMAGES)


def test_files_of_another_tower_are_not_used(model, tmp_path):
    other = backbone(seed=1)
    FrozenFeatures(model, files=files(model, tmp_path)).of(IMAGES)
    found = FrozenFeatures(other, files=files(other, tmp_path)).of(IMAGES)[IMAGES[0].key]
    with torch.no_grad():
        own = encode_images(other, IMAGES[:1])[IMAGES[0].key]
    assert same(found, own)


def test_the_tower_hash_changes_with_one_bit_but_not_with_the_text_backbone(model):
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
def test_a_damaged_file_is_replaced_with_a_warning(model, calls, tmp_path, caplog, harm):
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


def test_files_never_exceed_their_limit_across_processes(model, calls, tmp_path):
    limit = 2 * SIZE + 1024  # and their headers
    for _ in range(2):
        FrozenFeatures(model, 0, files(model, tmp_path, limit)).of(IMAGES)
        assert 0 < sum(path.stat().st_size for path in files_below(tmp_path)) <= limit
    assert calls == [1] * 4 + [1] * 2


def test_an_unwritable_disk_disables_the_file_cache(model, calls, tmp_path, caplog):
    (tmp_path / "features").write_text("in the way")
    features = FrozenFeatures(model, 0, files(model, tmp_path / "features")).of(IMAGES)
    assert len(features) == 4
    assert calls == [1] * 4
    assert caplog.text.count("Cannot write image features to disk") == 1


def test_the_settings_set_the_size_of_the_file_cache(model, tmp_path):
    FrozenFeatures.cached(model, FeatureCacheConfig(disk_gb=0), tmp_path).of(IMAGES)
    assert not files_below(tmp_path)
    FrozenFeatures.cached(model, FeatureCacheConfig(disk_gb=4 * SIZE / 1e9), tmp_path).of(IMAGES)
    assert 1 <= len(files_below(tmp_path)) <= 4
