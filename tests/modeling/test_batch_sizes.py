"""Batches of generation shrink when memory runs out, and the responses stay the same."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from tests.modeling.test_chat import png
from vicur.config.sampling import Sampling
from vicur.data.digit_scenes import vocabulary
from vicur.modeling import batch_sizes, generation
from vicur.modeling.batch_sizes import Batches, row_bytes, rows_that_fit
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.planning.generating import fitting_rows

QUESTIONS = [f"Is it {n} or {m}?" for n in range(3) for m in range(4)]


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(tiny_tokenizer(vocabulary()), tiny_image_processor())


@pytest.fixture(scope="module")
def model(chat: Chat) -> Qwen3VLForConditionalGeneration:
    torch.manual_seed(0)
    return Qwen3VLForConditionalGeneration(tiny_config(chat.tokenizer)).eval()


@pytest.fixture
def prompts(chat: Chat) -> list:
    return [chat.prompt(question, [chat.pixels(png(value=40 + 9 * n))]) for n, question in enumerate(QUESTIONS)]


def memory_for(rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make batches above ``rows`` run out of memory. Returns the sizes that were tried."""
    tried, real = [], generation._generate_batch

    def limited(model, chat, prompts, *rest):
        tried.append(len(prompts))
        if len(prompts) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return real(model, chat, prompts, *rest)

    monkeypatch.setattr(generation, "_generate_batch", limited)
    return tried


@pytest.mark.parametrize("sampling", [Sampling(temperature=0, max_new_tokens=6), Sampling(max_new_tokens=6)])
def test_generation_continues_with_half_the_batch_and_gives_the_same_responses(
    model, chat, prompts, sampling, monkeypatch, caplog
):
    whole = generation.generate(model, chat, prompts, sampling, seed=1)
    tried = memory_for(3, monkeypatch)
    progress: list[int] = []
    halved = generation.generate(
        model, chat, prompts, sampling, seed=1, on_progress=lambda done, _: progress.append(done)
    )
    assert tried == [12, 6, 3, 3, 3, 3]
    assert progress == [3, 6, 9, 12]
    assert [each.ids for each in halved] == [each.ids for each in whole]
    for one, other in zip(halved, whole, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert "Out of memory with 12 prompts at once: continuing with 6." in caplog.text


def test_a_single_prompt_that_does_not_fit_is_an_error(model, chat, prompts, monkeypatch):
    tried = memory_for(0, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError, match=r"20\.00 GiB"):
        generation.generate(model, chat, prompts, Sampling(max_new_tokens=2), seed=0)
    assert tried == [12, 6, 3, 1]


def test_batches_are_as_large_as_configured_on_a_cpu(model, chat, prompts, monkeypatch):
    tried = memory_for(99, monkeypatch)
    generation.generate(model, chat, prompts, Sampling(max_new_tokens=2), seed=0, batch_size=5, fit_memory=True)
    assert tried == [5, 5, 2]
    assert rows_that_fit(model, 5, 10, 10, 4) == 5


def test_batches_are_what_free_memory_holds_on_a_gpu(model, chat, prompts, monkeypatch):
    # On a GPU the estimate bounds each batch, which is never empty.
    free = iter([4, 1, 7])
    monkeypatch.setattr(generation, "rows_that_fit", lambda *_: next(free))
    tried = memory_for(99, monkeypatch)
    generation.generate(model, chat, prompts, Sampling(max_new_tokens=2), seed=0, fit_memory=True)
    assert tried == [4, 1, 7]
    # Rollouts keep their batch, so that a resumed training repeats them.
    generation.generate(model, chat, prompts, Sampling(max_new_tokens=2), seed=0)
    assert tried[3:] == [12]


def test_the_estimate_of_a_row_grows_with_every_length(model):
    small = row_bytes(model, 100, 50, 16)
    assert all(row_bytes(model, *sizes) > small for sizes in ((101, 50, 16), (100, 51, 16), (100, 50, 17)))
    # The cache alone: keys and values of all layers for prompt and response, and half the keys of one.
    text = model.config.text_config
    token = (2 * text.num_hidden_layers + 0.5) * text.num_key_value_heads * text.head_dim * 4
    assert row_bytes(model, 100, 51, 16) - small == token


def test_free_memory_counts_what_the_allocator_holds_and_gives_all_rows_or_a_power_of_two(model, monkeypatch):
    student = model

    class OnGpu:
        device = torch.device("cuda")
        model, lm_head = student.model, student.lm_head

    monkeypatch.setattr(batch_sizes, "text_config", lambda _: model.config.text_config)
    each = row_bytes(model, 100, 50, 16)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 * each, 30 * each))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 14 * each)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 5 * each)
    fitting = 12  # 15 * 0.85
    for rows, expected in ((1, 1), (11, 11), (fitting, fitting), (13, 8), (100, 8)):
        assert rows_that_fit(OnGpu(), rows, 100, 50, 16) == expected
        # The plan chooses alike.
        assert fitting_rows(rows, lambda n: n * each, fitting * each) == expected
    # What will be taken later is not free.
    assert rows_that_fit(OnGpu(), 100, 100, 50, 16, reserved=10 * each) == 4
    assert rows_that_fit(OnGpu(), 100, 100, 50, 16, reserved=99 * each) == 1
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    assert rows_that_fit(OnGpu(), 4, 100, 50, 16) == 1


def test_halving_repeats_the_part_that_failed():
    batches = Batches(range(10), 8, len)
    parts = []
    for part in batches:
        parts.append(list(part))
        if len(part) > 3:
            assert batches.halve(torch.device("cpu"))
    assert parts == [[*range(8)], [*range(4)], [0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
