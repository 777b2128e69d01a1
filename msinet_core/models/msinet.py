"""MSINet: the trunk that a genotype describes, under the ReID heads of `networks.py`."""

from __future__ import annotations

from torch import nn

from msinet_core.models.blocks import CHANNELS, Channels, Trunk, drop_paths, initialise
from msinet_core.models.interactions import make_interaction
from msinet_core.models.networks import ReidNetwork
from msinet_core.space import Genotype


class MSINet(ReidNetwork):
    """A network for one genotype: N x 3 x H x W -> N x (c3 + 256) features in evaluation.

    In training it gives a `ReidOutput`. `num_identities` sizes the classifiers. With `alignment`
    the network carries SAM's learned map, used in training only. `pooling`: "average" or "gem".
    `drop_path`: stochastic depth in training, 0 for none.
    """

    trunk: Trunk

    def __init__(
        self,
        genotype: Genotype,
        num_identities: int,
        channels: Channels = CHANNELS,
        alignment: bool = False,
        pooling: str = "average",
        drop_path: float = 0.0,
    ) -> None:
        def make_slot(slot: int, width: int) -> nn.Module:
            return make_interaction(genotype.slots[slot], width)

        trunk = Trunk(channels, make_slot)
        initialise(trunk, linear_std=0.01)
        if drop_path:
            drop_paths(trunk, drop_path)
        super().__init__(trunk, (channels[2], channels[3]), num_identities, alignment, pooling)
        self.genotype, self.channels = genotype, tuple(channels)
