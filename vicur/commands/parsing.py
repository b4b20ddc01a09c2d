"""Messages about invalid values of options, in the same words as those about settings."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import ParameterInfo


class Command(TyperCommand):
    """A command that describes invalid option values itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line, and describe an invalid value in this project's words."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            # Typer converts values with pydantic and shows pydantic's message. Earlier versions used click, whose messages are complete.
            from pydantic import ValidationError

            if isinstance(error.__cause__, ValidationError) and error.param is not None and self.callback is not None:
                hints = get_type_hints(inspect.unwrap(self.callback), include_extras=True)
                error.message = _message(hints[str(error.param.name)], error.__cause__.errors()[0]["input"])
            raise


def _message(annotation: Any, value: Any) -> str:
    from pydantic import Field

    from vicur.config.allowed import allowed
    from vicur.config.problems import shown
    from vicur.config.schema import bare

    kind, attached = bare(annotation)
    bounds = [Field(ge=each.min, le=each.max) for each in attached if isinstance(each, ParameterInfo)]
    return f"must be {allowed(kind, [item for each in bounds for item in each.metadata])}, not {shown('', value)}."
