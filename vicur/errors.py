"""The one error that a user is meant to read: what is wrong, where, and what to do about it.

Every stage raises :class:`VicurError` for bad input; the command line and the pipeline's steps print its message alone and
exit with its code. Anything else that escapes is a defect of this project and keeps its traceback.
"""

from __future__ import annotations


class VicurError(Exception):
    """Something that the user can mend.

    Args:
        problem: what is wrong, in one sentence.
        where: file, row, field or setting that it concerns, if one does.
        remedy: what to do about it.
        exit_code: exit status of the process that stops because of it (never 0).
        retryable: whether running the same step again may help (a lost connection, an eviction).
    """

    def __init__(
        self, problem: str, *, where: str | None = None, remedy: str, exit_code: int = 2, retryable: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy
        self.exit_code = exit_code
        self.retryable = retryable

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.problem} {self.remedy}"
