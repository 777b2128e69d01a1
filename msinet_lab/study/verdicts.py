"""The paper's claims as differences, and what the runs say about each.

The rule, for the paired differences in test mAP (one for each seed, of one data set or of all):
*reproduced* if their 95 % interval (Student's t) lies above zero; *not reproduced* if it ends below
`SMALLEST`, so that a difference worth having is excluded; *undecided* otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from msinet_lab.diagnosis.statistics import mean_interval

SMALLEST = 0.01  # mAP, one point: the smallest difference worth having
VERDICTS = ("reproduced", "not reproduced", "undecided at this scale")
TWINS, USUAL, LEAKING = "twins, overlap 0.4", "usual, overlap 1", "leaking step, overlap 0.4"


@dataclass(frozen=True)
class Claim:
    """`better` is to beat `than`: beginnings of settings of one part, several of which are
    averaged.
    """

    part: str
    text: str
    better: str
    than: tuple[str, ...]


CLAIMS = (
    Claim("a", "twins split beats the usual split", TWINS, (USUAL,)),
    Claim("a", "twins split beats disjoint identities", TWINS, ("overlap 0 ",)),
    Claim("a", "clean step beats the leaking step", TWINS, (LEAKING,)),
    Claim("b", "searched beats random", "searched", ("random",)),
    Claim("b", "searched beats uniform", "searched", ("all ",)),
    Claim("b", "searched beats the paper's", "searched", ("paper",)),
    Claim("b", "the paper's beats random", "paper", ("random",)),
    Claim("c", "alignment pos helps across domains", "pos ", ("none ",)),
    Claim("c", "alignment neg helps across domains", "neg ", ("none ",)),
    Claim("c", "alignment pos_neg helps across domains", "pos_neg ", ("none ",)),
    Claim("d", "MSINet beats ResNet-18 from scratch", "MSINet", ("ResNet-18",)),
    Claim("d", "MSINet beats ResNet-50 from scratch", "MSINet", ("ResNet-50",)),
)


def differences(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """A row for each data set and seed that has both sides: data, seed, difference in mAP."""
    own = rows[rows["part"] == claim.part]
    names = own["setting"] + " "  # so that `pos ` is not the beginning of `pos_neg`
    one = own[names.str.startswith(claim.better)].groupby(["data", "seed"])["mAP"].mean()
    other = own[names.str.startswith(claim.than)].groupby(["data", "seed"])["mAP"].mean()
    return (one - other).dropna().rename("difference").reset_index()


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each claim and data set, and for all data sets together: mean difference, interval,
    verdict.
    """
    found = []
    for claim in CLAIMS:
        pairs = differences(rows, claim)
        groups = (
            [*pairs.groupby("data"), ("all", pairs)]
            if pairs["data"].nunique() > 1
            else [*pairs.groupby("data")]
        )
        for data, group in groups:
            mean, low, high = mean_interval(group["difference"])
            found.append(
                {
                    "part": claim.part,
                    "claim": claim.text,
                    "data": data,
                    "pairs": len(group),
                    "difference": mean,
                    "low": low,
                    "high": high,
                    "verdict": verdict(low, high),
                }
            )
    return pd.DataFrame(
        found, columns=["part", "claim", "data", "pairs", "difference", "low", "high", "verdict"]
    )


def verdict(low: float, high: float) -> str:
    """By the rule of this module.

    >>> verdict(0.002, 0.03), verdict(-0.03, 0.004), verdict(-0.03, 0.03)
    ('reproduced', 'not reproduced', 'undecided at this scale')
    """
    if low > 0:
        return VERDICTS[0]
    return VERDICTS[1] if high < SMALLEST else VERDICTS[2]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each part, data set and setting: mean mAP and rank-1 over the seeds, their
    deviation, seeds.
    """
    groups = rows.groupby(["part", "data", "setting"], sort=False)
    table = groups.agg(
        mAP=("mAP", "mean"),
        deviation=("mAP", "std"),
        rank1=("rank1", "mean"),
        seeds=("seed", "nunique"),
    )
    return table.reset_index()
