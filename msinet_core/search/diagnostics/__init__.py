"""A search one can trust: numbers about a finished (or running) search, from its run folder."""

from msinet_core.search.diagnostics.baselines import Baselines, baselines, random_genotypes
from msinet_core.search.diagnostics.gap import (
    DiscretisationGap,
    OperationStrength,
    gap_and_strength,
)
from msinet_core.search.diagnostics.probe import (
    OperationEffect,
    functional_distance,
    operation_effect,
)
from msinet_core.search.diagnostics.report import Trust, diagnose, open_scorer
from msinet_core.search.diagnostics.scorer import MixScorer, one_hot, scorer_for, soft_mix
from msinet_core.search.diagnostics.seeds import (
    Agreement,
    agreement,
    chance_distance,
    fleiss_kappa,
)
from msinet_core.search.diagnostics.statistics import (
    Place,
    kendall_tau_b,
    mean_interval,
    place_among,
)
from msinet_core.search.diagnostics.trajectory import Trajectory, trajectory
from msinet_core.search.diagnostics.unseen import unseen_protocol, unseen_split
from msinet_core.search.diagnostics.what_if import WhatIf

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
