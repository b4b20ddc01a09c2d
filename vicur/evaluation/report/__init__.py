"""The report: one self-contained HTML file per comparison."""

from vicur.evaluation.report.page import ReportInputs, write_report

__all__ = ["ReportInputs", "write_report"]
