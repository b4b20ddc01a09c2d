"""The error of a failed step, found in the log of its pod."""

from __future__ import annotations

import pytest

from vicur.cluster.log_errors import error_lines, was_killed

LAUNCHER = """\
I1130 09:08:31.201412      17 launcher_v2.go:195] publish success.
F1130 09:08:45.001873      17 main.go:59] failed to execute component: exit status 2
time="2026-11-30T09:08:45.120Z" level=info msg="sub-process exited" argo=true error="<nil>"
Error: exit status 1
"""


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        (
            "[KFP Executor 2026-11-30 09:08:40,000 INFO]: Looking for component `prepare`\n"
            "prepare: started\nError: /data: no such folder. Mount the claim.\nIt holds the dataset.\n" + LAUNCHER,
            ["Error: /data: no such folder. Mount the claim.", "It holds the dataset."],
        ),
        (
            "step 3\nTraceback (most recent call last):\n  File 'a.py', line 3, in f\n    x()\n"
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n" + LAUNCHER,
            ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."],
        ),
        ("a\nb\nc\nd\n" + LAUNCHER, ["b", "c", "d"]),
        (
            "F1130 09:08:45.001873       1 main.go:79] KFP driver: no such parameter\n",
            ["KFP driver: no such parameter"],
        ),
        (LAUNCHER, ["failed to execute component: exit status 2"]),
        ("\x1b[31mError: no answer from http://ann:hush@host/x\x1b[0m\n", ["Error: no answer from http://***@host/x"]),
        ("Error: an earlier one\nretrying\nError: the last one\n", ["Error: the last one"]),
        ("", []),
    ],
)
def test_the_error_of_a_step_is_found_in_its_log(log: str, lines: list[str]) -> None:
    assert error_lines(log) == lines


def test_a_long_message_is_cut() -> None:
    log = "\n".join(["Error: many", *map(str, range(50))])
    assert error_lines(log) == ["Error: many", "0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("line", "killed"),
    [
        ("F1130 09:08:45.0 17 main.go:59] failed to execute component: exit status 137", True),
        ("F1130 09:08:45.0 17 main.go:59] failed to execute component: signal: killed", True),
        ("F1130 09:08:45.0 17 main.go:59] failed to execute component: exit status 1", False),
        ("step 137", False),
    ],
)
def test_a_killed_process_is_recognized(line: str, killed: bool) -> None:
    assert was_killed(f"step 1\n{line}\n") is killed
