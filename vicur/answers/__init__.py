"""Extraction and checking of final answers and evidence, and detection of hint leakage.

Training (rollout accuracy) and evaluation call the same functions. They accept any text and never raise because of it.
docs/answers.md describes what is accepted.
"""

from vicur.answers.correct import is_correct
from vicur.answers.evidence import evidence_is_right
from vicur.answers.extract import extract_answer
from vicur.answers.gold import can_be_met
from vicur.answers.leakage import hint_leaks
from vicur.answers.strict import strict_answer

__all__ = ["can_be_met", "evidence_is_right", "extract_answer", "hint_leaks", "is_correct", "strict_answer"]
