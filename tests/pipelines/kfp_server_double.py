"""A double of the Kubeflow Pipelines API server. Nothing is run: its state is in dictionaries.

It answers with the models of the generated client, and refuses unknown paths with 404 and unknown or ill-typed parameters and fields with
400. Like the server 2.17.0 whose answers are in ``recorded/``, it lists every node of a workflow as a task (drivers, executors, loops,
nameless records of its cache), never gives an error's text, represents unset times by the year 1 or 1970, ends a terminated run as FAILED,
refuses parameters that the package does not declare, and uses another format for errors of uploads and artifacts.
"""

from __future__ import annotations

import base64
import email
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api
import yaml
from kfp_server_api import (
    V2beta1Experiment,
    V2beta1GetHealthzResponse,
    V2beta1ListExperimentsResponse,
    V2beta1ListPipelinesResponse,
    V2beta1ListPipelineVersionsResponse,
    V2beta1ListRunsResponse,
    V2beta1Pipeline,
    V2beta1PipelineVersion,
    V2beta1Run,
    V2beta1RunDetails,
    V2beta1RuntimeStatus,
)

from tests.pipelines.kfp_api import Refused, Route, as_declared, checked, routes
from tests.pipelines.kfp_recurring import RecurringRuns
from tests.pipelines.kfp_workflow import BEGAN, EPOCH, StepNode, node, node_id, tasks_of

__all__ = ["KfpServerDouble", "node", "recorded", "serving"]

RECORDED = Path(__file__).parent / "recorded"
# On a stock server, KFP's MLflow plugin is on and its endpoint unreachable.
_PLUGINS = {
    "mlflow": {"state": "PLUGIN_FAILED", "state_message": "MLflow terminal sync skipped: missing parent root_run_id"}
}
_CLIENT = kfp_server_api.ApiClient()

Look = tuple[str, list[StepNode]]  # state and steps of a run


def recorded(name: str) -> dict[str, Any]:
    """Return a recorded answer to a request for a run."""
    return dict(json.loads((RECORDED / f"{name}.json").read_text()))


