"""What the image that serves students keeps to, read from its Containerfile; hadolint checks the rest. It is not built here."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
STEPS = [
    (step["instruction"], step["value"])
    for step in DockerfileParser(fileobj=(ROOT / "images" / "Containerfile.serving").open("rb")).structure
    if step["instruction"] != "COMMENT"
]


def values(instruction: str) -> list[str]:
    return [value for name, value in STEPS if name == instruction]


def test_it_starts_from_vllms_image_which_its_builder_names() -> None:
    assert STEPS[0] == ("ARG", "BASE")
    assert values("FROM") == ["${BASE}"]


def test_it_runs_as_a_user_by_number_who_is_not_root_and_not_as_vllms_image_does() -> None:
    assert values("USER") == ["10001:10001"]
    assert values("ENTRYPOINT") == ["[]"]


def test_it_fetches_nothing_past_the_package_installer_and_keeps_vllms_releases() -> None:
    (run,) = values("RUN")
    assert values("ADD") == []
    assert not re.search(r"\b(curl|wget|git|apt-get|npm)\b|https?://", run)
    assert "--constraint /src/held.txt" in run


def test_it_may_be_built_to_train_too() -> None:
    assert "EXTRAS=tracking" in values("ARG")
    assert '"/src[${EXTRAS}]"' in values("RUN")[0]


def test_it_copies_what_a_build_gets() -> None:
    given = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    copied = {name for value in values("COPY") for name in value.split()[:-1]}
    assert "serving" in copied
    assert copied <= given


def test_its_variables_are_those_of_the_manifest() -> None:
    manifest = (ROOT / "k8s" / "components" / "student" / "server.yaml").read_text(encoding="utf-8")
    (deployment,) = [m for m in yaml.safe_load_all(manifest) if m["kind"] == "Deployment"]
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    written = " ".join(values("ENV"))
    for variable in variables:
        if "value" in variable and variable["name"] not in ("USER", "HOME"):
            assert f"{variable['name']}={variable['value']}" in written
