"""``vicur submit`` against a double of the API server: requests, output and exit status."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from vicur_pipelines.package import write_package
from vicur_pipelines.submit.follow import follow
from vicur_pipelines.submit.packaged import Package, step_names
from vicur_pipelines.submit.parameters import run_parameters
from vicur_pipelines.submit.server import connect

from tests.cli.calling import Command, Result, caller
from tests.pipelines.kfp_server_double import KfpServerDouble, node, serving
from tests.pipelines.small import task_names
from tests.tracking.server import free_port
from vicur.config.run import RunConfig

SECRET = "tok-4711"  # noqa: S105 (to search for it in the output)


@pytest.fixture
def kfp() -> Iterator[KfpServerDouble]:
    with serving(KfpServerDouble()) as double:
        yield double


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("package") / "package.yaml"
    write_package(file, None, None, versioned=False)
    return file


@pytest.fixture
def vicur(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capfd)


@pytest.fixture
def submit(
    vicur: Command, kfp: KfpServerDouble, package: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_EXISTING_TOKEN", "KFP_SSL_CA_CERT"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: str, start: bool = True, endpoint: str | None = None) -> Result:
        what = ("--package", str(package)) if start else ()
        return vicur("submit", *what, "--endpoint", endpoint or kfp.endpoint, "--every", "0.1", *arguments)

    return command


def run_of(kfp: KfpServerDouble):
    (run,) = kfp.runs.values()
    return run


def test_a_run_is_uploaded_started_and_followed_until_it_succeeds(kfp, submit) -> None:
    drivers = [
        node("root-driver", "SUCCEEDED", 0, 1),
        node("prepare-driver", "SUCCEEDED", 1, 1),
        node("executor", "RUNNING", 3),
    ]
    kfp.script = [
        ("PENDING", []),
        ("RUNNING", [*drivers, node("prepare", "RUNNING", 2)]),
        ("SUCCEEDED", [*drivers, node("prepare", "SUCCEEDED", 2, 40), node("register", "SKIPPED", 50, 0)]),
    ]
    result = submit()
    assert result.code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("vicur-distill sha256-")
    assert lines[0].endswith(": uploaded")
    assert f"{kfp.endpoint}/#/runs/details/run-1" in lines[1]
    assert lines[2:5] == ["prepare: running", "prepare: finished (40 s)", "register: finished (0.0 s): skipped"]
    assert lines[5].startswith("Run run-1 has succeeded: ")
    assert "executor" not in result.output
    assert "driver" not in result.output
    assert run_of(kfp).pipeline_version_reference.pipeline_version_id == "pipeline_version-1"


def test_the_steps_of_a_package_are_in_topological_order(package: Path) -> None:
    names = step_names(Package.read(package).spec)
    assert set(names) == {"preflight", *task_names(RunConfig()), "outcome"}
    for before, after in (
        ("preflight", "prepare"),
        ("prepare", "extract"),
        ("extract", "train"),
        ("train", "evaluate-2"),
        ("compare", "register"),
    ):
        assert names.index(before) < names.index(after)
    assert names[-1] == "outcome"


def test_a_terminal_shows_pending_steps(kfp, submit) -> None:
    submit("--no-follow")
    kfp.script = [("RUNNING", [node("prepare", "SUCCEEDED", 0, 2), node("extract", "RUNNING", 3)]), ("SUCCEEDED", [])]
    screen = io.StringIO()
    server = connect(kfp.endpoint, None, None)
    ending = follow(server, "run-1", Console(file=screen, force_terminal=True, width=100, height=40), 0.1)
    assert ending.state == "SUCCEEDED"
    for name in ("prepare", "extract", "train", "register", "outcome"):
        assert name in screen.getvalue()


def test_iterations_of_a_loop_are_numbered(kfp, submit) -> None:
    first, second = node("train", "RUNNING", 5, task_id="b"), node("train", "RUNNING", 9, task_id="a")
    kfp.script = [
        ("RUNNING", [first]),
        ("RUNNING", [second, first]),
        ("SUCCEEDED", [{**second, "state": "SUCCEEDED"}, first]),
    ]
    lines = [line for line in submit().output.splitlines() if line.startswith("train")]
    assert lines == ["train: running", "train 2: running", "train 2: finished"]


@pytest.mark.parametrize(
    ("states", "code", "words"),
    [
        (("RUNNING", "SUCCEEDED"), 0, "has succeeded"),
        (("RUNNING", "FAILED"), 1, "has failed"),
        (("SKIPPED",), 1, "was skipped"),
        (("CANCELED",), 3, "was terminated"),
        # What a terminated workflow ends as.
        (("RUNNING", "CANCELING", "FAILED"), 3, "was terminated"),
        (("RUNTIME_STATE_UNSPECIFIED", "PAUSED", "SUCCEEDED"), 0, "has succeeded"),
    ],
)
def test_the_exit_status_is_the_runs_true_state(kfp, submit, states: tuple[str, ...], code: int, words: str) -> None:
    kfp.script = [(state, []) for state in states]
    result = submit()
    assert result.code == code
    assert f"Run run-1 {words}" in result.output


def test_a_failure_names_the_step_the_reason_and_the_logs(kfp, submit) -> None:
    kfp.error = "workflow: child failed"
    kfp.script = [("FAILED", [node("extract", "FAILED", 3, 5), node("compare", "RUNTIME_STATE_UNSPECIFIED", None)])]
    output = submit().output
    assert "extract: failed (5.0 s)" in output
    assert "has failed in extract" in output
    assert "workflow: child failed" in output
    assert "-l pipeline/runid=run-1" in output
    assert "compare" not in output


def test_secrets_in_the_message_of_a_failure_are_redacted(kfp, submit) -> None:
    kfp.error = f"no answer from http://ann:{SECRET}@host"
    kfp.script = [("FAILED", [node("extract", "FAILED", 3, 5, error={"message": kfp.error})])]
    result = submit()
    assert result.output.count("no answer from http://***@host") == 2
    assert SECRET not in result.output + result.error


def test_a_package_is_uploaded_once_and_another_one_gets_its_own_version(kfp, submit, tmp_path, package) -> None:
    assert "uploaded" in submit("--no-follow").output
    assert "already on the server" in submit("--no-follow").output
    other = tmp_path / "other.yaml"
    other.write_text(package.read_text() + "# more\n")
    assert "uploaded" in submit("--no-follow", "--package", str(other), start=False).output
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.runs), len(kfp.experiments)) == (1, 2, 3, 1)


def test_a_concurrent_upload_of_the_same_package_is_not_an_error(kfp, submit, monkeypatch: pytest.MonkeyPatch) -> None:
    submit("--no-follow")
    listed = KfpServerDouble.pipeline_service_list_pipeline_versions
    answers = iter([lambda *_, **__: {}, listed])
    monkeypatch.setattr(
        KfpServerDouble, "pipeline_service_list_pipeline_versions", lambda *a, **k: next(answers)(*a, **k)
    )
    kfp.faults = [("upload_pipeline_version", 400, b"Failed to create a pipeline version")]
    assert "already on the server" in submit("--no-follow").output
    assert len(kfp.versions) == 1


def test_a_configuration_is_compiled_on_the_way(kfp, submit) -> None:
    arguments = ("--pipeline", "distill", "--set", "training.steps=7", "--no-follow")
    assert submit(*arguments, start=False).code == 0
    (version,) = kfp.versions.values()
    parameters = version.pipeline_spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    assert parameters["training"]["defaultValue"]["steps"] == 7
    assert "already on the server" in submit(*arguments, start=False).output, "compiling twice gives the same bytes"


def test_parameters_have_the_types_that_the_package_declares(kfp, submit) -> None:
    assignments = [
        "seed=3",
        "methods=[opsd, vicur]",
        "checkpoints=0123",
        "data.type=folder",
        "data.path=/d",
        "training={steps: 9}",
    ]
    submit("--no-follow", *[word for each in assignments for word in ("-p", each)])
    assert run_of(kfp).runtime_config.parameters == {
        "seed": 3,
        "methods": ["opsd", "vicur"],
        "checkpoints": "0123",
        "data": {"type": "folder", "path": "/d"},
        "training": {"steps": 9},
    }


def test_a_single_setting_keeps_the_other_settings_of_the_package(kfp, submit) -> None:
    submit(
        "--pipeline", "distill", "--set", "training.batch_size=5", "-p", "training.steps=9", "--no-follow", start=False
    )
    assert run_of(kfp).runtime_config.parameters["training"] == {"steps": 9, "batch_size": 5}


def test_settings_outside_the_form_are_added_to_its_overrides(kfp, submit) -> None:
    assignments = ["gpu_count=4", "training.steps=9", "registry.gate.margin=1.0e-2", 'overrides={"base.path": tiny}']
    assignments += ["overrides.cluster.look=false", "checkpoints=s3://team/runs"]
    submit("--no-follow", *[word for each in assignments for word in ("-p", each)], start=False)
    assert run_of(kfp).runtime_config.parameters == {
        "gpu_count": 4,
        "overrides": {
            "training.steps": 9,
            "registry.gate.margin": 0.01,
            "base.path": "tiny",
            "cluster.look": False,
            "checkpoints": "s3://team/runs",
        },
    }


@pytest.mark.parametrize(("old", "name"), [(False, "benchmarks"), (True, "splits")])
def test_the_splits_have_their_old_name_in_older_packages_and_either_name_is_accepted(
    kfp, submit, tmp_path: Path, old: bool, name: str
) -> None:
    write_package(tmp_path / "p.yaml", None, None, versioned=False, pipeline="cluster")
    if old:
        text = (tmp_path / "p.yaml").read_text()
        (tmp_path / "p.yaml").write_text(text.replace("splits:\n", "benchmarks:\n"))
    submit("--package", str(tmp_path / "p.yaml"), "-p", f"{name}=[test]", "--no-follow", start=False)
    declared = "benchmarks" if old else "splits"
    assert run_of(kfp).runtime_config.parameters == {declared: ["test"]}


@pytest.mark.parametrize(
    ("assignment", "problem", "remedy"),
    [
        ("sead=1", "no parameter 'sead'", "Did you mean 'seed'?"),
        ("nothing=1", "no parameter 'nothing'", "It has: base, "),
        ("seed=one", "'one' is not a whole number", "Give a whole number"),
        ("methods=vicur", "'vicur' is not a list", "[a, b]"),
        ("training=[1]", "is not a mapping", "{name: value}"),
        ("seed.x=1", "seed is a single value and has no settings", "Write seed=value"),
        ("seed", "is not a parameter", "Write name=value"),
        ("training={", "is not a mapping", "{name: value}"),
        ("seed=.nan", "is not a whole number", "Give a whole number"),
        ("training={steps: .nan}", "is not a mapping", "{name: value}"),
        ("data=digit_scene", "is not a mapping", "{name: value}"),
        ("methods=!!int ''", "is not a list", "[a, b]"),
        ("base={path: 'https://ann:hush@host/model'}", "the parameters of a run are stored and shown", "***@host"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_sent(
    kfp, submit, assignment: str, problem: str, remedy: str
) -> None:
    result = submit("-p", assignment)
    assert result.code == 2
    assert problem in result.error
    assert remedy in result.error
    assert kfp.requests == []


def test_a_bare_name_selects_the_section_of_that_type() -> None:
    declared = {"data": {"parameterType": "STRUCT", "defaultValue": {"type": "folder", "path": "x"}}}
    assert run_parameters(["data=digit_scenes"], declared) == {"data": {"type": "digit_scenes"}}
    assert run_parameters(["data=folder", "data.path=y"], declared) == {"data": {"type": "folder", "path": "y"}}


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("trainign.steps=9", "no parameter 'trainign'"),
        ("training={steps: 9}", "no parameter 'training'"),
        ("training.steps={", "is not YAML"),
        ("overrides=[1]", "is not a mapping"),
    ],
)
def test_a_wrong_setting_outside_the_form_is_refused_before_anything_is_sent(
    kfp, submit, assignment: str, problem: str
) -> None:
    result = submit("-p", assignment, start=False)
    assert (result.code, kfp.requests) == (2, [])
    assert problem in result.error


def test_a_missing_parameter_without_a_default_is_refused(submit, kfp, tmp_path, package) -> None:
    documents = list(yaml.safe_load_all(package.read_text()))
    documents[0]["root"]["inputDefinitions"]["parameters"]["seed"] = {"parameterType": "NUMBER_INTEGER"}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump_all(documents))
    result = submit("--package", str(tmp_path / "p.yaml"), start=False)
    assert (result.code, kfp.requests) == (2, [])
    assert "requires seed, which has no default. Give --param seed=" in " ".join(result.error.split())


@pytest.mark.parametrize(
    "text",
    [
        *("", "a: 1", "[1]", "{", "\0", "1: 2", "pipelineInfo: x\nroot: {dag: {}}", "pipelineInfo: {name: a}\nroot: 5"),
        "pipelineInfo: {name: a}\nroot: {dag: {}, inputDefinitions: {parameters: {x: 5}}}",
    ],
)
def test_a_file_that_is_not_a_package_is_refused(submit, tmp_path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    result = submit("--package", str(tmp_path / "p.yaml"), start=False)
    assert result.code == 2
    assert "the file is not a compiled pipeline" in result.error


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--package", "p.yaml", "--set", "seed=1"], "--set has no effect on a package"),
        (["--follow", "r", "--package", "p.yaml"], "an existing run needs no package"),
        (["--terminate", "r", "--image", "i"], "an existing run needs no package"),
        (["--terminate", "r", "--follow", "r"], "--follow and --terminate exclude each other"),
        (["--terminate", "", "--follow", "r"], "--follow and --terminate exclude each other"),
        (["--follow", ""], "--follow: the id of the run is empty"),
        (["--terminate", " "], "--terminate: the id of the run is empty"),
    ],
)
def test_options_that_would_be_ignored_are_refused(kfp, submit, arguments: list[str], problem: str) -> None:
    result = submit(*arguments, start=False)
    assert (result.code, kfp.requests) == (2, [])
    assert problem in result.error


def test_a_run_can_be_followed_by_its_id(kfp, submit) -> None:
    run_id = submit("--no-follow").output.split()[-1]
    kfp.script = [("FAILED", [node("base", "FAILED", 0, 1, error={"message": "no such model"})])]
    result = submit("--follow", run_id, start=False)
    assert result.code == 1
    assert "base: failed (1.0 s): no such model" in result.output


def test_a_run_that_the_sdk_started_can_be_followed(kfp, submit, package) -> None:
    create_with_kfp(kfp, package)
    kfp.script = [("SUCCEEDED", [node("base", "SUCCEEDED", 0, 1)])]
    result = submit("--follow", "run-1", start=False)
    assert (result.code, "base: finished (1.0 s)" in result.output) == (0, True)


def test_an_unknown_run_is_reported(submit) -> None:
    result = submit("--follow", "nowhere", start=False)
    assert result.code == 2
    assert "not found on the server (404: ResourceNotFoundError: nowhere not found)" in result.error


def test_a_run_is_terminated(kfp, submit) -> None:
    submit("--no-follow")
    result = submit("--terminate", "run-1", start=False)
    assert result.code == 0
    assert run_of(kfp).state == "CANCELING"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that a shell starts in the background ignore SIGINT, and so would their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_does_not_stop_the_run_and_prints_how_to_follow_it(kfp, package) -> None:
    kfp.script = [("RUNNING", [node("prepare", "RUNNING")])]
    command = [sys.executable, "-c", "from vicur.cli import main; main()", "submit", "--package", str(package)]
    command += ["--endpoint", kfp.endpoint, "--every", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while kfp.looks < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            output, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "The run continues. Follow it: vicur submit --follow run-1" in output
    assert "Terminate it: vicur submit --terminate run-1" in output
    assert error == ""
    assert "run_service_terminate_run" not in kfp.requests


@pytest.mark.parametrize("fault", [503, 429, None], ids=["unavailable", "too many requests", "hung up"])
def test_a_server_that_goes_away_while_a_run_is_followed_is_retried(kfp, submit, fault: int | None) -> None:
    kfp.script = [("RUNNING", [])] * 3 + [("SUCCEEDED", [])]
    # urllib3 itself retries three times if the server hangs up.
    kfp.when_looked_at(2, [("run_service_get_run", fault, b"upstream")] * (5 if fault is None else 2))
    result = submit()
    assert result.code == 0
    assert result.output.count("Retrying.") == 1


def test_a_run_whose_state_is_never_returned_is_an_error(kfp, submit) -> None:
    submit("--no-follow")
    kfp.faults = [("run_service_get_run", 503, b"upstream")]
    result = submit("--follow", "run-1", start=False)
    assert (result.code, "the server has a problem (503: upstream)" in result.error) == (2, True)


def test_a_token_that_expires_does_not_stop_the_run(kfp, submit) -> None:
    kfp.token = SECRET
    kfp.script = [("RUNNING", [node("prepare", "RUNNING")])]
    kfp.when_looked_at(2, [("run_service_get_run", 401, b"expired")])
    result = submit("--token", SECRET)
    assert result.code == 2
    assert "requires a valid token" in result.error
    assert "The run continues" in result.error
    assert "vicur submit --follow run-1" in result.error
    assert SECRET not in result.output + result.error


@pytest.mark.parametrize(
    ("operation", "status", "words"),
    [
        ("healthz_service_get_healthz", 401, "requires a valid token (401: why)"),
        ("run_service_create_run", 403, "your account is not allowed to do this (403: why)"),
        ("experiment_service_create_experiment", 404, "not found on the server (404: why)"),
        ("run_service_create_run", 400, "refused the request (400: why)"),
        ("upload_pipeline_version", 500, "has a problem (500: why)"),
    ],
)
def test_a_refusal_of_the_server_is_reported_with_its_reason(
    kfp, submit, operation: str, status: int, words: str
) -> None:
    kfp.faults = [(operation, status, b"why")]
    result = submit()
    assert result.code == 2
    assert words in result.error
    assert len(result.error.splitlines()) == 2


def test_a_start_without_an_answer_is_reported_and_not_retried(kfp, submit) -> None:
    kfp.faults = [("run_service_create_run", None, b"")]
    result = submit()
    assert result.code == 2
    assert "The run may or may not have started" in result.error
    assert kfp.requests.count("run_service_create_run") == 1


def test_a_token_is_sent_as_bearer_token_and_can_come_from_the_environment(
    kfp, submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = SECRET
    assert submit("--no-follow").code == 2
    monkeypatch.setenv("KFP_EXISTING_TOKEN", SECRET)
    assert submit("--no-follow").code == 0


def test_a_pod_uses_its_mounted_token(kfp, submit, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.token = SECRET
    (tmp_path / "token").write_text(SECRET + "\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert submit("--no-follow").code == 0


def test_a_multi_user_server_requires_a_namespace_and_everything_is_created_in_it(kfp, submit) -> None:
    kfp.multi_user = True
    result = submit()
    assert result.code == 2
    assert "no namespace is given" in result.error
    assert submit("--namespace", "team-a").code == 0
    held = [*kfp.experiments.values(), *kfp.pipelines.values()]
    assert [each.namespace for each in held] == ["team-a", "team-a"]


def test_a_missing_and_an_unreachable_endpoint_are_reported_with_a_remedy(submit, vicur, package) -> None:
    result = vicur("submit", "--package", str(package))
    assert result.code == 2
    assert "KFP_ENDPOINT" in result.error
    assert "kubectl port-forward" in result.error
    result = submit(endpoint=f"http://ann:{SECRET}@127.0.0.1:{free_port()}")
    assert result.code == 2
    assert "does not answer" in result.error
    assert "Connection refused" in result.error
    assert SECRET not in result.error


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("text/html", b"<html>Log in</html>"),
        ("application/json", b"[]"),
        ("application/json", b"null"),
        ("application/json", b""),
        ("application/json", b'{"multi_user": tr'),
        ("application/json", b'{"pipelines": 5}'),
        ("application/json", b"\xff\xfe"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--follow", "a-run")])
def test_another_kind_of_server_is_reported(
    vicur: Command, package: Path, kind: str, page: bytes, arguments: tuple[str, ...]
) -> None:
    class Page(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(page)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        what = arguments or ("--package", str(package))
        result = vicur("submit", *what, "--endpoint", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert result.code == 2
    assert "not like Kubeflow Pipelines" in result.error
    assert "/pipeline" in result.error


@pytest.mark.parametrize("token", [f"{SECRET}\nx", f"{SECRET} x", f"{SECRET}ü"])
def test_a_token_with_invalid_characters_is_refused_and_not_shown(kfp, submit, token: str) -> None:
    result = submit("--token", token)
    assert (result.code, kfp.requests) == (2, [])
    assert "the token contains blanks" in result.error
    assert SECRET not in result.output + result.error


def test_a_line_break_at_the_end_of_a_token_is_ignored(kfp, submit) -> None:
    kfp.token = SECRET
    assert submit("--token", f"{SECRET}\n").code == 0


def test_a_run_gets_the_given_name_experiment_and_service_account(kfp, submit) -> None:
    submit("--no-follow", "--run-name", "mine", "--experiment", "trials", "--service-account", "vicur-pipeline")
    run = run_of(kfp)
    assert (run.display_name, run.service_account) == ("mine", "vicur-pipeline")
    assert kfp.experiments[run.experiment_id].display_name == "trials"


# --- the SDK's own command, as docs/submitting.md shows it ---


def create_with_kfp(kfp: KfpServerDouble, package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", kfp.endpoint, "run", "submit"]
    command += ["--experiment-name", "vicur", "--run-name", "first", "--package-file", str(package), *arguments]
    environment = {**os.environ, "HOME": str(package.parent)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def test_kfp_run_submit_takes_the_package_and_parameters_as_documented(kfp, package) -> None:
    kfp.script = [("FAILED", [])]
    done = create_with_kfp(kfp, package, 'methods=["vicur"]', "seed=1", 'training={"steps": 400}')
    assert done.returncode == 0, done.stderr
    assert run_of(kfp).runtime_config.parameters == {"methods": ["vicur"], "seed": 1, "training": {"steps": 400}}


def test_kfp_run_submit_takes_the_form_of_a_pool_as_documented(kfp, tmp_path: Path) -> None:
    write_package(tmp_path / "8b.yaml", None, None, versioned=False, pipeline="cluster")
    done = create_with_kfp(
        kfp, tmp_path / "8b.yaml", 'methods=["vicur"]', "gpu_count=8", 'overrides={"training.steps": 400}'
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
