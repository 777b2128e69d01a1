"""Is a search to be trusted? Numbers about a finished (or running) one, from its run folder."""

from msinet_lab.diagnosis.baselines import Baselines, random_genotypes, score_baselines
from msinet_lab.diagnosis.effects import OperationEffect, functional_distance, operation_effect
from msinet_lab.diagnosis.gap import DiscretisationGap, OperationStrength, gap_and_strength
from msinet_lab.diagnosis.held_out import held_out_protocol, held_out_split
from msinet_lab.diagnosis.report import Diagnosis, diagnose, open_scorer
from msinet_lab.diagnosis.scorer import MixScorer, one_hot, scorer_for, soft_mix
from msinet_lab.diagnosis.seeds import Agreement, agreement, chance_distance, fleiss_kappa
from msinet_lab.diagnosis.statistics import Place, kendall_tau_b, mean_interval, place_among
from msinet_lab.diagnosis.trajectory import Trajectory
from msinet_lab.diagnosis.what_if import WhatIf

__all__ = [
    "Agreement",
    "Baselines",
    "Diagnosis",
    "DiscretisationGap",
    "MixScorer",
    "OperationEffect",
    "OperationStrength",
    "Place",
    "Trajectory",
    "WhatIf",
    "agreement",
    "chance_distance",
    "diagnose",
    "fleiss_kappa",
    "functional_distance",
    "gap_and_strength",
    "held_out_protocol",
    "held_out_split",
    "kendall_tau_b",
    "mean_interval",
    "one_hot",
    "open_scorer",
    "operation_effect",
    "place_among",
    "random_genotypes",
    "score_baselines",
    "scorer_for",
    "soft_mix",
]
