"""`write_report`: one self-contained HTML page of results and runs."""

from msinet_lab.report.page import write_report
from msinet_lab.report.subjects import Subject, described, read_subjects

__all__ = ["Subject", "described", "read_subjects", "write_report"]
