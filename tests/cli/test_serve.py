"""``vicur serve`` without vLLM. The tests in tests/vllm start real servers."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import vicur as package
from tests.cli.calling import Command

TINY = Path(package.__file__).parent / "modeling/tiny/base"


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_without_the_plugin_the_error_says_what_to_install(
    vicur: Command, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is installed next to vLLM, and tests of its gate import it from this repository.
    monkeypatch.setitem(sys.modules, "vicur_vllm", None)
    result = vicur("serve", "models:/students@champion", *options)
    assert result.code == 2
    assert "the vLLM plugin vicur-vllm is not installed" in result.error
    assert "pip install 'vllm>=0.32,<0.33' ./serving" in result.error


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("max_images", "--limit max_images: the setting has no value"),
        ("max_pictures=1", "there is no setting 'max_pictures'"),
        ("max_images=many", "max_images"),
        ("max_tokens=0", "max_tokens"),
        ("max_request_bytes=2000", "max_request_bytes (2000) must be at least 4/3 of max_image_bytes"),
    ],
)
def test_an_invalid_limit_is_rejected(vicur: Command, limit: str, message: str) -> None:
    result = vicur("serve", "models:/students@champion", "--limit", limit)
    assert result.code == 2
    assert message in result.error


def test_contradicting_sizes_of_images_are_rejected(vicur: Command) -> None:
    result = vicur("serve", "models:/students@champion", "--min-pixels", "4096", "--max-pixels", "1024")
    assert result.code == 2
    assert "min = 4096 is above max = 1024" in result.error


@pytest.mark.skipif(find_spec("vicur_vllm") is None, reason="the vLLM plugin is not installed")
def test_sizes_number_of_images_and_length_can_be_set(vicur: Command) -> None:
    limits = [
        "--limit",
        "max_images=64",
        "--limit",
        "max_model_len=512",
        "--min-pixels",
        "1024",
        "--max-pixels",
        "2048",
    ]
    result = vicur("serve", str(TINY), "--dry-run", *limits)
    assert result.code == 0, result.error
    assert '"vicur_pixels": [1024, 2048]' in result.output
    assert '"image": 64' in result.output
