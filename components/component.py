"""The decorator of all components: one image, and little source."""

# Kubeflow Pipelines embeds the source of a component in the package, and the status of a workflow has six copies of it, for each step
# and each cell. Above 1 MiB of status the server stops reporting steps, so docstrings, comments and descriptions are left out.

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent
from vicur_components.image import IMAGE

from vicur.stage.code_version import without_docstrings


def component(function: Callable[..., None] | None = None, *, outputs: Mapping[str, type] | None = None) -> Any:
    """Make a component of a function, as ``dsl.component`` does.

    If ``outputs`` has names and types of output parameters, the function gets their files as ``**outputs``.
    """
    if function is None:
        return lambda each: component(each, outputs=outputs)
    if outputs:
        function.__signature__ = _expanded_signature(function, outputs)  # type: ignore[attr-defined]
    documentation, function.__doc__ = function.__doc__, None
    try:
        made: BaseComponent = dsl.component(function, base_image=IMAGE, install_kfp_package=False)
    finally:
        function.__doc__ = documentation
    container = made.component_spec.implementation.container
    container.command[-1] = _embedded_source(container.command[-1], outputs or {})
    return made


def _expanded_signature(function: Callable[..., None], outputs: Mapping[str, type]) -> inspect.Signature:
    # KFP requires each output in the signature.
    signature = inspect.signature(function)
    named = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    files = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=dsl.OutputPath(kind))
        for name, kind in outputs.items()
    ]
    return signature.replace(parameters=[*named, *files])


def _embedded_source(source: str, outputs: Mapping[str, type]) -> str:
    tree = without_docstrings(source)
    if outputs:
        (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
        function.args.kwarg = None
        for name, kind in outputs.items():
            annotation = ast.parse(f"dsl.OutputPath({kind.__name__})", mode="eval").body
            function.args.kwonlyargs.append(ast.arg(name, annotation))
            function.args.kw_defaults.append(None)
        gathered = ", ".join(f"{name}={name}" for name in outputs)
        function.body[:0] = ast.parse(f"outputs = dict({gathered})").body
    return f"\n{ast.unparse(ast.fix_missing_locations(tree))}\n"
