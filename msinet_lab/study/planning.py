"""How many pairs decide a difference, before any is computed."""

from __future__ import annotations

import math

import pandas as pd
from scipy import stats

from msinet_lab.study.verdicts import CLAIMS, differences

TWO_POINTS = 0.02  # mAP
MOST = 10_000


def power_of(pairs: int, deviation: float, difference: float = TWO_POINTS) -> float:
    """How often the 95 % interval of Student's t over so many paired differences leaves zero out on
    the right side, where they are normal with mean `difference` and this deviation.

    As often it leaves `difference` out where there is none, so both verdicts have this power.

    >>> round(power_of(34, 2.0, 1.0), 2)
    0.81
    """
    freedom = pairs - 1
    bound = stats.t.ppf(0.975, freedom)
    return float(stats.nct.sf(bound, freedom, difference / deviation * math.sqrt(pairs)))


def pairs_needed(deviation: float, difference: float = TWO_POINTS, power: float = 0.8) -> int:
    """The fewest pairs with which a difference is seen that often; `MOST` where more are needed.

    >>> pairs_needed(2.0, 1.0), pairs_needed(1.0, 1.0)
    (34, 10)
    """
    counts = range(2, MOST)
    return next((n for n in counts if power_of(n, deviation, difference) >= power), MOST)


def plan(rows: pd.DataFrame, difference: float = TWO_POINTS) -> pd.DataFrame:
    """From a study's rows, a row for each of the paper's claims: pairs, deviation of their
    differences, the difference that so many would have seen in four of five studies, and the pairs
    that `difference` needs.
    """
    found = []
    for claim in CLAIMS:
        own = differences(rows, claim)["difference"]
        if claim.part == "d" or len(own) < 2:
            continue
        spread = float(own.std())
        needed = pairs_needed(spread, difference)
        found.append((claim.part, claim.text, len(own), spread, visible(len(own), spread), needed))
    columns = ["part", "claim", "pairs", "deviation", "visible", "needed"]
    return pd.DataFrame(found, columns=columns)


def visible(pairs: int, deviation: float, power: float = 0.8) -> float:
    """The smallest difference that so many pairs show that often, to a thousandth of the
    deviation.

    >>> round(visible(34, 2.0), 2)
    0.99
    """
    low, high = 0.0, 100.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        if power_of(pairs, 1.0, middle) >= power:
            high = middle
        else:
            low = middle
    return high * deviation
