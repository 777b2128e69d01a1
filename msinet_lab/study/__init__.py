"""The paper's claims put to the test at a size of one's own."""

from msinet_lab.study.carrying_out import PARTS, Study, cost
from msinet_lab.study.data import other_test, thinned
from msinet_lab.study.planning import pairs_needed, plan, power_of, visible
from msinet_lab.study.report import markdown
from msinet_lab.study.size import StudySize
from msinet_lab.study.verdicts import (
    CLAIMS,
    VERDICTS,
    differences,
    in_todays_words,
    summary,
    verdict,
    verdicts,
)

__all__ = [
    "CLAIMS",
    "PARTS",
    "VERDICTS",
    "Study",
    "StudySize",
    "cost",
    "differences",
    "in_todays_words",
    "markdown",
    "other_test",
    "pairs_needed",
    "plan",
    "power_of",
    "summary",
    "thinned",
    "verdict",
    "verdicts",
    "visible",
]
