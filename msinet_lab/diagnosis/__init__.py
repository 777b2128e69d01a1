"""A search one can trust: numbers about a finished (or running) search, from its run folder."""

from msinet_lab.diagnosis.baselines import Baselines, baselines, random_genotypes
from msinet_lab.diagnosis.gap import (
    DiscretisationGap,
    OperationStrength,
    gap_and_strength,
)
from msinet_lab.diagnosis.probe import (
    OperationEffect,
    functional_distance,
    operation_effect,
)
from msinet_lab.diagnosis.report import Trust, diagnose, open_scorer
from msinet_lab.diagnosis.scorer import MixScorer, one_hot, scorer_for, soft_mix
from msinet_lab.diagnosis.seeds import (
    Agreement,
    agreement,
    chance_distance,
    fleiss_kappa,
)
from msinet_lab.diagnosis.statistics import (
    Place,
    kendall_tau_b,
    mean_interval,
    place_among,
)
from msinet_lab.diagnosis.trajectory import Trajectory, trajectory
from msinet_lab.diagnosis.unseen import unseen_protocol, unseen_split
from msinet_lab.diagnosis.what_if import WhatIf

__all__ = [
    "Agreement",
    "Baselines",
    "DiscretisationGap",
    "MixScorer",
    "OperationEffect",
    "OperationStrength",
    "Place",
    "Trajectory",
    "Trust",
    "WhatIf",
    "agreement",
    "baselines",
    "chance_distance",
    "diagnose",
    "fleiss_kappa",
    "functional_distance",
    "gap_and_strength",
    "kendall_tau_b",
    "mean_interval",
    "one_hot",
    "open_scorer",
    "operation_effect",
    "place_among",
    "random_genotypes",
    "scorer_for",
    "soft_mix",
    "trajectory",
    "unseen_protocol",
    "unseen_split",
]