@dataclass
class KfpServerDouble(RecurringRuns):
    """State and behavior of the server."""

    multi_user: bool = False
    token: str | None = None  # required bearer token
    # Successive answers to requests for a run. The last one is repeated.
    script: list[Look] = field(default_factory=lambda: [("SUCCEEDED", [])])
    # Errors to answer with first: operation, status (None closes the connection) and message.
    faults: list[tuple[str, int | None, bytes]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)  # names of the operations that were called
    experiments: dict[str, V2beta1Experiment] = field(default_factory=dict)
    pipelines: dict[str, V2beta1Pipeline] = field(default_factory=dict)
    versions: dict[str, V2beta1PipelineVersion] = field(default_factory=dict)
    runs: dict[str, V2beta1Run] = field(default_factory=dict)
    # Recorded answers to requests for a run, by its id, instead of those of the script.
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Logs of pods by the id of their node, as the artifact main-logs.
    logs: dict[str, str] = field(default_factory=dict)
    endpoint: str = ""
    looks: int = 0  # number of requests for a run
    _due: dict[int, list[tuple[str, int | None, bytes]]] = field(default_factory=dict)

    def fail_after_looks(self, times: int, faults: list[tuple[str, int | None, bytes]]) -> None:
        """Add faults after this number of requests for a run."""
        self._due[times] = faults

    def healthz_service_get_healthz(self) -> V2beta1GetHealthzResponse:
        return V2beta1GetHealthzResponse(multi_user=self.multi_user, pipeline_store="database")

    def experiment_service_list_experiments(
        self, filter: str | None = None, namespace: str | None = None, **_: str
    ) -> V2beta1ListExperimentsResponse:
        self._needs(namespace)
        return V2beta1ListExperimentsResponse(experiments=_matching(self.experiments, filter))

    def experiment_service_create_experiment(self, body: V2beta1Experiment) -> V2beta1Experiment:
        self._needs(body.namespace)
        return _stored(self.experiments, "experiment_id", body)

    def pipeline_service_list_pipelines(
        self, filter: str | None = None, namespace: str | None = None, **_: str
    ) -> V2beta1ListPipelinesResponse:
        self._needs(namespace)
        return V2beta1ListPipelinesResponse(pipelines=_matching(self.pipelines, filter))

    def pipeline_service_create_pipeline(self, body: V2beta1Pipeline) -> V2beta1Pipeline:
        self._needs(body.namespace)
        return _stored(self.pipelines, "pipeline_id", body)

    def pipeline_service_list_pipeline_versions(
        self, pipeline_id: str, filter: str | None = None, **_: str
    ) -> V2beta1ListPipelineVersionsResponse:
        mine = {key: version for key, version in self.versions.items() if version.pipeline_id == pipeline_id}
        return V2beta1ListPipelineVersionsResponse(pipeline_versions=_matching(mine, filter))

    def pipeline_service_get_pipeline_version(
        self, pipeline_id: str, pipeline_version_id: str
    ) -> V2beta1PipelineVersion:
        del pipeline_id
        return _existing(self.versions, pipeline_version_id)

    def upload_pipeline_version(
        self, upload: bytes, name: str, pipelineid: str, description: str = ""
    ) -> V2beta1PipelineVersion:
        if any((each.pipeline_id, each.display_name) == (pipelineid, name) for each in self.versions.values()):
            raise Refused(500, "Failed to create a pipeline version", form="error_message")
        _existing(self.pipelines, pipelineid)
        documents = list(yaml.safe_load_all(upload))
        spec = dict(zip(("pipeline_spec", "platform_spec"), documents, strict=False)) if documents[1:] else documents[0]
        version = V2beta1PipelineVersion(
            pipeline_id=pipelineid, display_name=name, name=name, description=description, pipeline_spec=spec
        )
        return _stored(self.versions, "pipeline_version_id", version)

    def run_service_create_run(self, body: V2beta1Run, **_: str) -> V2beta1Run:
        _existing(self.experiments, body.experiment_id)
        spec = body.pipeline_spec
        if body.pipeline_version_reference is not None:
            spec = _existing(self.versions, body.pipeline_version_reference.pipeline_version_id).pipeline_spec
        self._check_parameters(spec.get("pipeline_spec", spec), body.runtime_config.parameters or {})
        body.state, body.created_at, body.scheduled_at, body.finished_at = "PENDING", BEGAN, BEGAN, EPOCH
        body.storage_state, body.state_history = "AVAILABLE", [_status("PENDING")]
        return _stored(self.runs, "run_id", body)

    def run_service_get_run(self, run_id: str) -> V2beta1Run:
        run = _existing(self.runs, run_id)
        if run_id in self.answers:
            self.looks += 1
            version = run.pipeline_version_reference.to_dict()
            return checked(
                {**self.answers[run_id], "run_id": run_id, "pipeline_version_reference": version}, "V2beta1Run"
            )
        state, nodes = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        self.faults += self._due.pop(self.looks, [])
        self._advance(run, state)
        tasks = [{"run_id": run_id, **task} for task in (*tasks_of(nodes, state), *self._cache_records(nodes))]
        plain = json.loads(json.dumps(_CLIENT.sanitize_for_serialization(tasks)))
        run.run_details = V2beta1RunDetails(task_details=checked(plain, "list[V2beta1PipelineTaskDetail]"))
        return run

    @staticmethod
    def _advance(run: V2beta1Run, state: str) -> None:
        if run.state_history[-1].state != state:
            run.state_history.append(_status(state))
        run.state = state
        if state in ("SUCCEEDED", "FAILED"):
            run.finished_at = BEGAN

    @staticmethod
    def _cache_records(nodes: list[StepNode]) -> list[dict[str, Any]]:
        # A launcher that has run a container leaves a record for the cache among the tasks.
        ran = [each for each in nodes if each.state == "SUCCEEDED" and not each.cached]
        return [
            {"task_id": f"record-{i}", "create_time": BEGAN, "start_time": BEGAN, "execution_id": str(i)}
            for i, _ in enumerate(ran)
        ]

    def run_service_list_runs(
        self, experiment_id: str | None = None, namespace: str | None = None, page_size: str = "20", **_: str
    ) -> V2beta1ListRunsResponse:
        if not experiment_id:
            self._needs(namespace)
        mine = [run for run in self.runs.values() if experiment_id in (None, run.experiment_id)]
        return V2beta1ListRunsResponse(runs=mine[::-1][: int(page_size)] or None)

    def keep_log(self, step: StepNode, text: str, inner: str = ".executor(0)") -> None:
        """Keep the log of a step's pod: of its first attempt, or of its driver."""
        self.logs[node_id(step.path + inner)] = text

    def run_service_terminate_run(self, run_id: str) -> dict[str, Any]:
        self._advance(_existing(self.runs, run_id), "CANCELING")
        return {}

    def _needs(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refused(400, "Invalid input error: a namespace is required in multi-user mode")

    @staticmethod
    def _check_parameters(spec: dict[str, Any], values: dict[str, Any]) -> None:
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        kinds = {"STRING": str, "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool}
        kinds |= {"LIST": list, "STRUCT": dict}
        for name, value in values.items():
            if name not in declared:
                raise Refused(400, f"Invalid input error: parameter {name} is not an input of the pipeline")
            if not isinstance(value, kinds[declared[name]["parameterType"]]):
                raise Refused(400, f"Invalid input error: input parameter {name} requires another type")


def _status(state: str) -> V2beta1RuntimeStatus:
    return V2beta1RuntimeStatus(update_time=BEGAN, state=state)


def _matching(held: dict[str, Any], filter: str | None) -> list[Any] | None:
    # Like the server, answer an empty list by leaving it out.
    predicates = checked(as_declared(json.loads(filter)), "V2beta1Filter").predicates if filter else []
    matches = [each for each in held.values() if all(getattr(each, p.key) == p.string_value for p in predicates)]
    return matches or None


def _stored(held: dict[str, Any], key: str, body: Any) -> Any:
    setattr(body, key, f"{key.removesuffix('_id')}-{len(held) + 1}")
    held[getattr(body, key)] = body
    return body


def _existing(held: dict[str, Any], key: str) -> Any:
    if key not in held:
        raise Refused(404, f"ResourceNotFoundError: {key} not found", 5)
    return held[key]


# A path that the server has and the generated client lacks.
_ARTIFACT = re.compile(r"/apis/v2beta1/runs/[^/]+/nodes/(?P<node>[^/]+)/artifacts/main-logs:read")


class _Handler(BaseHTTPRequestHandler):
    double: KfpServerDouble
    known: list[Route]

    def _answer(self) -> None:
        payload = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            answer = json.dumps(_CLIENT.sanitize_for_serialization(self._call(payload)))
            status, body = 200, answer.encode()
        except Refused as refused:
            status, body = refused.status, json.dumps(refused.body).encode()
        except ConnectionAbortedError:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def _call(self, payload: bytes) -> Any:
        place = urlsplit(self.path)
        if artifact := _ARTIFACT.fullmatch(place.path):
            return self._artifact(artifact["node"])
        for route in self.known:
            match = route.path.fullmatch(place.path)
            if match and route.method == self.command:
                break
        else:
            raise Refused(404, f"the API does not have {self.command} {place.path}", 5)
        self.double.requests.append(route.name)
        self._fail(route.name)
        self._authenticate()
        query = {key: values[-1] for key, values in parse_qs(place.query).items()}
        if unknown := query.keys() - route.query:
            raise Refused(400, f"{route.name} does not take {min(unknown)!r}")
        arguments: dict[str, Any] = {**{key: unquote(value) for key, value in match.groupdict().items()}, **query}
        if route.body:
            arguments["body"] = checked(json.loads(payload), route.body)
        elif payload and "multipart" in self.headers["Content-Type"]:
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            (part,) = email.message_from_bytes(head + payload, policy=HTTP).iter_parts()
            arguments["upload"] = (
                part.get_content() if isinstance(part.get_content(), bytes) else part.get_content().encode()
            )
        operation: Callable[..., Any] | None = getattr(self.double, route.name, None)
        if operation is None:
            raise Refused(501, f"the double does not implement {route.name}", 12)
        return operation(**arguments)

    def _authenticate(self) -> None:
        if self.double.token and self.headers.get("Authorization") != f"Bearer {self.double.token}":
            raise Refused(401, "Request header error: there is no user identity header.", 16)

    def _artifact(self, node: str) -> dict[str, str]:
        self._authenticate()
        if node not in self.double.logs:
            raise Refused(404, "artifact not found: <nil>", form="error_message")
        return {"data": base64.b64encode(self.double.logs[node].encode()).decode()}

    def _fail(self, name: str) -> None:
        if self.double.faults and self.double.faults[0][0] == name:
            _, status, message = self.double.faults.pop(0)
            if status is None:
                raise ConnectionAbortedError
            raise Refused(status, message.decode(), 13)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(double: KfpServerDouble) -> Iterator[KfpServerDouble]:
    """Serve a double on a free port. Its address is ``double.endpoint``."""
    handler = type("Handler", (_Handler,), {"double": double, "known": routes()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    double.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
