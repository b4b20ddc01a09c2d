"""The chain from a version back to its data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.calling import Command, caller
from tests.registry.conftest import Make
from tests.registry.factory import GOOD
from vicur.config.tracking import TrackingConfig
from vicur.data.pin import dvc_hash
from vicur.registry import promote
from vicur.registry.chain import chain_of
from vicur.registry.lineage import checkpoint_sha256
from vicur.registry.provenance import Provenance, provenance_of
from vicur.registry.versions import get_version
from vicur.storage.folders import tree_sha256
from vicur.tracking.mlflow import connect


@pytest.fixture
def vicur(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return caller(monkeypatch, capfd)


@pytest.mark.usefixtures("registered")
def test_the_chain_leads_from_the_version_to_the_source_of_its_data(students: Make, vicur: Command) -> None:
    inputs = students(GOOD)
    done = vicur("lineage", "students@champion", "--json")
    assert done.code == 0, done.error
    chain = json.loads(done.output)
    names = [link["name"] for link in chain["links"]]
    assert names[0] == "version"
    assert names[-4:] == ["teacher", "cues", "dataset", "source"]
    facts = {link["name"]: link["facts"] for link in chain["links"]}
    assert facts["version"]["verdict"] == "passed"
    assert "became champion" in facts["version"]["moves"][0]
    assert facts["registration"]["pipeline"] == "run-1"
    assert facts["training"]["checkpoint"] == checkpoint_sha256(inputs["student"])
    assert facts["base"]["sha256"] == json.loads((inputs["student"] / "vicur.json").read_text())["parent"]
    assert facts["cues"]["sha256"] == tree_sha256(inputs["cues"])
    assert facts["dataset"]["dvc"] == dvc_hash(inputs["dataset"]).md5
    assert facts["dataset"]["examples"]["test"] == 240
    assert (facts["source"]["type"], facts["source"]["seed"]) == ("digit_scenes", 0)
    unknown = {link["name"]: link["unknown"] for link in chain["links"]}
    assert "packages" in unknown["software"], "this student was written by a test, without a training"
    assert unknown["dataset"] == unknown["cues"] == unknown["source"] == []

    text = vicur("lineage", "students/1").output
    assert text.startswith("students version 1 (candidate, champion)\n\nversion\n")
    assert f"\n  dvc            {facts['dataset']['dvc']}\n" in text
    assert "\n  packages       unknown\n" in text


def test_a_copy_names_its_original_and_a_version_of_an_earlier_release_says_what_is_unknown(
    registered: TrackingConfig, vicur: Command
) -> None:
    client = connect(registered)
    promote(client, "students", "1", to="production")
    copy = get_version(client, "production", "1")
    assert chain_of(client, copy, provenance_of(client, copy)).links[0].facts["copied from"] == "models:/students/1"

    run = client.create_run("0").info
    tags = {"vicur.method": "opsd", "vicur.dataset": "0123.dir", "vicur.training_run": "f" * 32}
    number = client.create_model_version("students", f"{run.artifact_uri}/x", run.run_id, tags=tags).version
    old = get_version(client, "students", str(number))
    links = {link.name: link for link in chain_of(client, old, Provenance.from_tags(old)).links}
    assert links["dataset"].facts == {"dvc": "0123.dir"}
    assert links["dataset"].unknown == ["examples", "skipped"]
    assert "not on this server" in links["training run"].facts["note"]
    assert links["base"].unknown == ["path", "sha256"]
    assert vicur("lineage", f"students/{number}").code == 0
    refused = vicur("reproduce", f"students/{number}")
    assert refused.code == 2
    assert "this is not recorded: data, cues, base, training" in refused.error


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("address", "said"), [("students", "NAME@ALIAS or NAME/VERSION"), ("students/9", "no version or alias '9'")]
)
def test_what_is_no_version_is_refused(address: str, said: str, vicur: Command) -> None:
    for command in ("lineage", "reproduce"):
        done = vicur(command, address)
        assert done.code == 2
        assert said in done.error
    assert not Path("reproduced").exists()
    shutil.rmtree("mlflow")
