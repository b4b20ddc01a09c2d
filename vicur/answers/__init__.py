"""Final answers: extracting and checking them, the evidence that a response states, and hint leakage.

Training (accuracy of rollouts) and evaluation use the same functions. They take any text and never fail on it.
"""

from vicur.answers.correct import is_correct
from vicur.answers.evidence import evidence_is_right
from vicur.answers.extract import extract_answer
from vicur.answers.leakage import hint_leaks

__all__ = ["evidence_is_right", "extract_answer", "hint_leaks", "is_correct"]
