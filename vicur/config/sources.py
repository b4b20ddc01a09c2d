"""The file, line or option that each setting comes from, for error messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

Parts = Sequence[str | int]


@dataclass(frozen=True)
class Sources:
    """The sources of the settings that are validated together. ``where`` is the place of all others."""

    where: str
    # The section that was validated, if it is only a part of the configuration: "training.per_method.opsd".
    within: str = ""
    # {"methods": "--method"}: messages call these settings by their option.
    options: Mapping[str, str] = field(default_factory=dict)
    # {"training.steps": "--set training.steps=0"}
    overrides: Mapping[str, str] = field(default_factory=dict)
    document: yaml.Node | None = None

    @property
    def is_read(self) -> bool:
        """Return whether settings come from a file or from overrides."""
        return self.document is not None or bool(self.overrides)

    def name(self, parts: Parts) -> str:
        """Return a setting as the user typed it: its option, or else its dotted name."""
        dotted = written(parts)
        option = next((each for name, each in self.options.items() if _is_within(dotted, name)), None)
        return option or ".".join(filter(None, (self.within, dotted)))

    def place(self, parts: Parts) -> str | None:
        """Return the file and line, or the option, of a setting; ``None`` if :meth:`name` returns an option."""
        dotted = written(parts)
        if any(_is_within(dotted, name) for name in self.options):
            return None
        # `--set data=folder` is the place of an error in data.path, and `--set data.path=x` that of an error in data. The first is closer.
        for fits in (_is_within, lambda dotted, name: _is_within(name, dotted)):
            found = [name for name in self.overrides if dotted and fits(dotted, name)]
            if found:
                return self.overrides[max(found, key=len)]
        line = self._line(parts)
        return f"{self.where}, line {line}" if line else self.where

    def _line(self, parts: Parts) -> int | None:
        # A missing setting has no line. Its place is the innermost section around it that the file has.
        node, line = self.document, None
        for part in parts:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next((pair for pair in node.value if pair[0].value == str(part)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                found = (node.value[part], node.value[part])
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line


def written(parts: Parts) -> str:
    """Join the parts of a setting's name: ``tolerations[0].key``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _is_within(name: str, outer: str) -> bool:
    return name == outer or name.startswith((f"{outer}.", f"{outer}["))
