"""The KV cache is passed and found under the name that the installed transformers uses, old or new."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from transformers import DynamicCache
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from tests.modeling.factory import backbone
from vicur.errors import VicurError
from vicur.modeling import cache_argument as module
from vicur.modeling.cache_argument import cache_argument, cache_of
from vicur.modeling.image_blocking import block_images


def test_argument_is_one_of_the_installed_models() -> None:
    cache = DynamicCache()
    ((name, value),) = cache_argument(cache).items()
    assert name in inspect.signature(inspect.unwrap(Qwen3VLTextModel.forward)).parameters
    assert value is cache


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_argument_follows_the_signature_of_the_models(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"def forward(self, input_ids, {name}=None): ...", namespace)  # noqa: S102 (a function with that parameter)
    monkeypatch.setattr(module, "Qwen3VLTextModel", SimpleNamespace(forward=namespace["forward"]))
    assert cache_argument(None) == {name: None}


def test_models_without_such_an_argument_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Qwen3VLTextModel", SimpleNamespace(forward=lambda kv_state: kv_state))
    with pytest.raises(VicurError, match="neither cache nor past_key_values"):
        cache_argument(None)


def test_cache_is_found_under_either_name() -> None:
    cache = DynamicCache()
    assert cache_of({"cache": cache}) is cache_of({"past_key_values": cache}) is cache
    assert cache_of({"past_key_values": None, "cache": cache}) is cache
    assert cache_of({}) is None
    assert cache_of({"cache": None}, required=True) is None


def test_blocking_images_fails_if_the_cache_has_an_unknown_name() -> None:
    model = backbone()
    block_images(model)
    text = model.model.language_model
    hook = next(iter(text._forward_pre_hooks.values()))
    embedded = torch.zeros(1, 2, model.config.text_config.hidden_size)
    with pytest.raises(VicurError, match="no argument for the KV cache"):
        hook(text, (), {"inputs_embeds": embedded, "kv_state": DynamicCache()})
