"""Where settings were given, so that an error message can name the file and line, or the option, that holds the wrong one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

Parts = Sequence[str | int]


@dataclass(frozen=True)
class Sources:
    """Where the settings that are validated together come from.

    Attributes:
        where: the file or argument that holds them; the place of every setting for which nothing below says better.
        within: section that the settings belong to, if they are not at the top of what the user wrote.
        options: options that each set one setting, by the setting's name: ``{"methods": "--method"}``.
        overrides: options that were given for a setting, by its name: ``{"training.steps": "--set training.steps=0"}``.
        document: the YAML that the file holds, to look up lines.
    """

    where: str
    within: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    document: yaml.Node | None = None

    @property
    def is_read(self) -> bool:
        """Whether settings were read from a file or from options."""
        return self.document is not None or bool(self.overrides)

    def name(self, parts: Parts) -> str:
        """Return a setting as the user typed it: its option, or else its dotted name."""
        dotted = written(parts)
        option = next((each for name, each in self.options.items() if _is_within(dotted, name)), None)
        return option or ".".join(filter(None, (self.within, dotted)))

    def place(self, parts: Parts) -> str | None:
        """Return where a setting was given; ``None`` if its name says so already."""
        dotted = written(parts)
        if any(_is_within(dotted, name) for name in self.options):
            return None
        # What was set within a section can make the section wrong; a setting within what was set is the closer match.
        for fits in (_is_within, lambda dotted, name: _is_within(name, dotted)):
            found = [name for name in self.overrides if dotted and fits(dotted, name)]
            if found:
                return self.overrides[max(found, key=len)]
        line = self._line(parts)
        return f"{self.where}, line {line}" if line else self.where

    def _line(self, parts: Parts) -> int | None:
        """Return the line of a setting, or of the innermost section around it that the file has."""
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
    """Write the parts of a setting's name: ``tolerations[0].key``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _is_within(name: str, outer: str) -> bool:
    """Whether a setting is another one, or within it."""
    return name == outer or name.startswith((f"{outer}.", f"{outer}["))
