"""Latency and throughput of a student behind ``mlflow models serve``, with and without the cue recovery module.

    python -m benchmarks.serving [--batches 1 8 32] [--requests 20] [--hidden 96] [--tokens 40] [--json FILE]

Two servers run at the same time: a tiny student with the module and random weights, and the same model without it. The module's last
projection is zero, as at the start of a training, so both give the same answers and differ in cost only. They are asked in turns, one
request at a time, over HTTP, with images of digit scenes in base64; two requests of each batch size are not counted. Each server has one
thread.

``p50`` and ``p95`` are latencies of a request in milliseconds, ``rows/s`` is rows by the median latency, and ``module/none`` the ratio of
the median latencies. Latency is wall time: run it on a quiet machine, and compare only within one run.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.reporting import report
from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.prompts import PromptConfig
from vicur.config.recovery import CueRecoverySettings
from vicur.config.sampling import Sampling
from vicur.config.tiny_base import TinySizes
from vicur.data.digit_scenes import build_pools, vocabulary
from vicur.data.schema import Example
from vicur.modeling import save_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.registry.lineage import Lineage
from vicur.registry.package import pack
from vicur.registry.provenance import Provenance

_WARM_UP = 2
_START_SECONDS = 180


def models(hidden: int, tokens: int, example: Example, work: Path) -> dict[str, Path]:
    """Write both MLflow models and return their folders."""
    tokenizer = tiny_tokenizer(vocabulary())
    chat = Chat(tokenizer, tiny_image_processor())
    torch.manual_seed(0)
    sizes = TinySizes(hidden_size=hidden, heads=hidden // 32, intermediate_size=3 * hidden)
    backbone = Qwen3VLForConditionalGeneration(tiny_config(tokenizer, sizes)).eval()
    save_model(backbone, work / "base")
    chat.save(work / "base")
    student = with_cue_recovery(backbone, CueRecoverySettings(interval=2), 0, im_start_token_id=chat.start_id)
    save_model(student, work / "student", chat_folder=work / "base", record={"method": "vicur"})
    decoding = Sampling(temperature=0, max_new_tokens=tokens).model_dump(mode="json")
    return {
        name: pack(
            work / folder,
            work / f"{folder}-packed",
            decoding=decoding,
            prompts=PromptConfig(),
            example=example,
            provenance=Provenance(lineage=Lineage()),
            model_id="m-" + "0" * 32,
            run_id=None,
        )
        for name, folder in {"module": "student", "none": "base"}.items()
    }


@contextmanager
def served(model: Path, work: Path) -> Iterator[int]:
    """Serve a model and yield the port.

    Raises:
        SystemExit: if the server does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = work / f"{port}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            cwd=work,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _is_up(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(log.read_text())
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _is_up(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False


def seconds_of(port: int, body: bytes) -> tuple[float, list[dict[str, Any]]]:
    """Send a request. Returns its latency in seconds and the predictions."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    began = time.perf_counter()
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    seconds = time.perf_counter() - began
    connection.close()
    if response.status != 200:
        raise SystemExit(content.decode())
    return seconds, json.loads(content)["predictions"]


def measure(ports: dict[str, int], examples: Sequence[Example], batch: int, requests: int) -> list[dict[str, Any]]:
    """Return the rows of one batch size.

    Raises:
        SystemExit: if the servers give different answers.
    """
    latencies: dict[str, list[float]] = {name: [] for name in ports}
    for number in range(requests + _WARM_UP):
        some = [examples[(number * batch + n) % len(examples)] for n in range(batch)]
        rows = [{"question": e.question, "image": base64.b64encode(e.images[0]).decode()} for e in some]
        body = json.dumps({"dataframe_records": rows}).encode()
        answers = {}
        # The first server of a pair might profit or suffer from its place.
        for name in sorted(ports, reverse=number % 2 == 1):
            seconds, answers[name] = seconds_of(ports[name], body)
            if number >= _WARM_UP:
                latencies[name].append(seconds)
        if answers["module"] != answers["none"] or any(each["error"] for each in answers["none"]):
            raise SystemExit(f"the servers answer differently: {answers}")
    medians = {name: statistics.median(each) for name, each in latencies.items()}
    return [
        {
            "batch": batch,
            "module": "on" if name == "module" else "off",
            "p50, ms": medians[name] * 1e3,
            "p95, ms": percentile(each, 0.95) * 1e3,
            "rows/s": batch / medians[name],
            "module/none": medians["module"] / medians["none"] if name == "module" else "",
        }
        for name, each in latencies.items()
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least a ``share`` of the values do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="rows per request")
    parser.add_argument("--requests", type=int, default=20, help="counted requests of each batch size and server")
    parser.add_argument("--hidden", type=int, default=96, help="width of the student, a multiple of 32")
    parser.add_argument("--tokens", type=int, default=40, help="longest response")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args()
    if options.hidden % 32 or min(*options.batches, options.requests, options.tokens, options.hidden) < 1:
        parser.error("numbers must be positive, and --hidden a multiple of 32")
    small, many = Pool(digits_per_class=2, scenes=4), Pool(digits_per_class=20, scenes=64)
    scenes = DigitScenesConfig(base=small, distill=many, validation=small, test=small, ood=small)
    examples = build_pools(scenes, seed=0)["distill"]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        found = models(options.hidden, options.tokens, examples[0], work)
        ports = {name: stack.enter_context(served(model, work)) for name, model in found.items()}
        rows = [row for batch in options.batches for row in measure(ports, examples, batch, options.requests)]
    report(f"mlflow models serve, width {options.hidden}, at most {options.tokens} tokens", rows, options.json)


if __name__ == "__main__":
    main()
