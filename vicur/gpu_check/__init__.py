"""Acceptance test of a machine: agreement with the CPU, distribution, resuming, vLLM, and measured steps. Nothing is downloaded."""

from vicur.gpu_check.report import markdown_of, page_of, record_of, show_report, show_result, write_report
from vicur.gpu_check.run import Options, Report, Result, run_checks

__all__ = [
    "Options",
    "Report",
    "Result",
    "markdown_of",
    "page_of",
    "record_of",
    "run_checks",
    "show_report",
    "show_result",
    "write_report",
]
