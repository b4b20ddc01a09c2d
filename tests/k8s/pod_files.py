"""Variables and files that a container sees: those that its manifest gives it, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.k8s.render import Manifest

_PATH = re.compile(r"/[\w.@-]+(?:/[\w.@-]+)*/?")

Secrets = Mapping[str, Mapping[str, str]]
"""Keys and values of secrets by name."""


def environment(container: Manifest, manifests: list[Manifest], secrets: Secrets | None = None) -> dict[str, str]:
    """Return the variables of a container. Values from secrets that are not given are left out."""
    maps = {m["metadata"]["name"]: m.get("data", {}) for m in manifests if m["kind"] == "ConfigMap"}
    known = {"configMapRef": maps, "configMapKeyRef": maps, "secretRef": secrets or {}, "secretKeyRef": secrets or {}}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        for kind, reference in source.items():
            found |= known[kind].get(reference["name"], {})
    for variable in container.get("env", []):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        for kind, reference in variable.get("valueFrom", {}).items():
            values = known.get(kind, {}).get(reference.get("name"), {})
            if reference.get("key") in values:
                found[variable["name"]] = values[reference["key"]]
    return found


def path_problems(container: Manifest, manifests: list[Manifest]) -> Iterator[str]:
    """Yield paths in a container's variables and command that are not below one of its mounts."""
    values = list(environment(container, manifests).items())
    for word in (*container.get("command", []), *container.get("args", [])):
        name, _, value = word.rpartition("=")
        values.append((name or "its command", value))
    for name, value in values:
        if _PATH.fullmatch(value) and _mount_of(value, container) is None:
            yield f"{name} is {value}, which is below none of its mounts"


def _mount_of(path: str, container: Manifest) -> str | None:
    """Return the mount point that contains a path."""
    points = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    return next((p for p in sorted(points, reverse=True) if Path(path).is_relative_to(p)), None)


class PodFiles:
    """The mounts of a container as folders of this machine.

    Args:
        folder: an empty folder for them.
        edit: changes the text of files from ConfigMaps, such as their addresses.
    """

    def __init__(
        self, folder: Path, template: Manifest, manifests: list[Manifest], edit: Callable[[str], str] = str
    ) -> None:
        (self.container,) = template["spec"]["containers"]
        self._folder, self._manifests, self._edit = folder, manifests, edit
        maps = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            place = folder / mount["mountPath"].lstrip("/")
            place.mkdir(parents=True)
            files = maps[volumes[mount["name"]]["configMap"]["name"]] if "configMap" in volumes[mount["name"]] else {}
            for name, text in files.items():
                (place / name).write_text(edit(text))

    def environment(self, secrets: Secrets) -> dict[str, str]:
        """Return the container's variables, with paths of this machine.

        Raises:
            FileNotFoundError: if a variable names a path that the container does not mount.
        """
        found = environment(self.container, self._manifests, secrets)
        return {n: self._here(n, v) if _PATH.fullmatch(v) else self._edit(v) for n, v in found.items()}

    def _here(self, name: str, path: str) -> str:
        if _mount_of(path, self.container) is None:
            raise FileNotFoundError(f"{name}: the container does not mount {path}")
        return str(self._folder / path.lstrip("/"))
