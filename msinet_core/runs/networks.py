"""The network of a training run: as its configuration asks for it, as it was saved, and from where
it starts.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from msinet_core.config import TrainConfig
from msinet_core.errors import ReidError
from msinet_core.models import reference
from msinet_core.models.interactions import scale_attention
from msinet_core.models.msinet import MSINet
from msinet_core.models.networks import ReidNetwork, resnet
from msinet_core.runs.folder import RunFolder
from msinet_core.space import Genotype

CLASSIFIERS = ("classifier.", "part_classifier.")


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


def start_from(model: ReidNetwork, source: str) -> None:
    """Take over weights from a run folder of ours or one of the authors' checkpoints, classifiers
    excepted.

    Anything else that does not fit is a `ReidError` naming it; a missing part branch is a warning.
    """
    if Path(source).is_dir():
        state = RunFolder(source).checkpoint().weights
    else:
        if not isinstance(model, MSINet):
            raise ReidError(f"{source!r} is no run folder; only an MSINet starts from another file")
        state = reference.load_msinet(source, model.genotype).state_dict()
    own = model.state_dict()
    wanted = {name for name in own if not name.startswith((*CLASSIFIERS, "learned_map."))}
    for name in sorted(wanted):
        if name not in state or state[name].shape != own[name].shape:
            found = tuple(state[name].shape) if name in state else "nothing"
            raise ReidError(
                f"the weights in {source!r} are of another architecture: {name} is "
                f"{tuple(own[name].shape)} here and {found} there; give the matching --genotype "
                "and --channels"
            )
    model.load_state_dict({name: state[name] for name in wanted}, strict=False)
    fresh = sorted(set(own) - wanted)
    if fresh:
        warnings.warn(f"initialised at random: {', '.join(fresh)}", stacklevel=2)
