"""Question, choices and images in the order in which every prompt shows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.prompts import Content, ContentError, ImagePart, check_content, content_of, shown_text, with_text

ONE, TWO, THREE = ImagePart(0), ImagePart(1), ImagePart(2)


def test_choices_are_lettered_lines_below_the_question() -> None:
    assert content_of("What is x?", ("7", "5")) == ("What is x?\nA. 7\nB. 5",)


def test_choices_that_the_question_lists_are_not_repeated() -> None:
    question = "What is x?\n(A) 7\n(B) 5"
    assert content_of(question, ("7", "5")) == (question,)


def test_choices_that_are_letters_in_the_image_are_not_listed() -> None:
    assert content_of("Which one?", ("A", "B", "C"), 1) == (ONE, "Which one?")


def test_choices_lose_letters_of_their_own() -> None:
    assert content_of("Which?", ("A. 7", "B. 5")) == ("Which?\nA. 7\nB. 5",)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{question}\n({letter}) {choice}", "What?\n(A) 7\n(B) 5"),
        (
            "{question}\nChoices:\n{letter}: {choice}\nAnswer with a letter.",
            "What?\nChoices:\nA: 7\nB: 5\nAnswer with a letter.",
        ),
        ("{letter} = {choice}\n{question}", "A = 7\nB = 5\nWhat?"),
    ],
)
def test_the_template_of_choices_is_filled(template: str, text: str) -> None:
    assert content_of("What?", ("7", "5"), 0, template) == (text,)


def test_placeholders_in_a_question_or_choice_are_text() -> None:
    content = content_of("Is {choice} {letter}?", ("{question}", "{letter}"))
    assert content == ("Is {choice} {letter}?\nA. {question}\nB. {letter}",)


def test_twenty_six_choices_have_letters_and_more_are_refused() -> None:
    choices = tuple(map(str, range(26)))
    assert str(content_of("Which?", choices)[0]).endswith("\nZ. 25")
    with pytest.raises(ContentError, match=r"has 27 choices, but there are letters for 26"):
        content_of("Which?", (*choices, "26"))


@pytest.mark.parametrize(
    ("question", "choices", "images", "content"),
    [
        ("What?", (), 0, ("What?",)),
        ("What?", (), 2, (ONE, TWO, "What?")),
        ("<image>What?", (), 1, (ONE, "What?")),
        ("<image>\nWhat?", (), 1, (ONE, "\nWhat?")),
        ("What is <image> and <image>?", (), 2, ("What is ", ONE, " and ", TWO, "?")),
        ("What?<image>", (), 1, ("What?", ONE)),
        ("<image><image>", (), 2, (ONE, TWO)),
        ("Compare <image 1> with <image 2>.", (), 2, ("Compare ", ONE, " with ", TWO, ".")),
        ("Compare <image 2> with <image 1>.", (), 2, ("Compare ", TWO, " with ", ONE, ".")),
        ("<image1><image2>", (), 2, (ONE, TWO)),
        ("<image_1><image_2>", (), 2, (ONE, TWO)),
        ("<image_0><image_1>", (), 2, (ONE, TWO)),
        ("<Image 1><IMAGE 2>", (), 2, (ONE, TWO)),
        ("<image-1><image:2><image #3>", (), 3, (ONE, TWO, THREE)),
        ("<img1><img_2>", (), 2, (ONE, TWO)),
        ("<|image_1|>\nWhat?", (), 1, (ONE, "\nWhat?")),
        ("<|image|>What?", (), 1, (ONE, "What?")),
        ("<image 1> shows this. What is in <image 1>?", (), 1, (ONE, " shows this. What is in ", ONE, "?")),
        ("Which is like <image>?", ("<image>", "<image>"), 3, ("Which is like ", ONE, "?\nA. ", TWO, "\nB. ", THREE)),
        ("Which?", ("<image 2>", "<image 1>"), 2, ("Which?\nA. ", TWO, "\nB. ", ONE)),
        ("Which?\nA. <image 1>\nB. <image 2>", ("<image 1>", "<image 2>"), 2, ("Which?\nA. ", ONE, "\nB. ", TWO)),
    ],
)
def test_images_stand_at_their_markers(question: str, choices: tuple[str, ...], images: int, content: Content) -> None:
    assert content_of(question, choices, images) == content


def test_unnumbered_markers_count_in_the_order_question_then_choices() -> None:
    content = content_of("Like <image>?", ("<image>", "no"), 2, "{letter}. {choice}\n{question}")
    assert content == ("A. ", TWO, "\nB. no\nLike ", ONE, "?")


@pytest.mark.parametrize(
    ("question", "images", "reason"),
    [
        ("<image>What?", 0, "marks the places of 1 image, but the row has 0"),
        ("<image>What?", 2, "marks the places of 1 image, but the row has 2"),
        ("<image><image>What?", 1, "marks the places of 2 images, but the row has 1"),
        ("<image 1>What?", 2, "names the images 1, but the row has 2 images"),
        ("<image 2>What?", 1, "names the images 2, but the row has 1 image"),
        ("<image 1><image 3>What?", 2, "names the images 1, 3, but the row has 2 images"),
        ("<image 1><image>What?", 2, "has image markers with and without numbers"),
        ("<image 1>" * 40, 1, "names 1 image 40 times"),
        ("<image 9999>", 1, "names the images 9999"),
    ],
)
def test_markers_that_do_not_match_the_images_are_refused(question: str, images: int, reason: str) -> None:
    with pytest.raises(ContentError) as refused:
        check_content(question, (), images)
    assert refused.value.field == "question"
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (r"What does \<image> mean?", "What does <image> mean?"),
        ("What does `<image>` mean?", "What does `<image>` mean?"),
        ("```\n<image>\n```\nWhat is this?", "```\n<image>\n```\nWhat is this?"),
        ("Is <images> a tag?", "Is <images> a tag?"),
        ("Is </image> a tag? <image src='x'>", "Is </image> a tag? <image src='x'>"),
        ("Is 1<image?", "Is 1<image?"),
        ("<Image> or <img> or <img src='a'>?", "<Image> or <img> or <img src='a'>?"),
        ("<|image_pad|><|vision_start|>", "<|image_pad|><|vision_start|>"),
        ("< image >", "< image >"),
        ("<image_pad>", "<image_pad>"),
        ("<|image 1>", "<|image 1>"),
    ],
)
def test_what_is_no_marker_stays_text(question: str, text: str) -> None:
    assert content_of(question, (), 1) == (ONE, text)


def test_markers_in_text_that_follows_are_text() -> None:
    assert with_text(content_of("What?", (), 1), "\n[Hint]: <image>") == (ONE, "What?\n[Hint]: <image>")


def test_readers_see_markers_as_they_were_written() -> None:
    assert shown_text("Like <image 1>?", ("<image 2>", "no")) == "Like <image 1>?\nA. <image 2>\nB. no"
    assert shown_text("What?") == "What?"


@given(st.text(max_size=80), st.integers(0, 3))
def test_any_text_is_shown_or_refused(question: str, images: int) -> None:
    try:
        content = content_of(question, (), images)
    except ContentError:
        return
    assert {part.index for part in content if isinstance(part, ImagePart)} == set(range(images))
