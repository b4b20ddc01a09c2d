"""False cues: to the point, never one's own."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.training.factory import scenes
from vicur.cues.swap import swapped_cues
from vicur.data.schema import Example

POOL = scenes("distill")
OWN = {example.id: str(example.cue) for example in POOL}


def asked(cues: list[str], question: str = "What is it?") -> tuple[list[Example], dict[str, str]]:
    """Examples of one question with these cues."""
    examples = [POOL[0].model_copy(update={"id": f"e{n}", "question": question}) for n in range(len(cues))]
    return examples, dict(zip((example.id for example in examples), cues, strict=True))


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=40), st.integers(0, 5))
def test_nobody_keeps_a_cue_and_all_cues_are_handed_on(cues: list[str], seed: int) -> None:
    examples, own = asked(cues)
    swapped = swapped_cues(examples, own, seed)
    if 2 * max(Counter(cues).values()) > len(cues):
        assert swapped == {}
        return
    assert Counter(swapped.values()) == Counter(cues)
    assert all(swapped[key] != own[key] for key in own)


def test_a_cue_comes_from_an_example_with_the_same_question() -> None:
    swapped = swapped_cues(POOL, OWN, seed=0)
    question = {example.id: example.question for example in POOL}
    told = {(question[key], cue) for key, cue in OWN.items()}
    assert swapped
    assert all((question[key], cue) in told for key, cue in swapped.items())


def test_the_same_seed_swaps_the_same_and_another_does_not() -> None:
    examples, own = asked([f"cue {n}" for n in range(30)])
    assert swapped_cues(examples, own, 1) == swapped_cues(examples, own, 1)
    assert swapped_cues(examples, own, 1) != swapped_cues(examples, own, 2)


def test_an_example_without_a_cue_gets_none() -> None:
    examples, own = asked(["a", "b", "c", "d"])
    del own["e0"]
    assert "e0" not in swapped_cues(examples, own, 0)
