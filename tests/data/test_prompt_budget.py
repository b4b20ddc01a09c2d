import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.conftest import png
from vicur.data import Example
from vicur.data.prompt_budget import least_tokens, over_budget


def _example(**changes: object) -> Example:
    fields = {"id": "a", "images": (png(),), "question": "What?", "answer": "12", "source": "s", "split": "test"}
    return Example(**{**fields, **changes})


@pytest.fixture(scope="module")
def tokenizer() -> object:
    """A byte-level BPE with Qwen's pre-tokenizer, trained to merge as much as it can."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    pieces = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, min_frequency=1
    )
    corpus = Path(__file__).read_text(encoding="utf-8")
    tokenizer.train_from_iterator([corpus, "naïve café 東京 ½ x² " * 20, "-" * 64, " " * 128], trainer)
    return tokenizer


TEXTS = [
    "",
    "What is x?",
    "don't",
    "a1b2",
    "x²+½",
    "café",
    "cafe\u0301",
    "東京は?",
    "a_b_c",
    "\0" * 5000,
    "-" * 5000,
    "👩‍👩‍👧" * 50,
]


def test_the_bound_holds_for_a_byte_level_tokenizer(tokenizer: object) -> None:
    for text in TEXTS:
        assert least_tokens(text) <= len(tokenizer.encode(text).ids), repr(text[:20])


@given(st.text(max_size=60))
def test_the_bound_holds_for_any_text(tokenizer: object, text: str) -> None:
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert least_tokens(text) <= len(tokenizer.encode(text).ids)


def test_long_texts_are_counted_in_bounded_time() -> None:
    start = time.monotonic()
    assert least_tokens("word " * 60_000) == 60_000
    for character in ("\0", "\u202e", "a", " ", "e\u0301", "7"):
        assert least_tokens(character * 3_000_000) >= 3_000_000 // 256
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"question": "word " * 101}, "question"),
        ({"choices": ("word " * 60, "word " * 50), "answer": "A"}, "question"),
        ({"rationale": "word " * 101}, "rationale"),
        ({"cue": "word " * 101}, "cue"),
        ({"answer": "7 " * 101}, "answer"),
    ],
)
def test_prompts_of_student_and_teacher_are_limited(changes: dict[str, object], field: str) -> None:
    fault = over_budget(_example(**changes), 100)
    assert fault is not None
    assert fault.field == field
    assert "data.max_prompt_tokens = 100" in fault.reason


def test_a_prompt_at_the_limit_is_accepted() -> None:
    assert over_budget(_example(question="word " * 99), 100) is None
    assert over_budget(_example(question="word " * 99, rationale="one two"), 100) is not None
