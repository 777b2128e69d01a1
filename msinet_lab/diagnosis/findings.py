"""What the numbers say, in one sentence each, with a remedy where they say that something is wrong."""

from __future__ import annotations

from msinet_core.data.report import Finding
from msinet_core.space import NUM_SLOTS, OPERATIONS
from msinet_lab.diagnosis.baselines import Baselines
from msinet_lab.diagnosis.gap import DiscretisationGap, OperationStrength
from msinet_lab.diagnosis.probe import DISGUISED, OperationEffect
from msinet_lab.diagnosis.seeds import Agreement
from msinet_lab.diagnosis.short import RankCorrelation
from msinet_lab.diagnosis.trajectory import GAMMA_NEAR_ZERO, LAST_EPOCHS, Trajectory

UNDECIDED = 0.95  # mean entropy above this: the largest weight is hardly larger than the others
COLLAPSED = 8  # slots won by an operation that does nothing
UNSETTLED = 4  # slots whose winner changed of late
WEAK = 0.4  # kappa below this is commonly called fair at best
CHANCE = 0.05  # p of a found architecture among random ones


def history_findings(told: Trajectory) -> list[Finding]:
    """Decided, settled, collapsed?"""
    entropy, changed = told.entropy[-1].mean(), int((told.flips() > 0).sum())
    idle = idle_slots(told)
    mass = told.identity_mass[-1].mean()
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
            len(idle) < COLLAPSED,
            f"{len(idle)} of {NUM_SLOTS} slots are won by none, or by cross attention with |gamma| under {GAMMA_NEAR_ZERO}; "
            f"mean identity mass {mass:.2f}",
            "try --initial-gamma, --alpha-warmup-epochs or --drop-milestones",
            "error",
        ),
    ]


def idle_slots(told: Trajectory) -> tuple[int, ...]:
    """Slots (from 0) whose winner in the last epoch passes the branches on unchanged."""
    names = [told.operations[column] for column in told.winners[-1]]
    small = abs(told.gammas[-1]) < GAMMA_NEAR_ZERO
    return tuple(
        slot
        for slot, name in enumerate(names)
        if name == "none" or (name == "cross_attention" and small[slot])
    )


def effect_findings(effect: OperationEffect) -> list[Finding]:
    slots = effect.disguised
    listed = ", ".join(f"{slot + 1} ({OPERATIONS[effect.winners[slot]]})" for slot in slots)
    found = (
        f"identity in disguise in slot {listed}: it moves the branches by less than {DISGUISED:.0%}"
        if slots
        else (f"every winner but none moves the branches by {DISGUISED:.0%} or more")
    )
    return [
        _judge(
            "no disguise",
            not slots,
            found,
            "read those slots as none, or search with --initial-gamma",
        )
    ]


def gap_findings(gap: DiscretisationGap) -> list[Finding]:
    change = gap.reestimated
    low, high = (100 * end for end in change.interval)
    found = (
        f"taking one operation a slot changes mAP by {100 * change.difference:+.1f} points ({low:+.1f} to {high:+.1f}), "
        "norms re-estimated"
    )
    return [
        _judge(
            "small gap",
            high >= 0,
            found,
            "the weights rely on the mix: anneal --alpha-temperature, or train the derived network anew before judging",
        )
    ]


def strength_findings(strength: OperationStrength) -> list[Finding]:
    tau = strength.mean_agreement
    found = f"alpha and what operations are worth agree with tau {tau:+.2f} (1: alpha ranks them rightly, 0: by chance)"
    return [
        _judge(
            "alpha means something",
            tau > 0.2,
            found,
            "do not read alpha as importance; compare seeds and random genotypes",
        )
    ]


def baseline_findings(against: Baselines) -> list[Finding]:
    found = (
        f"better than {against.place.percentile:.0f} % of {len(against.random)} random genotypes in the supernet "
        f"(p = {against.place.p:.2f})"
    )
    return [
        _judge(
            "better than random",
            against.place.p <= CHANCE,
            found,
            "search longer, or take the best random genotype: it costs nothing more",
        )
    ]


def seed_findings(agreed: Agreement) -> list[Finding]:
    found = (
        f"{agreed.searches} searches agree with kappa {agreed.kappa:.2f}; two of them differ in {agreed.distance:.0%} of the "
        f"slots, random ones in {agreed.chance:.0%}"
    )
    return [
        _judge(
            "seeds agree",
            agreed.kappa >= WEAK,
            found,
            "search longer or with more data; until then no single genotype is the finding",
        )
    ]


def correlation_findings(correlation: RankCorrelation) -> list[Finding]:
    found = f"supernet and short trainings rank {len(correlation.table)} genotypes with tau {correlation.tau:+.2f}"
    return [
        _judge(
            "supernet ranks rightly",
            correlation.tau > 0.3,
            found,
            "do not choose by supernet scores; train the candidates",
        )
    ]


def _judge(check: str, good: bool, found: str, remedy: str, severity: str = "warning") -> Finding:
    return Finding(check, "ok" if good else severity, found, "" if good else remedy)
