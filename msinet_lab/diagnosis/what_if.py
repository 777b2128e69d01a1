"""What if a slot held another operation? Each architecture is computed from its first change on."""

from __future__ import annotations

from msinet_core.retrieval import RetrievalResult
from msinet_core.space import NUM_SLOTS, Genotype
from msinet_lab.diagnosis.scorer import MixScorer, Prefix, one_hot

KEEP_BYTES = 1_500_000_000  # of activations at slots' entrances


class WhatIf:
    """Scores genotypes with a supernet's weights, norms re-estimated; keeps what it computed last.

    A genotype that differs from the last one from slot s on is computed from the entrance of s.
    Where the activations of all slots would take over `keep_bytes`, the later ones are not kept.
    """

    def __init__(self, scorer: MixScorer, keep_bytes: int = KEEP_BYTES) -> None:
        self.scorer, self.keep_bytes = scorer, keep_bytes
        self.kept: list[Prefix] = [scorer.start()]
        self.current: Genotype | None = None
        self.results: dict[Genotype, RetrievalResult] = {}

    def evaluate(self, genotype: Genotype) -> RetrievalResult:
        """The genotype's retrieval result; one seen before is remembered."""
        if genotype not in self.results:
            mix, prefix = one_hot(genotype), self._from(genotype)
            while prefix.slot < NUM_SLOTS - 1:
                prefix = self.scorer.advance(prefix, mix[prefix.slot])
                if prefix.slot == len(self.kept) and self._bytes() < self.keep_bytes:
                    self.kept.append(prefix)
            self.results[genotype] = self.scorer.score(mix, prefix)
            self.current = genotype
        return self.results[genotype]

    def first_change(self, genotype: Genotype) -> int:
        """The first slot (from 0) in which it differs from the one computed last."""
        if self.current is None:
            return 0
        pairs = zip(genotype.slots, self.current.slots, strict=True)
        return next((slot for slot, (new, old) in enumerate(pairs) if new != old), NUM_SLOTS - 1)

    def _from(self, genotype: Genotype) -> Prefix:
        """The furthest kept prefix that the genotype shares; later ones are let go."""
        del self.kept[self.first_change(genotype) + 1 :]
        return self.kept[-1]

    def _bytes(self) -> int:
        """Memory of what is kept (both slots of a cell share its input)."""
        tensors = {
            id(tensor): tensor.nbytes
            for prefix in self.kept
            for batch in (*prefix.calibration, *prefix.images)
            for tensor in batch
        }
        return sum(tensors.values())
