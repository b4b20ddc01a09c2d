"""What every image that is built from the Containerfile keeps to, read from the file itself; hadolint (make lint) checks the rest."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
FILE = ROOT / "images" / "Containerfile"


@dataclass
class Stage:
    """A stage: what it starts from, and its instructions."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.steps if name == instruction]


def read_stages() -> tuple[list[tuple[str, str]], dict[str, Stage]]:
    """The instructions before the first stage, and the stages by name."""
    first: list[tuple[str, str]] = []
    stages: dict[str, Stage] = {}
    for step in DockerfileParser(fileobj=FILE.open("rb")).structure:
        name, value = step["instruction"], step["value"]
        if name == "COMMENT":
            continue
        if name == "FROM":
            base, _, stage = value.split()
            stages[stage] = Stage(stage, base)
        elif stages:
            list(stages.values())[-1].steps.append((name, value))
        else:
            first.append((name, value))
    return first, stages


FIRST, STAGES = read_stages()
FLAVORS = ("cpu", "gpu")


def lineage(name: str) -> list[Stage]:
    """A stage and those that it starts from, whose layers are its own."""
    stage = STAGES[name]
    return [stage, *(lineage(stage.base) if stage.base in STAGES else [])]


SHIPPED = {stage.name: stage for flavor in FLAVORS for stage in [STAGES["image"], *lineage(flavor)]}


def test_every_stage_starts_from_the_base_that_is_asked_for_or_from_another_stage():
    assert {stage.base for stage in STAGES.values()} <= {"${BASE}", "${FLAVOR}", *STAGES}


def test_the_base_has_no_default_that_could_change():
    assert ("ARG", "BASE") in FIRST


def test_the_image_runs_as_a_user_by_number_who_is_not_root():
    users = [value for stage in SHIPPED.values() for value in stage.values("USER")]
    assert users == ["10001:10001"]


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_nothing_is_fetched_past_the_package_installer(stage):
    assert stage.values("ADD") == []
    assert not [
        command for command in stage.values("RUN") if re.search(r"\b(curl|wget|git|apt-get|npm)\b|https?://", command)
    ]


@pytest.mark.parametrize("stage", SHIPPED.values(), ids=SHIPPED)
def test_stages_of_the_image_install_nothing_and_read_no_input_of_the_build(stage):
    assert not [command for command in stage.values("RUN") if re.search(r"\b(pip|uv|install)\b|/inputs", command)]
    assert all(value.startswith("--from=") for value in stage.values("COPY"))
    assert {value.partition("=")[0] for value in stage.values("ARG")} <= {
        "BASE",
        "FLAVOR",
        "VERSION",
        "REVISION",
        "CREATED",
    }


def test_no_argument_or_variable_is_for_a_secret():
    told = [value for stage in STAGES.values() for name in ("ARG", "ENV", "LABEL") for value in stage.values(name)]
    assert told
    assert not [value for value in told if re.search(r"(?i)password|passwd|secret|token|credential|api_?key", value)]


def test_no_step_needs_buildkit():
    assert not re.search(r"(?m)^# *syntax=|--mount|<<", FILE.read_text(encoding="utf-8"))


def test_what_is_copied_is_committed_and_nothing_else_reaches_the_engine():
    copied = {
        source
        for stage in STAGES.values()
        for value in stage.values("COPY")
        if not value.startswith("--from=")
        for source in value.split()[:-1]
    }
    committed = subprocess.run(["git", "ls-files", *copied], cwd=ROOT, capture_output=True, text=True, check=True)
    tops = {file.split("/")[0] for file in committed.stdout.split()}
    assert {source.split("/")[0] for source in copied} == tops
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    # The plugin for vLLM goes into the image of served students (Containerfile.serving), which has all else that is copied here too.
    assert {line[1:] for line in lines if line.startswith("!")} == tops | {"serving"}


def test_writable_places_lie_below_tmp():
    variables = " ".join(value for stage in SHIPPED.values() for value in stage.values("ENV"))
    assert "HOME=/tmp" in variables.split()
    assert [value for stage in SHIPPED.values() for value in stage.values("WORKDIR")] == ["/tmp"]  # noqa: S108
    assert [value for stage in SHIPPED.values() for value in stage.values("VOLUME")] == []


def test_labels_are_those_of_the_open_container_initiative():
    (labels,) = STAGES["image"].values("LABEL")
    names = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", labels))
    assert names == {"title", "description", "licenses", "version", "revision", "created", "base.name"}
