"""MSINet: the trunk that a genotype describes, under the ReID heads of `networks.py`."""

from __future__ import annotations

from torch import nn

from msinet_core.models.blocks import CHANNELS, Channels, Trunk, initialise
from msinet_core.models.interactions import make_interaction
from msinet_core.models.networks import ReidNetwork
from msinet_core.space import Genotype


class MSINet(ReidNetwork):
    """A network for one genotype: N x 3 x H x W -> N x (c3 + 256) features in evaluation.

    In training it gives a `ReidOutput`. `num_identities` sizes the classifiers. With `alignment`
    the network carries SAM's learned map, used in training only.
    """

    trunk: Trunk

    def __init__(
        self,
        genotype: Genotype,
        num_identities: int,
        channels: Channels = CHANNELS,
        alignment: bool = False,
    ) -> None:
        def make_slot(slot: int, width: int) -> nn.Module:
            return make_interaction(genotype.slots[slot], width)

        trunk = Trunk(channels, make_slot)
        initialise(trunk, linear_std=0.01)
        super().__init__(trunk, (channels[2], channels[3]), num_identities, alignment)
        self.genotype, self.channels = genotype, tuple(channels)
