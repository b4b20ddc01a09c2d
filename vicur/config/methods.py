"""The methods: names of tested combinations of four settings, which can also be set one by one.

| method | privilege | teacher | cue recovery | objective |
|---|---|---|---|---|
| opsd | answer | self-frozen | off | k1 |
| opsd-cue | cue | self-frozen | off | k1 |
| opsd-recovery | answer | self-frozen | on | k1 |
| vicur | cue | self-frozen | on | k1 |
| opd | none | checkpoint (set its path) | off | k1 |
| opd-vicur | cue | checkpoint (set its path) | on | k1 |
| grpo | none | none | off | grpo |
| sft | none | none | off | supervised |

All but ``sft`` are rows of the paper's tables (arXiv 2606.05718).
"""

from __future__ import annotations

from functools import cache
from typing import Literal, get_args

from vicur.config.objective import K1, Grpo, ObjectiveConfig, Supervised
from vicur.config.section import Section
from vicur.config.teacher import NoTeacher, OtherCheckpoint, SelfFrozen, TeacherConfig

MethodName = Literal["opsd", "opsd-cue", "opsd-recovery", "vicur", "opd", "opd-vicur", "grpo", "sft"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)

TeacherPrivilege = Literal["answer", "rationale", "cue", "none"]


class Method(Section):
    """The settings in which methods differ."""

    privilege: TeacherPrivilege
    """Content of the teacher's hint."""
    teacher: TeacherConfig
    """The model that scores the student's responses."""
    recovery: bool
    """Whether the student has the cue recovery module."""
    objective: ObjectiveConfig
    """The loss."""


@cache
def method_named(name: MethodName) -> Method:
    """Return the settings of a method."""
    # Cached, because the settings in force are looked up for every example.
    table: dict[MethodName, Method] = {
        "opsd": Method(privilege="answer", teacher=SelfFrozen(), recovery=False, objective=K1()),
        "opsd-cue": Method(privilege="cue", teacher=SelfFrozen(), recovery=False, objective=K1()),
        "opsd-recovery": Method(privilege="answer", teacher=SelfFrozen(), recovery=True, objective=K1()),
        "vicur": Method(privilege="cue", teacher=SelfFrozen(), recovery=True, objective=K1()),
        "opd": Method(privilege="none", teacher=OtherCheckpoint(), recovery=False, objective=K1()),
        "opd-vicur": Method(privilege="cue", teacher=OtherCheckpoint(), recovery=True, objective=K1()),
        "grpo": Method(privilege="none", teacher=NoTeacher(), recovery=False, objective=Grpo()),
        "sft": Method(privilege="none", teacher=NoTeacher(), recovery=False, objective=Supervised()),
    }
    return table[name]
