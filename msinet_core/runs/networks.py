"""The network that a training run is about: as its configuration asks for it, as it was saved."""

from __future__ import annotations

from pathlib import Path

from msinet_core.config import TrainConfig
from msinet_core.errors import ReidError
from msinet_core.models.interactions import scale_attention
from msinet_core.models.msinet import MSINet
from msinet_core.models.networks import ReidNetwork, resnet
from msinet_core.runs.folder import RunFolder
from msinet_core.space import Genotype


def make_network(config: TrainConfig, genotype: Genotype, num_identities: int) -> ReidNetwork:
    """The network that a configuration asks for, initialised at random."""
    if config.backbone != "msinet":
        return resnet(config.backbone, num_identities, config.alignment != "none")
    model = MSINet(genotype, num_identities, config.channels, config.alignment != "none")
    if config.scaled_attention:
        scale_attention(model)
    return model


def load_network(run: RunFolder | str | Path) -> ReidNetwork:
    """The network of a training run as its last checkpoint has it, in evaluation mode."""
    run = RunFolder.at(run)
    config = run.config()
    if not isinstance(config, TrainConfig):
        raise ReidError(f"{str(run.path)!r} is a {config.KIND} run; a training run is needed here")
    checkpoint = run.checkpoint()
    genotype = run.genotype() or config.resolved_genotype()
    model = make_network(config, genotype, checkpoint.state["num_identities"])
    model.load_state_dict(checkpoint.weights)
    return model.eval()
