"""Find the error of a failed step in the log of its pod."""

from __future__ import annotations

import re

from vicur.redaction import redacted

_LINES = 6
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
# Lines of the platform: of KFP's launcher and driver (klog), of Argo's emissary, and of KFP's executor, after the step's own last line.
_PLATFORM = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:|time=\"?\d{4}-|\{\"time\":|Error: exit status \d+$|\[KFP Executor .*\]:|failed to execute component"
)
_OWN_ERROR = re.compile(r"Error: ")
_EXCEPTION = re.compile(
    r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Failure|Timeout|Warning)(?::|$)|SystemExit\b|Fatal Python error"
)
# A shell reports a process that was killed with 128 + 9, Go's launcher with the signal's name.
_KILLED = re.compile(r"exit status 137\b|signal: killed\b|exit code:? 137\b")
# Text of a driver's or launcher's fatal message, without its prefix.
_FATAL = re.compile(r"F\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+\] (?P<text>.+)")


def error_lines(log: str, most: int = _LINES) -> list[str]:
    """Return the lines of a step's log that say why it failed, without secrets: its error message, or else its last lines."""
    lines = [_COLORS.sub("", line).rstrip() for line in log.splitlines()]
    own = [line for line in lines if line.strip() and not _PLATFORM.match(line.lstrip())]
    for pattern in (_OWN_ERROR, _EXCEPTION):
        found = [number for number, line in enumerate(own) if pattern.match(line)]
        if found:
            return _shown(own[found[-1] :], most)
    if own:
        return _shown(own[-3:], most)
    # Only the platform has spoken, such as in the log of a driver.
    fatal = [match["text"] for line in lines if (match := _FATAL.match(line))]
    return _shown(fatal[-1:] or [line for line in lines if line.strip()][-3:], most)


def was_killed(log: str) -> bool:
    """Return whether a log says that the step's process was killed (exit status 137), as the kernel does if memory runs out."""
    return any(_KILLED.search(line) for line in log.splitlines()[-20:])


def _shown(lines: list[str], most: int) -> list[str]:
    return [redacted(line)[:500] for line in lines[:most]]
