"""Command-line options of all commands that talk to Kubeflow Pipelines."""

from __future__ import annotations

from typing import Annotated

import typer

EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", envvar="KFP_ENDPOINT", help="Address of Kubeflow Pipelines.", show_default=False),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        envvar="KFP_NAMESPACE",
        help="Your profile, on a multi-user server; otherwise the namespace of Kubeflow Pipelines, by default kubeflow.",
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="KFP_EXISTING_TOKEN",
        help="Bearer token. Prefer the environment variable: other users can see a command line.",
        show_default=False,
    ),
]
CaCertOption = Annotated[
    str | None,
    typer.Option(
        "--ca-cert",
        envvar="KFP_SSL_CA_CERT",
        help="Certificates of a private authority that signed the server's certificate.",
    ),
]
