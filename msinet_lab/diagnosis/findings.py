"""What the numbers say, in one sentence each, with a remedy where something is wrong."""

from __future__ import annotations

from msinet_core.data.report import Finding
from msinet_core.space import NUM_SLOTS, OPERATIONS, slot_label
from msinet_lab.diagnosis.baselines import Baselines
from msinet_lab.diagnosis.effects import NEAR_NO_OP, OperationEffect
from msinet_lab.diagnosis.gap import DiscretisationGap, OperationStrength
from msinet_lab.diagnosis.seeds import Agreement
from msinet_lab.diagnosis.trainings import RankCorrelation
from msinet_lab.diagnosis.trajectory import GAMMA_NEAR_ZERO, LAST_EPOCHS, Trajectory

UNDECIDED = 0.95  # mean entropy above this: the largest weight is hardly larger than the others
COLLAPSED = 8  # slots won by an operation that does nothing
UNSETTLED = 4  # slots whose winner changed of late
WEAK = 0.4  # kappa below this is commonly called fair at best
MEANS_SOMETHING = 0.2  # tau of weights and losses above this
RANKS_RIGHTLY = 0.3  # tau of supernet scores and trainings above this
CHANCE = 0.05  # p of a found architecture among random ones


def _judge(check: str, good: bool, found: str, remedy: str, severity: str = "warning") -> Finding:
    return Finding(check, "ok" if good else severity, found, "" if good else remedy)


def history_findings(trajectory: Trajectory) -> list[Finding]:
    """Decided, settled, collapsed?"""
    entropy, changed = trajectory.entropy[-1].mean(), int((trajectory.flips() > 0).sum())
    idle, weight = len(trajectory.idle_slots), trajectory.idle_weight[-1].mean()
    return [
        _judge(
            "decided",
            entropy <= UNDECIDED,
            f"mean entropy of the slots' weights is {entropy:.3f} (1 = undecided)",
            "search longer, raise the learning rate of alpha, or set --entropy-penalty",
        ),
        _judge(
            "settled",
            changed < UNSETTLED,
            f"{changed} of {NUM_SLOTS} slots changed their winner in the last {LAST_EPOCHS} epochs",
            "search longer, or take the consensus of several seeds",
        ),
        _judge(
            "not collapsed",
            idle < COLLAPSED,
            f"{idle} of {NUM_SLOTS} slots are won by none, or by cross attention with |gamma| "
            f"under {GAMMA_NEAR_ZERO}; mean weight on what does nothing {weight:.2f}",
            "try --initial-gamma, --alpha-warmup-epochs or --drop-milestones",
            "error",
        ),
    ]


def effect_finding(effect: OperationEffect) -> Finding:
    slots = effect.near_no_ops
    listed = "; ".join(f"{slot_label(slot)} ({OPERATIONS[effect.winners[slot]]})" for slot in slots)
    found = f"every winner but none moves the branches by {NEAR_NO_OP:.0%} or more"
    if slots:
        found = f"next to nothing is done in {listed}: under {NEAR_NO_OP:.0%} of the branches"
    remedy = "read those slots as none, or search with --initial-gamma"
    return _judge("no near-no-op", not slots, found, remedy)


def gap_finding(gap: DiscretisationGap) -> Finding:
    change = gap.reestimated
    low, high = (100 * end for end in change.interval)
    found = (
        f"taking one operation a slot changes mAP by {100 * change.difference:+.1f} points "
        f"({low:+.1f} to {high:+.1f}), norms re-estimated"
    )
    remedy = (
        "the weights rely on the mix: anneal --alpha-temperature, or train the derived network "
        "anew before judging"
    )
    return _judge("small gap", high >= 0, found, remedy)


def strength_finding(strength: OperationStrength) -> Finding:
    tau = strength.mean_agreement
    found = (
        f"alpha and what operations are worth agree with tau {tau:+.2f} (1: alpha ranks them "
        "rightly, 0: by chance)"
    )
    remedy = "do not read alpha as importance; compare seeds and random genotypes"
    return _judge("alpha means something", tau > MEANS_SOMETHING, found, remedy)


def baseline_finding(baselines: Baselines) -> Finding:
    place = baselines.place
    found = (
        f"better than {place.percentile:.0f} % of {len(baselines.random)} random genotypes in the "
        f"supernet (p = {place.p:.2f})"
    )
    remedy = "search longer, or take the best random genotype: it costs nothing more"
    return _judge("better than random", place.p <= CHANCE, found, remedy)


def seed_finding(agreement: Agreement) -> Finding:
    found = (
        f"{agreement.searches} searches agree with kappa {agreement.kappa:.2f}; two of them differ "
        f"in {agreement.distance:.0%} of the slots, random ones in {agreement.chance:.0%}"
    )
    remedy = "search longer or with more data; until then no single genotype is the finding"
    return _judge("seeds agree", agreement.kappa >= WEAK, found, remedy)


def correlation_finding(correlation: RankCorrelation) -> Finding:
    found = (
        f"supernet and short trainings rank {len(correlation.table)} genotypes with tau "
        f"{correlation.tau:+.2f}"
    )
    remedy = "do not choose by supernet scores; train the candidates"
    return _judge("supernet ranks rightly", correlation.tau > RANKS_RIGHTLY, found, remedy)
