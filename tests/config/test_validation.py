"""Messages about wrong settings: complete sentences in this project's words, never in pydantic's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from pydantic_core.core_schema import ErrorType

from vicur.config.ablation import AblationConfig
from vicur.config.allowed import Form
from vicur.config.data import DataConfig
from vicur.config.loading import load_settings
from vicur.config.preflight import PreflightConfig
from vicur.config.problems import problem_of
from vicur.config.run import RunConfig
from vicur.config.schema import bare, is_section, members
from vicur.config.section import Section
from vicur.config.serving import ServerLimits
from vicur.config.sources import Sources
from vicur.config.tiny_base import TinyBaseConfig
from vicur.config.validation import validated
from vicur.errors import VicurError

PHRASES = re.compile(
    r"[Ii]nput (should|tag|is)|[Ff]ield required|[Ee]xtra inputs|[Uu]nable to|union_tag|valid (string|integer|number|dictionary|list|tuple)"
    r"|[Vv]alue error|[Aa]ssertion|[Ss]tring should|unparsable|discriminator|validation error|NoneType|<class|pydantic"
)


def message(kind: Any, values: Any, sources: str | Sources = "run.yaml") -> str:
    with pytest.raises(VicurError) as caught:
        validated(kind, values, sources)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"training": {"steps": 0}}, "training.steps must be a whole number of at least 1, not 0."),
        ({"training": {"steps": "many"}}, "training.steps must be a whole number of at least 1, not 'many'."),
        ({"training": {"steps": 1.5}}, "training.steps must be a whole number of at least 1, not 1.5."),
        ({"training": {"steps": None}}, "training.steps must be a whole number of at least 1, not null."),
        ({"training": {"bar_images": "perhaps"}}, "training.bar_images must be true or false, not 'perhaps'."),
        ({"training": {"max_unhinted_share": 2}}, "training.max_unhinted_share must be a number from 0 to 1, not 2."),
        ({"training": {"mixed_precision": "fp16"}}, "mixed_precision must be one of 'none', 'bf16', not 'fp16'. Did you mean 'bf16'?"),
        ({"training": "fast"}, "training must be a group of settings, such as {name: value}, not 'fast'."),
        ({"name": "My Run"}, "name must be a name of at most 41 lower-case letters, digits and dashes, not 'My Run'."),
        ({"methods": []}, "methods must name at least one method"),
        ({"methods": ["vicur", "vicur"]}, "methods names 'vicur' twice"),
        ({"methods": "vicur"}, "methods must be a list, such as [a, b], not 'vicur'."),
        ({"methods": ["grpoo"]}, "each item of methods must be one of 'opsd', "),
        ({"methods": ["grpoo"]}, "not 'grpoo'. Did you mean 'grpo'?"),
        ({"training": {"per_method": {"opds": {}}}}, "each name in training.per_method must be one of 'opsd'"),
        ({"cluster": {"tolerations": [{"key": "no key"}]}}, "cluster.tolerations[0].key must be the key of a Kubernetes taint"),
        ({"data": {"type": "digit_scenes", "test": {"digits_per_class": 1, "scenes": 1, "distortion": {"scale": [1]}}}},
         "data.test.distortion.scale[1] is missing. It must be a whole number."),
        ({"data": {"type": "digit_scenes", "test": {"digits_per_class": 1, "scenes": 1, "distortion": {"scale": [1, 2, 3]}}}},
         "data.test.distortion.scale must have 2 or fewer items, not 3."),
        ({"tracking": {"uri": "http://me:hunter2@host"}}, "http://***@host"),
        ({1: 2}, "every name in the configuration must be text, not 1. Quote the name."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict[Any, Any], words: str) -> None:
    text = message(RunConfig, values)
    assert words in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"training": {"stepz": 1}}, "there is no setting 'training.stepz'. Did you mean 'training.steps'?"),
        ({"trainings": {}}, "there is no setting 'trainings'. Did you mean 'training'?"),
        ({"steps": 1}, "there is no setting 'steps'. There is training.steps and cluster.steps."),
        ({"training": {"temperature": 1}}, "There is training.rollout.temperature."),
        ({"temprature": 1}, "There is training.rollout.temperature"),
        ({"training.steps": 1}, "Write training: {steps: ...} instead."),
        ({"tracking": {"colour": 1}}, "tracking has uri, experiment."),
        ({"training": {"teacher": {"type": "self-frozen", "decay": 0.5}}}, "It belongs to training.teacher.type 'self-ema'."),
    ],
)  # fmt: skip
def test_an_unknown_setting_suggests_the_closest(values: dict[str, Any], words: str) -> None:
    assert words in message(RunConfig, values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "digit_scene"}, "data must be one of 'digit_scenes', 'folder', 'pinned', 'remote', 'hub', not 'digit_scene'. Did you"),
        ({"data": {"type": "files"}}, "data.type must be one of 'digit_scenes', 'folder', 'pinned', 'remote', 'hub', not 'files'."),
        ({"data": {"path": "x"}}, "data.type is missing. It must be 'folder'."),
        ({"data": {"max_pixels": 3}}, "data.type is missing. It must be one of 'folder', 'pinned', 'remote', 'hub'."),
        ({"data": 3}, "data must be one of 'digit_scenes', 'folder', 'pinned', 'remote', 'hub', or settings with such a type, not 3."),
        ({"data": "folder"}, "data.path is missing, which data.type 'folder' requires. It must be a path."),
        ({"training": {"objective": {"type": "jsd", "beta": "x"}}}, "objective.beta must be a number above 0 and below 1, not 'x'."),
    ],
)  # fmt: skip
def test_an_invalid_type_is_reported_with_the_allowed_types(values: dict[str, Any], words: str) -> None:
    assert words in message(RunConfig, values)


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({"data": "digit_scenes"}, lambda run: run.data.type == "digit_scenes"),
        ({"cues": {"provider": "annotation"}}, lambda run: run.cues.provider.type == "annotation"),
        ({"evaluation": {"decoding": "paper"}}, lambda run: run.evaluation.decoding.type == "paper"),
        ({"training": {"objective": "k1", "trained": "lora"}}, lambda run: run.training.trained.type == "lora"),
        ({"training": {"teacher": "self-ema"}}, lambda run: run.training.teacher.type == "self-ema"),
        ({"training": {"rollout": {"engine": "vllm"}}}, lambda run: run.training.rollout.engine.type == "vllm"),
        (
            {"training": {"per_method": {"opsd": {"objective": "jsd", "teacher": {"type": "self-frozen", "engine": "local"}}}}},
            lambda run: run.training.for_method("opsd").objective.type == "jsd",
        ),
    ],
)  # fmt: skip
def test_a_bare_name_selects_the_section_of_that_type(values: dict[str, Any], chosen: Any) -> None:
    assert chosen(validated(RunConfig, values, "run.yaml"))


class Red(Section):
    """A member of a union."""

    type: Literal["red"] = "red"


class Blue(Section):
    """Another member."""

    type: Literal["blue"] = "blue"
    depth: int = 1


Colour = Annotated[Red | Blue, Field(discriminator="type")]


class Painting(Section):
    """A section with a union in every position."""

    one: Colour
    perhaps: Colour | None = None
    many: tuple[Colour, ...] = ()
    named: dict[str, Colour] = Field(default_factory=dict)


def test_new_unions_accept_bare_names() -> None:
    bare_names = {
        "one": "red",
        "perhaps": "blue",
        "many": ["red", {"type": "blue", "depth": 2}],
        "named": {"a": "blue"},
    }
    painting = validated(Painting, bare_names, "here")
    assert painting == Painting(one=Red(), perhaps=Blue(), many=(Red(), Blue(depth=2)), named={"a": Blue()})
    assert isinstance(validated(Colour, "red", "here"), Red)
    assert "many[0] must be one of 'red', 'blue', not 'green'." in message(Painting, {"one": "red", "many": ["green"]})
    assert "named.a must be one of" in message(Painting, {"one": "red", "named": {"a": "green"}})


def test_a_single_value_is_named_by_its_option() -> None:
    assert (
        message(Literal["a", "b"], "c", "--letter") == "--letter must be one of 'a', 'b', not 'c'. Correct the option."
    )
    assert message(ServerLimits, 3, "--limit").startswith("--limit must be a group of settings")
    assert message(DataConfig, "nowhere", "data").startswith("data must be one of 'digit_scenes'")


def test_many_mistakes_are_reported_at_once_up_to_five() -> None:
    text = message(RunConfig, {f"wrong{n}": 1 for n in range(9)})
    assert "There is no setting 'wrong4'." in text
    assert "4 more settings are wrong." in text


def sections(kind: Any) -> Iterator[type[Section]]:
    for member in members(kind):
        if is_section(member):
            yield member
            for each in member.model_fields.values():
                yield from sections(each.annotation)
        else:
            yield from (found for each in get_args(member) for found in sections(each))


KINDS = (RunConfig, AblationConfig, PreflightConfig, TinyBaseConfig, ServerLimits)


def test_every_pattern_is_described_in_words() -> None:
    undescribed = []
    for section in {each for kind in KINDS for each in sections(kind)}:
        for name, known in section.model_fields.items():
            for annotation, metadata in [
                (known.annotation, known.metadata),
                *((each, ()) for each in get_args(known.annotation)),
            ]:
                _, attached = bare(annotation, metadata)
                has_pattern = any(getattr(each, "pattern", None) for each in attached)
                if has_pattern and not any(isinstance(each, Form) for each in attached):
                    undescribed.append(f"{section.__name__}.{name}")
    assert undescribed == []


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_every_error_type_of_pydantic_has_a_sentence(kind: str) -> None:
    context = {
        "discriminator": "'type'",
        "tag": "x",
        "min_length": 1,
        "max_length": 2,
        "actual_length": 3,
        "error": ValueError("is odd"),
    }
    for location, value in ((("seed",), "three"), (("data",), {"type": "x"})):
        error = {"type": kind, "loc": location, "input": value, "ctx": context, "msg": "Input should be something"}
        found = problem_of(error, RunConfig, {}, Sources("run.yaml"))
        assert location[0] in found.sentence
        assert found.sentence.endswith(".")
        assert not PHRASES.search(f"{found.sentence} {found.hint}")


def settings_of(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for section in (member for member in members(kind) if is_section(member)):
        for name, known in section.model_fields.items():
            yield (*path, name)
            yield from settings_of(known.annotation, (*path, name))


SETTINGS = [(kind, path) for kind in KINDS for path in sorted(set(settings_of(kind)))]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=3) | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["type", "path", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)


def refusal(read: Callable[[], Any]) -> VicurError | None:
    try:
        read()
    except VicurError as error:
        return error
    return None


def require_plain(error: VicurError | None) -> None:
    """Check the sentences of an error, if there is one."""
    if error is None:
        return
    # What the user typed may contain any words. It is quoted, and follows the name of the option.
    where = re.sub(r"--set .*", "--set", error.where or "", flags=re.DOTALL)
    text = f"{where}: {error.problem} {error.remedy}"
    words = re.sub(r"'(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\"", "''", text)
    assert not PHRASES.search(words), str(error)
    assert not re.search(r"\bNone\b|  ", words), str(error)
    assert error.problem.endswith((".", "?")), error.problem
    assert error.remedy.endswith((".", "?")), error.remedy


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SETTINGS), VALUES)
def test_any_wrong_value_is_reported_in_complete_sentences(setting: tuple[Any, tuple[str, ...]], value: Any) -> None:
    kind, path = setting
    values: Any = value
    for name in reversed(path):
        values = {name: values}
    require_plain(refusal(lambda: validated(kind, values, "run.yaml")))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SETTINGS), st.text(max_size=12)), min_size=1, max_size=3))
def test_any_override_is_reported_in_complete_sentences(chosen: list[tuple[tuple[Any, tuple[str, ...]], str]]) -> None:
    overrides = [f"{'.'.join(path)}={text}" for (_, path), text in chosen]
    require_plain(refusal(lambda: load_settings(chosen[0][0][0], None, overrides)))
