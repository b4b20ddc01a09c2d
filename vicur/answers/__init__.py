"""Extraction and checking of final answers and evidence, and detection of hint leakage.

Training (rollout accuracy) and evaluation call the same functions. They accept any text and never raise because of it.
"""

from vicur.answers.correct import is_correct
from vicur.answers.evidence import evidence_is_right
from vicur.answers.extract import extract_answer
from vicur.answers.leakage import hint_leaks

__all__ = ["evidence_is_right", "extract_answer", "hint_leaks", "is_correct"]
