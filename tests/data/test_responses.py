import pytest

from vicur.data.formats.responses import Response, split_response
from vicur.data.formats.turns import Pair, Turn, pairs
from vicur.data.schema import Fault


@pytest.mark.parametrize(
    ("text", "answer", "rationale"),
    [
        ("<think>\nAdd.\n</think>\n<answer>\nFinal Answer:B\n</answer>", "B", "Add."),
        ("<think>Add.</think>\n\n**Final Answer**\n12", "12", "Add."),
        ("<SUMMARY> S. </SUMMARY>\n\n<REASONING> R. </REASONING>\n\n<CONCLUSION> 7 </CONCLUSION>", "7", "S.\n\nR."),
        ("3 + 4 = <<3+4=7>>7\n#### 7", "7", "3 + 4 = <<3+4=7>>7"),
        ("Add both. The answer is 7.", "7", "Add both."),
        ("The sum is \\boxed{7}.", "7", "The sum is \\boxed{7}."),
        ("\\boxed{7}", "7", None),
        ("$\\boxed{\\frac{1}{2}}$", "\\frac{1}{2}", None),
        ("<answer> A </answer>", "A", None),
        ("Answer: (B) red", "(B) red", None),
        ("rectangle", "rectangle", None),
        ("A dog runs on the beach.", "A dog runs on the beach.", None),
        ("<think>I count 3", "", "I count 3"),
        ("", "", None),
    ],
)
def test_a_response_is_split_into_reasoning_and_answer(text: str, answer: str, rationale: str | None) -> None:
    assert split_response(text) == Response(answer, rationale, text if rationale else None)


def _pairs(*texts: str, images: int = 0, roles: tuple[str, str] = ("human", "gpt")) -> list[Pair]:
    turns = [Turn(roles[place % 2], text) for place, text in enumerate(texts)]
    return list(pairs(turns, [f"{number}.png" for number in range(images)], "x", "conversations"))


def _images(*texts: str, images: int) -> list[list[str]]:
    return [dict(pair.columns)["images"] for pair in _pairs(*texts, images=images)]


def test_each_question_gets_the_images_of_its_markers() -> None:
    assert _images("<image>\n1?", "a", "<image><image> 2?", "b", images=3) == [["0.png"], ["1.png", "2.png"]]


def test_a_question_without_markers_gets_the_images_shown_so_far() -> None:
    assert _images("<image> 1?", "a", "2?", "b", "<image> 3?", "c", images=2) == [["0.png"], ["0.png"], ["1.png"]]


def test_without_markers_every_question_gets_every_image() -> None:
    assert _images("1?", "a", "2?", "b", images=2) == [["0.png", "1.png"]] * 2


def test_numbered_markers_mean_the_images_of_the_conversation() -> None:
    assert _images("Compare <image 2> to <image 1>.", "a", images=2) == [["0.png", "1.png"]]


def test_questions_of_a_conversation_have_numbered_ids() -> None:
    assert [dict(pair.columns)["id"] for pair in _pairs("1?", "a", "2?", "b")] == ["x-1", "x-2"]
    assert [dict(pair.columns)["id"] for pair in _pairs("1?", "a")] == ["x"]


@pytest.mark.parametrize(
    ("turns", "images", "field", "reason"),
    [
        ([], 0, "turns", "has no question"),
        ([("user", "1?")], 0, "turns", "has no response"),
        ([("gpt", "a"), ("human", "1?")], 0, "turns[0]", "a turn of the assistant where one of the user should be"),
        ([("user", "1?"), ("user", "2?")], 0, "turns[1]", "a turn of the user where one of the assistant should be"),
        ([("user", "1?"), ("tool", "a")], 0, "turns[1]", "a turn of 'tool'"),
        ([("user", "<image>1?"), ("gpt", "a")], 0, "images", "has 1 marker <image>, but 0 images"),
        ([("user", "<image>1?"), ("gpt", "a")], 2, "images", "has 1 marker <image>, but 2 images"),
    ],
)
def test_a_broken_conversation_is_one_fault(turns: list[tuple[str, str]], images: int, field: str, reason: str) -> None:
    [pair] = pairs([Turn(*turn) for turn in turns], ["a.png"] * images, None, "turns")
    assert isinstance(pair.columns, Fault)
    assert pair.columns.field == field
    assert reason in pair.columns.reason
