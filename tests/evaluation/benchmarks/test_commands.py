"""``vicur benchmarks``, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.evaluation.benchmarks.drawn import mathvista, write_table
from vicur.cli import app
from vicur.data.pin import dvc_hash, file_md5
from vicur.errors import VicurError


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["benchmarks", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_benchmark_is_staged_and_its_hash_printed(sources: dict[str, Path], tmp_path: Path) -> None:
    md5 = file_md5(sources["wemath"] / "WeMath.tsv")
    out = run("stage", "wemath", "--from", sources["wemath"].parent, "--output", tmp_path, "--md5", md5.upper())
    assert "WeMath: 10 questions, 10 images, not the file that the paper's harness uses" in out
    assert dvc_hash(tmp_path / "wemath").md5 in out


def test_several_benchmarks_are_staged_beside_each_other(
    tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vicur.evaluation.benchmarks.registry import BENCHMARKS

    for name, rows in (("mathvista", 10), ("mmmu", 9)):
        monkeypatch.setattr(type(BENCHMARKS[name]), "md5", file_md5(sources[name] / BENCHMARKS[name].file))
        monkeypatch.setattr(type(BENCHMARKS[name]), "rows", rows)
    out = run("stage", "mathvista", "mmmu", "vision-r1", "--from", sources["mmmu"].parent, "--output", tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mathvista", "mmmu", "vision-r1"]
    assert "not the file" not in out


@pytest.mark.parametrize("folder", ["bench", "bench/mathvista"])
def test_only_the_needed_files_are_fetched_from_s3(bucket: Any, tmp_path: Path, folder: str) -> None:
    md5 = write_table(mathvista(), tmp_path / "local" / "MathVista_MINI.tsv")
    content = (tmp_path / "local/MathVista_MINI.tsv").read_bytes()
    bucket.put_object(Key=f"{folder}/MathVista_MINI.tsv", Body=content)
    bucket.put_object(Key=f"{folder}/huge.bin", Body=b"x")
    run("stage", "mathvista", "--from", f"s3://{bucket.name}/bench", "--output", tmp_path / "out", "--md5", md5)
    run("stage", "mathvista", "--from", tmp_path / "local", "--output", tmp_path / "again", "--md5", md5)
    assert dvc_hash(tmp_path / "out/mathvista") == dvc_hash(tmp_path / "again/mathvista")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["mathvista"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stage", "mathvsta", "--from", ".", "--output", "out"), "is not a benchmark. Did you mean 'mathvista'?"),
        (("stage", "mathvista", "--from", "nowhere", "--output", "out"), "--from nowhere: is not a folder"),
        (("stage", "mathvista", "mmmu", "--from", ".", "--output", "out", "--md5", "0"), "one benchmark at a time"),
    ],
)
def test_wrong_arguments_are_explained(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(VicurError) as error:
        run(*arguments)
    assert message in str(error.value)


def test_every_benchmark_is_listed_with_its_file_and_metric() -> None:
    out = run("list")
    assert "DynaMath: 5,010 questions, mean over all variants" in out
    assert "MMMU_DEV_VAL.tsv, MD5 585e8ad75e73f75dcad265dfd0417d64" in out
