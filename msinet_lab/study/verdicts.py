"""The paper's claims as differences, and what the runs say about each.

The rule, for the paired differences in test mAP (one for each seed, of one data set or of all):
*reproduced* if their 95 % interval (Student's t) lies above zero; *not reproduced* if it ends below
`SMALLEST`, so that a difference worth having is excluded; *undecided* otherwise.

Part d is no claim of the paper's, whose networks are pretrained on ImageNet: here nothing is, or
what weights were given for.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from msinet_lab.diagnosis.statistics import mean_interval

SMALLEST = 0.01  # mAP, one point: the smallest difference worth having
VERDICTS = ("reproduced", "not reproduced", "undecided at this scale")
TWINS, USUAL, LEAKING = "twins, overlap 0.4", "usual, overlap 1", "leaking step, overlap 0.4"
MSINET, RESNET18, RESNET50 = (
    "MSINet, unpretrained",
    "ResNet-18, unpretrained, stride 16",
    "ResNet-50, unpretrained, stride 16",
)
# with the library's own last stride, as tables of version 0.1 have them
COARSE18, COARSE50 = (name.replace("stride 16", "stride 32") for name in (RESNET18, RESNET50))


@dataclass(frozen=True)
class Claim:
    """`better` is to beat `than`: beginnings of settings of one part, several of which are
    averaged.
    """

    part: str
    text: str
    better: str
    than: str


CLAIMS = (
    Claim("a", "twins split beats the usual split", TWINS, USUAL),
    Claim("a", "twins split beats disjoint identities", TWINS, "overlap 0 "),
    Claim("a", "clean step beats the leaking step", TWINS, LEAKING),
    Claim("b", "searched beats random", "searched", "random"),
    Claim("b", "searched beats uniform", "searched", "all "),
    Claim("b", "searched beats the paper's", "searched", "paper"),
    Claim("b", "the paper's beats random", "paper", "random"),
    Claim("c", "alignment pos helps across domains", "pos ", "none "),
    Claim("c", "alignment neg helps across domains", "neg ", "none "),
    Claim("c", "alignment pos_neg helps across domains", "pos_neg ", "none "),
    Claim("d", "unpretrained: MSINet beats ResNet-18 at stride 32", MSINET, COARSE18),
    Claim("d", "unpretrained: MSINet beats ResNet-50 at stride 32", MSINET, COARSE50),
    Claim("d", "unpretrained: MSINet beats ResNet-18", MSINET, RESNET18),
    Claim("d", "unpretrained: MSINet beats ResNet-50", MSINET, RESNET50),
    Claim("d", "pretrained: MSINet beats ResNet-50", "MSINet, pretrained", "ResNet-50, pretrained"),
)
NOT_THE_PAPERS = "d"  # the part whose claims the paper does not make

# what tables of earlier versions say, and what is said now
OLD_SETTINGS = {"MSINet": MSINET, "ResNet-18": COARSE18, "ResNet-50": COARSE50}
OLD_CLAIMS = {
    f"MSINet beats {name} from scratch": f"unpretrained: MSINet beats {name} at stride 32"
    for name in ("ResNet-18", "ResNet-50")
}


def in_todays_words(table: pd.DataFrame) -> pd.DataFrame:
    """A study's table of rows or of verdicts, of any version."""
    columns = {"setting": OLD_SETTINGS, "claim": OLD_CLAIMS}
    return table.assign(
        **{name: table[name].replace(new) for name, new in columns.items() if name in table}
    )


def differences(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """A row for each data set and seed that has both sides: data, seed, difference in mAP."""
    own = in_todays_words(rows[rows["part"] == claim.part])
    names = own["setting"] + " "  # so that `pos ` is not the beginning of `pos_neg`
    better, than = (
        own[names.str.startswith(start)].groupby(["data", "seed"])["mAP"].mean()
        for start in (claim.better, claim.than)
    )
    return (better - than).dropna().rename("difference").reset_index()


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each claim and data set, and for all data sets together: mean difference, interval,
    verdict.
    """
    found = []
    for claim in CLAIMS:
        pairs = differences(rows, claim)
        groups = [*pairs.groupby("data")]
        for data, group in [*groups, ("all", pairs)] if len(groups) > 1 else groups:
            mean, low, high = mean_interval(group["difference"])
            what = claim.part, claim.text, data, len(group)
            found.append((*what, mean, low, high, verdict(low, high)))
    columns = ["part", "claim", "data", "pairs", "difference", "low", "high", "verdict"]
    return pd.DataFrame(found, columns=columns)


def verdict(low: float, high: float, smallest: float = SMALLEST) -> str:
    """By the rule of this module; `smallest` is the smallest difference worth having.

    >>> verdict(0.002, 0.03), verdict(-0.03, 0.004), verdict(-0.03, 0.03)
    ('reproduced', 'not reproduced', 'undecided at this scale')
    """
    if low > 0:
        return VERDICTS[0]
    return VERDICTS[1] if high < smallest else VERDICTS[2]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each part, data set and setting: mean mAP and rank-1 over the seeds, deviation,
    seeds.
    """
    groups = in_todays_words(rows).groupby(["part", "data", "setting"], sort=False)
    table = groups.agg(
        mAP=("mAP", "mean"),
        deviation=("mAP", "std"),
        rank1=("rank1", "mean"),
        seeds=("seed", "nunique"),
    )
    return table.reset_index()
