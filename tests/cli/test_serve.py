"""``vicur serve`` as far as it goes without vLLM; tests/vllm starts real servers."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.cli.calling import Command


@pytest.mark.skipif(find_spec("vicur_vllm") is not None, reason="the plugin for vLLM is installed here")
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_without_the_plugin_it_says_what_to_install(vicur: Command, more: list[str]) -> None:
    result = vicur("serve", "models:/students@champion", *more)
    assert result.code == 2
    assert "the plugin for vLLM is not installed" in result.error
    assert "pip install 'vllm>=0.32,<0.33' ./serving" in result.error


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("max_images", "--limit max_images: the setting has no value"),
        ("max_pictures=1", "there is no setting 'max_pictures'"),
        ("max_images=many", "max_images"),
        ("max_tokens=0", "max_tokens"),
        ("max_request_bytes=2000", "no room for an image of max_image_bytes"),
    ],
)
def test_a_wrong_limit_is_told(vicur: Command, limit: str, said: str) -> None:
    result = vicur("serve", "models:/students@champion", "--limit", limit)
    assert result.code == 2
    assert said in result.error
