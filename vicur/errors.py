"""The error type for everything that a user can fix: the problem, its place and the remedy.

Stages raise :class:`VicurError` for invalid input. Commands and pipeline steps print its message without a traceback and exit with its
code. Any other exception that reaches the user is a bug in this project and keeps its traceback.
"""

from __future__ import annotations


class VicurError(Exception):
    """A problem that the user can fix.

    Args:
        problem: the problem, as a sentence.
        where: the file, row, field, setting or option that it is about, if any.
        remedy: what the user can do about it, as a sentence.
        retryable: whether the same step may succeed if it runs again, such as after a lost connection or an eviction.
    """

    def __init__(
        self, problem: str, *, where: str | None = None, remedy: str, exit_code: int = 2, retryable: bool = False
    ) -> None:
        # The base class keeps the problem alone; str() adds place and remedy.
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy
        self.exit_code = exit_code
        self.retryable = retryable

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.problem} {self.remedy}"


class NotFiniteError(VicurError, FloatingPointError):
    """A model computed NaN or infinity. A training reports it as its divergence."""
