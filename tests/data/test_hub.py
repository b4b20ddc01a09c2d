"""Datasets on the Hugging Face Hub."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tests.data.conftest import make_context
from tests.data.formats.reading import RED, lines
from tests.data.formats.test_table_files import table
from tests.weights.hub_double import COMMIT, REPOSITORY, Hub, serving
from vicur.config.data import HubConfig
from vicur.config.dataset_reference import dataset_reference
from vicur.data import PREPARE, PrepareSummary, prepare, read_examples, stage_inputs
from vicur.data.hub import newest_dataset_commit
from vicur.errors import VicurError
from vicur.stage.runner import stage_identity

CONFIG = HubConfig(repository=REPOSITORY, revision=COMMIT, required_splits=())


def _parquet(*labels: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table(*labels), buffer)
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A dataset with parquet shards, a card, and a loading script."""
    files = {
        "README.md": b"---\nlicense: mit\n---\n# Shapes\n",
        "data/train-00000-of-00001.parquet": _parquet(0, 1),
        "data/test-00000-of-00001.parquet": _parquet(1),
        "shapes.py": b"raise SystemExit('loading scripts must not run')",
        ".gitattributes": b"*.parquet filter=lfs",
    }
    with serving(Hub(files, kind="datasets")) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def _prepared(config: HubConfig, folder: Path) -> PrepareSummary:
    (folder / "data").mkdir(parents=True)
    return prepare(config, stage_inputs(config), folder / "data", make_context(folder / "work"))


def test_a_dataset_is_fetched_at_its_commit_without_its_script(hub: Hub, tmp_path: Path) -> None:
    assert _prepared(CONFIG, tmp_path).examples == {"distill": 2, "test": 1}
    assert [each.answer for each in read_examples(tmp_path / "data", "distill")] == ["cat", "dog"]
    fetched = {path.name for path in (tmp_path / "work" / "fetched").rglob("*") if path.is_file()}
    assert fetched == {"README.md", "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"}
    assert not [each for each in hub.requests if "shapes.py" in each]


def test_only_chosen_files_are_fetched(hub: Hub, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"files": ("data/test-*.parquet",)})
    assert _prepared(config, tmp_path).examples == {"test": 1}
    assert not [each for each in hub.requests if "train-0" in each]


def test_the_commit_is_part_of_the_identity(hub: Hub) -> None:
    other = CONFIG.model_copy(update={"revision": "f" * 40})
    assert stage_identity(PREPARE, CONFIG, {}, 0) != stage_identity(PREPARE, other, {}, 0)
    assert hub.requests == []


def test_a_file_that_was_changed_in_transit_is_an_error(hub: Hub, tmp_path: Path) -> None:
    hub.corrupted = {"data/test-00000-of-00001.parquet"}
    with pytest.raises(VicurError, match=r"sent other bytes than it lists for data/test-0") as caught:
        _prepared(CONFIG, tmp_path)
    assert caught.value.retryable


def test_a_broken_download_resumes_in_the_same_work_folder(hub: Hub, tmp_path: Path) -> None:
    _prepared(CONFIG, tmp_path)
    before = len(hub.requests)
    (tmp_path / "work" / "fetched" / "README.md").write_bytes(b"cut")
    (tmp_path / "again").mkdir()
    prepare(CONFIG, {}, tmp_path / "again", make_context(tmp_path / "work"))
    assert {each for each in hub.requests[before:] if "resolve" in each and "GET" in each} == {
        f"GET /datasets/{REPOSITORY}/resolve/{COMMIT}/README.md"
    }


def test_the_token_comes_from_the_environment(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.credential = "hf_secret"
    with pytest.raises(VicurError, match=r"is gated.*datasets/lab/tiny-model.*set HF_TOKEN"):
        _prepared(CONFIG, tmp_path / "without")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert _prepared(CONFIG, tmp_path / "with").examples == {"distill": 2, "test": 1}


def test_a_dataset_without_data_files_is_refused_before_it_is_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"README.md": b"# Empty", "shapes.py": b""}
    with pytest.raises(VicurError, match=r"contains neither a prepared dataset .* nor data files"):
        _prepared(CONFIG, tmp_path)
    assert not [each for each in hub.requests if "resolve" in each]


def test_a_path_out_of_the_folder_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"../../escaped.jsonl": lines([{"question": "A?", "answer": 1}]).encode(), "a.png": RED}
    with pytest.raises(VicurError, match=r"'\.\./\.\./escaped\.jsonl', which is not a path inside"):
        _prepared(CONFIG, tmp_path)


def test_a_branch_is_resolved_to_its_commit(hub: Hub) -> None:  # noqa: ARG001
    assert newest_dataset_commit(REPOSITORY, None) == COMMIT
    with pytest.raises(VicurError, match="has no such commit"):
        newest_dataset_commit(REPOSITORY, "missing")


def test_a_reference_names_a_commit() -> None:
    assert dataset_reference(f"hf://{REPOSITORY}@{COMMIT}") == HubConfig(repository=REPOSITORY, revision=COMMIT)
    for text, problem in (("hf://a/b", "names no commit"), ("hf://a/b@main", "names the revision 'main'")):
        with pytest.raises(VicurError, match=f"{problem}, but only a commit identifies the data"):
            dataset_reference(text)
    with pytest.raises(VicurError, match="hf://owner/name@COMMIT"):
        dataset_reference("hf://name")


@pytest.mark.parametrize("changes", [{"repository": "name"}, {"repository": "../x/y"}, {"revision": "main"}])
def test_invalid_settings_are_rejected(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        HubConfig(**{"repository": "a/b", "revision": COMMIT, **changes})
