"""The SDK's own command, as docs/submitting.md shows it, against the double of the server."""

from __future__ import annotations

from pathlib import Path

from vicur_pipelines.package import write_package

from tests.pipelines.submitting import create_with_kfp, run_of


def test_kfp_run_submit_takes_the_package_and_parameters_as_documented(kfp, package) -> None:
    kfp.script = [("FAILED", [])]
    done = create_with_kfp(kfp, package, 'methods=["vicur"]', "seed=1", 'training={"steps": 400}')
    assert done.returncode == 0, done.stderr
    assert run_of(kfp).runtime_config.parameters == {"methods": ["vicur"], "seed": 1, "training": {"steps": 400}}


def test_kfp_run_submit_takes_the_form_of_a_pool_as_documented(kfp, tmp_path: Path) -> None:
    write_package(tmp_path / "8b.yaml", None, None, versioned=False, pipeline="cluster")
    done = create_with_kfp(
        kfp, tmp_path / "8b.yaml", 'train_methods=["vicur"]', "gpu_count=8", 'overrides={"training.steps": 400}'
    )
    assert done.returncode == 0, done.stderr
    assert run_of(kfp).runtime_config.parameters["overrides"] == {"training.steps": 400}


def test_kfp_guesses_the_type_of_a_value_and_the_server_refuses_what_it_guessed(kfp, package) -> None:
    done = create_with_kfp(kfp, package, "checkpoints=0123")
    assert done.returncode != 0
    assert "input parameter checkpoints requires another type" in done.stderr + done.stdout


def test_kfps_own_watching_exits_with_0_on_a_failed_run(kfp, package) -> None:
    kfp.script = [("RUNNING", []), ("FAILED", [])]
    done = create_with_kfp(kfp, package, "--watch")
    assert (done.returncode, "FAILED" in done.stdout) == (0, True)
