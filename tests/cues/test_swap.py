"""Swapped cues: relevant, but never the example's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.training.factory import scenes
from vicur.cues.swap import swapped_cues
from vicur.data.schema import Example

POOL = scenes("distill")
OWN = {example.id: str(example.cue) for example in POOL}


def asked(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """Return the ids of examples with their questions."""
    return [(example.id, example.question) for example in examples]


def posed(cues: list[str], question: str = "What is it?") -> tuple[list[Example], dict[str, str]]:
    """Return examples of one question with these cues."""
    examples = [POOL[0].model_copy(update={"id": f"e{n}", "question": question}) for n in range(len(cues))]
    return examples, dict(zip((example.id for example in examples), cues, strict=True))


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=40), st.integers(0, 5))
def test_no_example_keeps_its_cue_and_every_cue_is_used(cues: list[str], seed: int) -> None:
    examples, own = posed(cues)
    swapped = swapped_cues(asked(examples), own, seed)
    if 2 * max(Counter(cues).values()) > len(cues):
        assert swapped == {}
        return
    assert Counter(swapped.values()) == Counter(cues)
    assert all(swapped[key] != own[key] for key in own)


def test_a_cue_comes_from_an_example_with_the_same_question() -> None:
    swapped = swapped_cues(asked(POOL), OWN, seed=0)
    question = {example.id: example.question for example in POOL}
    pairs = {(question[key], cue) for key, cue in OWN.items()}
    assert swapped
    assert all((question[key], cue) in pairs for key, cue in swapped.items())


def test_the_seed_determines_the_swap() -> None:
    examples, own = posed([f"cue {n}" for n in range(30)])
    assert swapped_cues(asked(examples), own, 1) == swapped_cues(asked(examples), own, 1)
    assert swapped_cues(asked(examples), own, 1) != swapped_cues(asked(examples), own, 2)


def test_an_example_without_a_cue_gets_none() -> None:
    examples, own = posed(["a", "b", "c", "d"])
    del own["e0"]
    assert "e0" not in swapped_cues(asked(examples), own, 0)
