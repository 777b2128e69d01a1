"""`ShuffledSampler`: batches of images drawn by lot, as classification takes them."""

from __future__ import annotations

import numpy as np

from msinet_core.data.sampler import IdentitySampler


class ShuffledSampler(IdentitySampler):
    """Batches of P * K images in random order, each image at most once in an epoch (again where
    there are fewer images than a batch takes); else as `IdentitySampler`.
    """

    def _plan(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, epoch))))
        size = self.identities_per_batch * self.images_per_identity
        batches = len(self) * self.world_size
        order = rng.permutation(len(self._identity))
        return list(np.resize(order, (batches, size)))
