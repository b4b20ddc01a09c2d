"""Find and render the kustomizations of an overlay: its namespace, its claims and the overlay itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import yaml

import vicur
from vicur.cluster.install.kubectl import Kubectl, Object
from vicur.errors import VicurError

OVERLAYS = ("dev", "gpu-pool", "multi-user")
"""Overlays that prepare a namespace for runs. Those that serve a student are applied by hand (docs/serving.md)."""
Part = Literal["namespaces", "storage", "overlays"]
PARTS: tuple[Part, ...] = ("namespaces", "storage", "overlays")
"""Folders of ``k8s/``, in the order in which they are applied."""


def find_manifests() -> Path:
    """Return the manifests of the current folder or, if it has none, those that this package was installed with."""
    here, root = Path("k8s"), Path(vicur.__file__).resolve().parents[1]
    # A checkout has the folder k8s, a wheel installs it as vicur_k8s.
    for folder in (here, root / "k8s", root / "vicur_k8s"):
        if (folder / "overlays").is_dir():
            return folder
    raise VicurError(
        "neither the current folder nor this installation contains the manifests (k8s/).",
        where="--manifests",
        remedy="Name the folder k8s of a checkout: --manifests PATH.",
    )


@dataclass(frozen=True)
class Kustomizations:
    """The folders of an overlay's kustomizations, by part. An overlay in a namespace of others lacks the part ``namespaces``.

    Args:
        namespace: namespace that replaces the one in the kustomizations; empty to keep it.
    """

    overlay: str
    folders: dict[Part, Path]
    namespace: str = ""

    @classmethod
    def find(cls, overlay: str, manifests: Path, namespace: str = "") -> Kustomizations:
        """Find them in ``manifests``. Parts that it lacks come from the manifests of this installation.

        Raises:
            VicurError: if ``manifests`` does not contain the overlay.
        """
        if not (manifests / "overlays" / overlay / "kustomization.yaml").is_file():
            raise VicurError(
                f"{manifests / 'overlays' / overlay} contains no kustomization.yaml.",
                where="--manifests",
                remedy="Name a folder with overlays/NAME/kustomization.yaml: the folder k8s of a checkout, or your own.",
            )
        folders = {}
        for part in PARTS:
            candidates = (root / part / overlay for root in (manifests, find_manifests()))
            found = next((each for each in candidates if (each / "kustomization.yaml").is_file()), None)
            if found is not None:
                folders[part] = found
        return cls(overlay, folders, namespace)

    @contextmanager
    def folder(self, part: Part) -> Iterator[Path]:
        """Yield the folder to pass to ``kubectl apply -k``: the part itself, or a kustomization that replaces its namespace."""
        if not self.namespace:
            yield self.folders[part]
            return
        with TemporaryDirectory(prefix="vicur-install-") as name:
            place = Path(name).resolve()
            # Kustomize accepts no absolute paths.
            base = os.path.relpath(self.folders[part].resolve(), place)
            (place / "kustomization.yaml").write_text(
                yaml.safe_dump({"namespace": self.namespace, "resources": [base]}), encoding="utf-8"
            )
            yield place

    def render(self, kubectl: Kubectl, part: Part) -> list[Object]:
        """Return the objects of a part; empty if the overlay lacks it."""
        if part not in self.folders:
            return []
        with self.folder(part) as folder:
            text = kubectl.run("kustomize", str(folder))
        return [each for each in yaml.safe_load_all(text) if each]


def namespace_of(objects: list[Object], kustomizations: Kustomizations) -> str:
    """Return the namespace of an overlay's objects.

    Raises:
        VicurError: if they are in several namespaces, or in another one than ``--namespace`` names and the overlay depends on it.
    """
    found = {each["metadata"]["namespace"] for each in objects if "namespace" in each["metadata"]}
    if len(found) != 1:
        raise VicurError(
            f"the overlay's objects are in several namespaces: {', '.join(sorted(found)) or 'none'}.",
            where=str(kustomizations.folders["overlays"]),
            remedy="Set 'namespace' in its kustomization.yaml.",
        )
    return str(found.pop())


def title(manifest: Object) -> str:
    """Return kind and name of an object: ``Deployment/mlflow``."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"
