from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import draw, png
from tests.training.shapes import shape_examples
from vicur.config.base import model_folder
from vicur.data import Example
from vicur.data.dataset import DatasetWriter
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.modeling.readability import check_readable, check_spelling, unspelled

TINY = model_folder("tiny")


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat.load(TINY)


def _dataset(folder: Path, *rows: dict[str, Any]) -> Path:
    folder.mkdir()
    writer = DatasetWriter(folder)
    default = {"images": (png(),), "question": "What is the sum?", "answer": "12", "source": "s", "split": "test"}
    for number, row in enumerate(rows):
        writer.add(Example(**{"id": f"row-{number}", **default, **row}))
    writer.finish({}, None, 0)
    return folder


def test_the_tiny_base_spells_the_digit_scenes(tmp_path: Path, chat: Chat) -> None:
    draw(tmp_path / "data")
    check_readable(chat, tmp_path / "data", ["distill", "validation", "test", "ood"], TINY)


def test_a_model_that_cannot_spell_the_questions_is_refused_with_share_and_examples(tmp_path: Path, chat: Chat) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    writer = DatasetWriter(folder)
    for example in shape_examples("test", 5):
        writer.add(example)
    writer.finish({}, None, 0)
    with pytest.raises(
        VicurError, match=r"cannot spell \d+\.\d % of the characters of the questions.*'colour'.*"
    ) as error:
        check_readable(chat, folder, ["test"], TINY)
    assert "vicur base train FOLDER --data DATASET" in str(error.value)


@pytest.mark.parametrize(
    "row",
    [{"answer": "rectangle"}, {"choices": ("rectangle", "12"), "answer": "B"}, {"question": "Quel est le nombre?"}],
)
def test_answers_and_choices_count_too(tmp_path: Path, chat: Chat, row: dict[str, Any]) -> None:
    with pytest.raises(VicurError, match="cannot spell"):
        check_readable(chat, _dataset(tmp_path / "data", row), ["test"], TINY)


def test_a_single_unknown_word_among_many_is_accepted(tmp_path: Path, chat: Chat) -> None:
    rows = [{"question": "What is the sum of the red digit and the blue digit?"}] * 20
    check_readable(chat, _dataset(tmp_path / "data", *rows, {"question": "Why is the sum 12?"}), ["test"], TINY)


def test_characters_that_a_tokenizer_leaves_out_are_unspelled(chat: Chat) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # Without an unknown token, BPE drops what it has no token for.
    model = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    other = Chat.__new__(Chat)
    other.tokenizer = PreTrainedTokenizerFast(tokenizer_object=model)
    assert len(list(unspelled(other, "ab cab"))) == 1
    assert list(unspelled(chat, "What is the digit?")) == []


def test_cues_that_a_teacher_cannot_read_are_refused(chat: Chat) -> None:
    check_spelling(chat, {"cues": ["The red digit is 7."] * 20}, TINY, "cues")
    with pytest.raises(VicurError, match=r"cannot spell \d+\.\d % of the characters of the cues.*'trapezoid'"):
        check_spelling(chat, {"cues": ["The trapezoid has parallel sides."]}, TINY, "cues")
