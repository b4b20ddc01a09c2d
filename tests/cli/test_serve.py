"""``vicur serve`` without vLLM. The tests in tests/vllm start real servers."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.cli.calling import Command


@pytest.mark.skipif(find_spec("vicur_vllm") is not None, reason="the vLLM plugin is installed")
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_without_the_plugin_the_error_says_what_to_install(vicur: Command, options: list[str]) -> None:
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
