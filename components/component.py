"""The decorator of all components: one image, and little source."""

# Kubeflow Pipelines embeds the source of a component, which local runs execute. A package for a cluster runs the code in its image
# (pipelines/slim.py). Docstrings, comments and descriptions are left out: components have theirs in the repository.

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent
from vicur_components.image import IMAGE

from vicur.stage.code_version import without_docstrings

_KIND = inspect.Parameter.KEYWORD_ONLY
TARGETS: dict[str, str] = {}
"""Module and function of each component by its embedded source, for packages that run the code in the image instead."""


def component(
    function: Callable[..., None] | None = None,
    *,
    inputs: Mapping[str, type] | None = None,
    outputs: Mapping[str, type] | None = None,
) -> Any:
    """Make a component of a function, as ``dsl.component`` does.

    ``inputs`` and ``outputs`` are names and types of parameters that derive from declarations. The function takes their values and the
    files of the outputs as ``**parameters``.
    """
    if function is None:
        return lambda each: component(each, inputs=inputs, outputs=outputs)
    parameters = [*_inputs(inputs or {}), *_outputs(outputs or {})]
    if parameters:
        function.__signature__ = _expanded_signature(function, parameters)  # type: ignore[attr-defined]
    documentation, function.__doc__ = function.__doc__, None
    try:
        made: BaseComponent = dsl.component(function, base_image=IMAGE, install_kfp_package=False)
    finally:
        function.__doc__ = documentation
    container = made.component_spec.implementation.container
    container.command[-1] = _embedded_source(container.command[-1], parameters)
    TARGETS[container.command[-1]] = f"{function.__module__.partition('.')[2]}:{function.__name__}"
    return made


def _inputs(types: Mapping[str, type]) -> list[inspect.Parameter]:
    # All have an empty default, because a package may not have all of them.
    return [inspect.Parameter(name, _KIND, annotation=kind, default=kind()) for name, kind in types.items()]


def _outputs(types: Mapping[str, type]) -> list[inspect.Parameter]:
    return [inspect.Parameter(name, _KIND, annotation=dsl.OutputPath(kind)) for name, kind in types.items()]


def _expanded_signature(function: Callable[..., None], parameters: list[inspect.Parameter]) -> inspect.Signature:
    # KFP requires each parameter in the signature.
    signature = inspect.signature(function)
    named = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    return signature.replace(parameters=[*named, *parameters])


def _embedded_source(source: str, parameters: list[inspect.Parameter]) -> str:
    tree = without_docstrings(source)
    if parameters:
        (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
        assert function.args.kwarg is not None
        gathered = ", ".join(f"{each.name}={each.name}" for each in parameters)
        function.body[:0] = ast.parse(f"{function.args.kwarg.arg} = dict({gathered})").body
        function.args.kwarg = None
        for each in parameters:
            function.args.kwonlyargs.append(ast.arg(each.name, _expression(_source_of(each.annotation))))
            has_default = each.default is not inspect.Parameter.empty
            function.args.kw_defaults.append(_expression(repr(each.default)) if has_default else None)
    return f"\n{ast.unparse(ast.fix_missing_locations(tree))}\n"


def _source_of(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else f"dsl.OutputPath({annotation.type.__name__})"


def _expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body
