"""The paper's claims put to the test at a size of one's own."""

from msinet_lab.study.report import markdown
from msinet_lab.study.size import StudySize
from msinet_lab.study.verdicts import (
    CLAIMS,
    VERDICTS,
    differences,
    summary,
    verdict,
    verdicts,
)
from msinet_lab.study.work import PARTS, Study, cost, other_test, thinned

__all__ = [
    "CLAIMS",
    "PARTS",
    "VERDICTS",
    "Study",
    "StudySize",
    "cost",
    "differences",
    "markdown",
    "other_test",
    "summary",
    "thinned",
    "verdict",
    "verdicts",
]
