"""Generation: agreement with transformers, truncation, and independence from the batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache, Qwen3VLForConditionalGeneration

from tests.modeling.test_chat import png
from vicur.config.recovery import CueRecoverySettings
from vicur.config.sampling import Sampling
from vicur.data.digit_scenes import vocabulary
from vicur.errors import NotFiniteError
from vicur.modeling import generation, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.modeling.kv_cache import preallocated_cache
from vicur.modeling.sampling import PlainSampler, is_plain, sample
from vicur.modeling.scoring import score_responses
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.modeling.vision import encode_images

QUESTIONS = (
    "What is the sum of the left column?",
    "Describe the image.",
    "Which is larger, the red digit or the blue digit?",
)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(tiny_tokenizer(vocabulary()), tiny_image_processor())


@pytest.fixture(scope="module", params=["backbone", "first", "assistant"])
def model(request, chat):
    torch.manual_seed(0)
    backbone = Qwen3VLForConditionalGeneration(tiny_config(chat.tokenizer)).eval()
    if request.param == "backbone":
        return backbone
    student = with_cue_recovery(
        backbone, CueRecoverySettings(interval=2, sink=request.param), 0, im_start_token_id=chat.start_id
    )
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "cue_recovery" in name and "o_proj" in name:
                parameter.normal_(std=0.2)
    return student


@pytest.fixture(scope="module")
def prompts(chat):
    images = [[chat.pixels(png(value=40 + 60 * n))] for n in range(3)]
    return [chat.prompt(q, i) for q, i in zip(QUESTIONS, images, strict=True)]


def test_greedy_tokens_equal_those_of_transformers_generate(model, chat, prompts):
    ours = generate(model, chat, prompts, Sampling(temperature=0, max_new_tokens=8), seed=0)
    batch = chat.collate(prompts)
    theirs = model.generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        mm_token_type_ids=batch.mm_token_type_ids,
        pixel_values=torch.cat([p.patches() for p in batch.pixels]),
        image_grid_thw=batch.grids,
        do_sample=False,
        max_new_tokens=8,
        suppress_tokens=chat.forbidden_ids(model.config.text_config.vocab_size).tolist(),
        eos_token_id=chat.end_id,
        pad_token_id=chat.pad_id,
    )
    for response, row in zip(ours, theirs[:, batch.prompt_length :].tolist(), strict=True):
        assert list(response.ids) == row[: len(response.ids)]


def test_greedy_responses_do_not_depend_on_the_batch_or_its_order(model, chat, prompts):
    sampling = Sampling(temperature=0, max_new_tokens=6)
    together = generate(model, chat, prompts, sampling, seed=0)
    alone = [generate(model, chat, [p], sampling, seed=0)[0] for p in prompts]
    backwards = generate(model, chat, prompts[::-1], sampling, seed=0, batch_size=2)[::-1]
    assert [a.ids for a in together] == [a.ids for a in alone] == [a.ids for a in backwards]


def test_the_seed_determines_the_sampled_tokens(model, chat, prompts):
    sampling = Sampling(max_new_tokens=8)
    first, second, other = (generate(model, chat, prompts, sampling, seed=s) for s in (1, 1, 2))
    assert [a.ids for a in first] == [a.ids for a in second] != [a.ids for a in other]


@pytest.fixture(scope="module")
def many_prompts(prompts):
    """Many prompts, and a temperature at which random weights end some responses early and some never."""
    return [prompts[n % 3] for n in range(24)], Sampling(temperature=3.0, max_new_tokens=28)


def test_sampled_tokens_do_not_depend_on_the_batch_or_dropped_rows(model, chat, many_prompts, monkeypatch):
    many, sampling = many_prompts
    dropped = generate(model, chat, many, sampling, seed=3)
    monkeypatch.setattr("vicur.modeling.generation._DROP_AT", -1.0)
    whole = generate(model, chat, many, sampling, seed=3)
    parts = [
        response
        for rows in (range(0, 24, 2), range(1, 24, 2))
        for response in generate(
            model, chat, [many[n] for n in rows], sampling, seed=3, streams=list(rows), batch_size=5
        )
    ]
    shuffled = [parts[n // 2 + (n % 2) * 12] for n in range(24)]
    assert [a.ids for a in dropped] == [a.ids for a in whole] == [a.ids for a in shuffled]
    assert len({len(a.ids) for a in dropped}) > 1
    for first, second in zip(dropped, whole, strict=True):
        assert first.logprobs == pytest.approx(second.logprobs, abs=1e-5)


def test_recorded_logprobs_equal_those_of_the_training_forward(model, chat, many_prompts):
    many, sampling = many_prompts
    mixed = [*many, chat.prompt("What is 7?", [])]  # prompts of four lengths, one without an image
    responses = generate(model, chat, mixed, sampling, seed=3)
    assert len({len(response.ids) for response in responses}) > 3  # rows ended and were dropped at different times
    ids = [response.ids for response in responses]
    forbidden = chat.forbidden_ids(model.config.text_config.vocab_size)
    batch = chat.collate([*mixed, mixed[0]], [*ids, ()])  # an empty response has no part in it
    with torch.no_grad():
        scored = score_responses(model, batch, encode_images(model, batch.pixels), forbidden).logprobs_BR
    for response, row in zip(responses, scored, strict=False):
        assert response.logprobs == pytest.approx(row[: len(response.ids)].tolist(), abs=2e-5)
    assert not scored[-1].any()


def test_prompts_with_and_without_images_share_a_batch(model, chat, prompts):
    sampling = Sampling(temperature=0, max_new_tokens=4)
    mixed = [prompts[0], chat.prompt("What is 7?", []), prompts[1]]
    together = generate(model, chat, mixed, sampling, seed=0)
    assert [a.ids for a in together] == [generate(model, chat, [p], sampling, seed=0)[0].ids for p in mixed]


def test_given_features_replace_the_vision_tower(model, chat, prompts):
    sampling, encoded = Sampling(temperature=0, max_new_tokens=4), []
    features = encode_images(model, [image for prompt in prompts for image in prompt.pixels])

    def encode(images):
        encoded.append([image.key for image in images])
        return features

    known = generate(model, chat, prompts, sampling, seed=0, batch_size=2, encode=encode)
    assert [a.ids for a in known] == [a.ids for a in generate(model, chat, prompts, sampling, seed=0, batch_size=2)]
    assert sorted(map(len, encoded)) == [1, 2]


def test_finished_rows_are_dropped_from_the_batch(model, chat, many_prompts, monkeypatch):
    many, sampling = many_prompts
    sizes = []
    forward = type(model.model).forward

    def watched(self, *args, **kwargs):
        sizes.append(len(kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", watched)
    responses = generate(model, chat, many, sampling, seed=3)
    lengths = sorted(len(response.ids) for response in responses)
    half = lengths[len(lengths) // 2]
    assert sizes[: lengths[0]] == [24] * lengths[0]
    assert all(size <= 12 for size in sizes[half:])
    assert sizes == sorted(sizes, reverse=True)


def test_a_response_can_be_limited_to_one_token(model, chat, prompts):
    responses = generate(model, chat, prompts, Sampling(max_new_tokens=1), seed=0)
    assert [len(response.ids) for response in responses] == [1, 1, 1]


def test_generation_works_without_images(model, chat):
    (response,) = generate(
        model, chat, [chat.prompt("What is 7?", [])], Sampling(temperature=0, max_new_tokens=3), seed=0
    )
    assert 1 <= len(response.ids) <= 3


NOTHING = torch.tensor([], dtype=torch.long)


def sampled(logits, **settings):
    rows = torch.tensor([logits]).repeat(400, 1)
    return set(sample(rows, NOTHING, Sampling(**settings), None, torch.arange(400) / 400)[0].tolist())


def test_top_k_samples_from_the_most_likely_tokens():
    assert sampled([1.0, 0.9, 0.8, 0.0], top_k=2) == {0, 1}


def test_top_p_keeps_the_token_that_crosses_the_threshold():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert sampled(probabilities, top_p=0.6) == {0, 1}
    assert sampled(probabilities, top_p=0.05) == {0}


def test_truncation_preserves_the_proportions_of_the_remaining_tokens():
    probabilities = torch.tensor([0.2, 0.1, 0.4, 0.3])
    rows, numbers = probabilities.log().repeat(1000, 1), (torch.arange(1000) + 0.5) / 1000
    for sampling in (Sampling(top_k=3), Sampling(top_p=0.85), Sampling(top_k=3, top_p=0.95)):
        counts = torch.bincount(sample(rows.clone(), NOTHING, sampling, None, numbers)[0], minlength=4)
        assert counts.tolist() == pytest.approx([1000 * p / 0.9 for p in (0.2, 0.0, 0.4, 0.3)], abs=1)


def test_temperature_sharpens_the_distribution():
    probabilities = torch.tensor([0.8, 0.2])
    rows, numbers = probabilities.log().repeat(1000, 1), (torch.arange(1000) + 0.5) / 1000
    counts = torch.bincount(sample(rows, NOTHING, Sampling(temperature=0.5), None, numbers)[0])
    assert counts.tolist() == pytest.approx([1000 * 0.64 / 0.68, 1000 * 0.04 / 0.68], abs=1)


@pytest.mark.parametrize("count", [513, 1024, 1300])
def test_sampling_by_blocks_inverts_the_whole_distribution(count):
    generator = torch.Generator().manual_seed(count)
    logits = 4 * torch.randn(200, count, generator=generator)
    numbers = torch.rand(200, generator=generator, dtype=torch.float64)
    forbidden = torch.arange(500, 600).clamp(max=count - 1)
    masked = logits.index_fill(-1, forbidden, float("-inf")).double()
    expected = torch.searchsorted(masked.softmax(-1).cumsum(-1), numbers[:, None], right=True)[:, 0]
    tokens, logprobs = sample(logits, forbidden, Sampling(), None, numbers)
    assert (tokens == expected).float().mean() > 0.98  # float32 sums may move a number across an edge
    assert not set(tokens.tolist()) & set(forbidden.tolist())
    assert torch.allclose(logprobs.double(), masked.log_softmax(-1).gather(-1, tokens[:, None])[:, 0], atol=1e-5)


@pytest.mark.parametrize("count", [94, 8192, 20_000])
def test_sampling_from_states_in_tiles_equals_sampling_from_logits(count):
    generator = torch.Generator().manual_seed(count)
    hidden, head = (torch.randn(rows, 8, generator=generator) for rows in (200, count))
    # A whole tile of the largest, and the likeliest ids of some rows.
    forbidden = torch.cat([torch.tensor([0, 7]), torch.arange(8192, 16_384)[: max(0, count - 8192)]])
    numbers = torch.rand(200, generator=generator, dtype=torch.float64)
    expected, logprobs = sample(hidden @ head.t(), forbidden, Sampling(), None, numbers)
    plain = PlainSampler(head, forbidden, rows=200)
    plain.sample(hidden.flip(0), numbers)  # earlier samples leave no trace
    tokens, recorded = plain.sample(hidden, numbers)
    same = tokens == expected
    assert same.float().mean() > 0.98  # float32 sums may move a number across an edge
    assert not torch.isin(tokens, forbidden).any()
    assert torch.allclose(recorded[same], logprobs[same], atol=1e-5)
    fewer, _ = plain.sample(hidden[150:], numbers[150:])
    assert torch.equal(fewer, tokens[150:])


def test_is_plain_only_without_temperature_truncation_and_penalty():
    assert is_plain(Sampling(), 10)
    assert is_plain(Sampling(top_k=10), 10)
    for other in ({"temperature": 0.9}, {"temperature": 0}, {"top_k": 9}, {"top_p": 0.9}, {"presence_penalty": 0.1}):
        assert not is_plain(Sampling(**other), 10)


@pytest.mark.parametrize("count", [5, 1300])
def test_a_random_number_just_below_one_gives_an_allowed_token(count):
    number = torch.tensor([1 - 2.0**-53], dtype=torch.float64)
    token, _ = sample(torch.zeros(1, count), torch.arange(3, count), Sampling(), None, number)
    assert token.tolist() == [2]


def test_presence_penalty_lowers_tokens_that_were_used():
    seen = torch.tensor([[True, False]])
    token, _ = sample(
        torch.tensor([[1.0, 0.9]]), NOTHING, Sampling(temperature=0, presence_penalty=0.5), seen, torch.zeros(1)
    )
    assert token.tolist() == [1]


def test_evenly_spaced_numbers_reproduce_the_probabilities():
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    rows, numbers = probabilities.log().repeat(1000, 1), (torch.arange(1000) + 0.5) / 1000
    tokens, _ = sample(rows, NOTHING, Sampling(), None, numbers)
    assert torch.bincount(tokens, minlength=4).tolist() == [500, 0, 300, 200]


@given(
    st.lists(st.floats(-20, 20), min_size=3, max_size=8),
    st.floats(0.1, 1.0),
    st.integers(0, 8),
    st.floats(0, 1, exclude_max=True),
)
def test_logprobs_are_of_the_masked_untempered_distribution(logits, top_p, top_k, number):
    row, forbidden = torch.tensor([logits]), torch.tensor([0])
    sampling = Sampling(temperature=0.5, top_p=top_p, top_k=top_k)
    token, logprob = sample(row.clone(), forbidden, sampling, None, torch.tensor([number]))
    assert token.item() != 0
    expected = row.masked_fill(torch.arange(len(logits)) == 0, float("-inf")).log_softmax(-1)[0, token]
    assert logprob.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0},
        {"temperature": 0.7, "top_p": 0.9},
        {"top_k": 5},
        {"temperature": 0, "presence_penalty": 1.0},
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_reported_by_every_way_of_sampling(chat, prompts, settings, value):
    torch.manual_seed(0)
    broken = Qwen3VLForConditionalGeneration(tiny_config(chat.tokenizer)).eval()
    with torch.no_grad():
        broken.model.language_model.norm.weight[3] = value
    with pytest.raises(NotFiniteError, match="log-probabilities are not finite"):
        generate(broken, chat, prompts, Sampling(**settings, max_new_tokens=4), seed=0)


def test_vocabulary_of_several_blocks_with_nan_gives_tokens_of_the_vocabulary():
    hidden, head = torch.full((2, 4), float("nan")), torch.randn(1300, 4)
    tokens, logprobs = PlainSampler(head, NOTHING, 2).sample(hidden, torch.tensor([0.0, 0.99]))
    assert all(0 <= token < len(head) for token in tokens.tolist())
    assert logprobs.isnan().all()


@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"temperature": 0.7, "top_p": 0.9}])
def test_preallocated_cache_gives_the_same_bits_as_a_dynamic_one(model, chat, prompts, settings, monkeypatch):
    sampling, many = Sampling(**settings, max_new_tokens=40), [*prompts] * 4
    ours = generate(model, chat, many, sampling, seed=5)
    monkeypatch.setattr(generation, "preallocated_cache", lambda *_: DynamicCache(config=model.config.text_config))
    theirs = generate(model, chat, many, sampling, seed=5)
    assert [r.ids for r in ours] == [r.ids for r in theirs]
    assert [r.logprobs for r in ours] == [r.logprobs for r in theirs]


def test_preallocated_cache_appends_without_copying_and_drops_rows():
    cache, keys = preallocated_cache(2, 6), torch.randn(4, 2, 3, 5)
    for layer in range(2):
        first, _ = cache.update(keys, -keys, layer)
    more = torch.randn(4, 2, 1, 5)
    for layer in range(2):
        second, values = cache.update(more, -more, layer)
    assert second.data_ptr() == first.data_ptr()
    assert torch.equal(second, torch.cat([keys, more], 2))
    assert torch.equal(values, -second)
    assert cache.get_seq_length() == 4
    cache.batch_select_indices(torch.tensor([1, 3]))
    third, values = cache.update(more[[1, 3]], more[[1, 3]], 1)
    assert torch.equal(third, torch.cat([keys, more, more], 2)[[1, 3]])
    assert values.shape == (2, 2, 5, 5)
