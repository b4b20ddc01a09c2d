import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.answers.examples import example
from vicur.answers import is_correct
from vicur.answers.correct import same_answer
from vicur.answers.mathematics import MathWorker
from vicur.errors import VicurError


@pytest.mark.parametrize(
    ("gold", "stated"),
    [
        ("12", "12"),
        ("12", "12.0"),
        ("12", "twelve"),
        ("1000", "1,000"),
        ("-3", "−3"),
        ("0.5", ".5"),
        ("12", "12 cm"),
        ("12 cm", "12"),
        ("60", "60°"),
        ("$20", "20"),
        ("3", "3 apples"),
        ("yes", "Yes."),
        ("the red car", "Red car"),
        ("red", "'red'"),
        ("1/2", "\\frac{1}{2}"),
        ("\\frac{\\sqrt{3}}{2}", "\\sqrt{3}/2"),
        ("x^2+1", "1 + x^2"),
        ("2\\pi", "2π"),
        ("50%", "0.5"),
        ("x=5", "5"),
        ("\\{1,2\\}", "\\{2,1\\}"),
        ("3\\sqrt{2}", "3\\sqrt{2} \\text{ cm}"),
        ("60^\\circ", "60"),
    ],
)
def test_equivalent_notations_are_equal(gold: str, stated: str) -> None:
    assert same_answer(gold, stated)
    assert is_correct(f"Answer: {stated}", example(gold))


@pytest.mark.parametrize(
    ("gold", "stated"),
    [
        ("12", "11"),
        ("12", "112"),
        ("12 cm", "12 mm"),
        ("3", "3x"),
        ("5", "5!"),
        ("0.5", "5"),
        ("50%", "0.05"),
        ("x^2+1", "3x+1"),
        ("red", "der"),
        ("yes", "no"),
        ("yes", ""),
        ("[0,1]", "(0,1)"),
        ("1/3", "0.333"),
        ("12", "9**9**9**9"),
        ("7", "7 and 5"),
    ],
)
def test_different_answers_are_different(gold: str, stated: str) -> None:
    assert not same_answer(gold, stated)


@pytest.mark.parametrize(
    "stated", ["B", "(B)", "b", "B.", "B) 7", "(B) 7", "B: 7", "7", "seven", "7.0", "\\boxed{\\text{B}}"]
)
@pytest.mark.parametrize("gold", ["B", "7"])
def test_a_choice_is_named_by_letter_or_by_text(gold: str, stated: str) -> None:
    assert is_correct(f"Answer: {stated}", example(gold, ("5", "7", "9")))


@pytest.mark.parametrize("stated", ["A", "(C)", "5", "D", "8", "A) 7", "yes"])
def test_another_choice_is_wrong(stated: str) -> None:
    assert not is_correct(f"Answer: {stated}", example("B", ("5", "7", "9")))


def test_the_text_of_a_choice_takes_precedence_over_its_letter() -> None:
    shuffled = example("A", ("B", "A"))
    assert is_correct("Answer: A", shuffled)
    assert not is_correct("Answer: B", shuffled)


def test_a_value_that_fits_two_choices_names_neither() -> None:
    assert not is_correct("Answer: 0.5", example("A", ("1/2", "2/4")))


def test_an_unfinished_response_is_wrong() -> None:
    assert not is_correct("The left column holds 7 and", example("7"))


@given(response=st.text(), answer=st.text(), choices=st.lists(st.text(max_size=3), max_size=3))
@settings(deadline=None)
def test_any_text_can_be_checked(response: str, answer: str, choices: list[str]) -> None:
    assert is_correct(response, example(answer, tuple(choices))) in (True, False)
    if answer.strip() and not choices:
        assert same_answer(answer, answer)


_FORMULA = st.lists(
    st.sampled_from(["x", "2", "+", "^", "{", "}", "\\frac", "(", ")", "=", "\\sqrt", "%", ",", "\\", "$", "!"]),
    max_size=8,
).map("".join)


@given(_FORMULA, _FORMULA)
@settings(deadline=None, max_examples=60)
def test_broken_formulas_can_be_checked(gold: str, stated: str) -> None:
    assert same_answer(gold, stated) in (True, False)


@pytest.mark.parametrize("stated", ["7 7", "7 and 5", "der", "", "12 .", "7 of them"])
def test_text_is_not_sent_to_the_math_worker(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicur.answers.formulas.math_equal", lambda *_: pytest.fail("called"))
    assert not same_answer("14", stated)


class TestMathWorker:
    @pytest.fixture
    def worker(self) -> Iterator[MathWorker]:
        worker = MathWorker(deadline=1.0)
        yield worker
        worker.close()

    def test_a_comparison_that_hangs_is_stopped_and_the_next_one_works(self, worker: MathWorker) -> None:
        assert worker.equal("1/2", "\\frac{1}{2}")
        assert not worker.equal("1", "\\frac{(10^9)!}{(10^9)!}")
        assert worker.equal("1/2", "\\frac{1}{2}")

    def test_it_works_outside_the_main_thread(self, worker: MathWorker) -> None:
        answers: list[bool] = []
        threads = [threading.Thread(target=lambda: answers.append(worker.equal("x+1", "1+x"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [True] * 4

    def test_a_worker_that_dies_is_replaced(self, worker: MathWorker) -> None:
        worker.equal("1", "2")
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
        assert not worker.equal("1/2", "\\frac{1}{2}")
        assert worker.equal("1/2", "\\frac{1}{2}")

    def test_a_worker_that_cannot_start_raises_an_error(
        self, worker: MathWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.executable", "/bin/false")
        with pytest.raises(VicurError, match="did not start"):
            worker.equal("1", "2")
