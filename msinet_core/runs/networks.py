"""The network of a training run: as its configuration asks for it, as it was saved, and from where
it starts.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from pathlib import Path

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.errors import ReidError
from msinet_core.files import read_json
from msinet_core.models import reference, warm_start
from msinet_core.models.backbones import MSINET, TimmTrunk, build_backbone
from msinet_core.models.interactions import scale_attention
from msinet_core.models.library import wants_weights
from msinet_core.models.msinet import MSINet
from msinet_core.models.networks import ReidNetwork
from msinet_core.models.warm_start import StateDict, WarmStart
from msinet_core.runs.checkpoints import LAST, fitting
from msinet_core.runs.folder import RunFolder
from msinet_core.space import Genotype

STARTED = "warm_start.json"  # of a run folder


def make_network(
    config: TrainConfig, genotype: Genotype, num_identities: int, *, begin: bool = True
) -> ReidNetwork:
    """The network that a configuration asks for, as training begins: initialised at random, or with
    its library's weights. Without `begin` those are not fetched, as others will take their place.
    """
    aligned = config.alignment != "none"
    if config.backbone != MSINET:
        trunk, widths = build_backbone(
            config.backbone,
            (config.height, config.width),
            pretrained=(config.pretrained or None) if begin else False,
            last_stride=config.last_stride,
        )
        return ReidNetwork(trunk, widths, num_identities, aligned, config.pooling)
    options = aligned, config.pooling, config.drop_path
    model = MSINet(genotype, num_identities, config.channels, *options)
    if config.scaled_attention:
        scale_attention(model)
    return model


def load_network(run: RunFolder | str | Path) -> ReidNetwork:
    """The network of a training run as its last checkpoint has it, in evaluation mode; of
    RUN/checkpoints/best the one that was kept under that name.
    """
    run, name = (run, LAST) if isinstance(run, RunFolder) else RunFolder.with_checkpoint(run)
    config = run.config()
    if not isinstance(config, TrainConfig):
        raise ReidError(f"{str(run.path)!r} is a {config.KIND} run; a training run is needed here")
    checkpoint = run.checkpoint(name)
    genotype = run.genotype() or config.resolved_genotype()
    with fitting(run):
        count = operator.index(checkpoint.state["num_identities"])
        model = make_network(config, genotype, count, begin=False)
        model.load_state_dict(checkpoint.weights)
    return model.eval()


def start_from(model: ReidNetwork, source: str) -> WarmStart:
    """Take over what fits of the weights in a run folder of ours, or in a file of anybody's;
    `ReidError` where nothing fits.
    """
    state, genotype = _weights_in(source)
    if isinstance(model.trunk, TimmTrunk) and not Path(source).is_dir():
        state = warm_start.as_timm_names_it(state, model.trunk.network)
    start = warm_start.match(model, state, genotype)
    warm_start.load(model, start)
    return start


def begun(model: ReidNetwork, config: TrainConfig, run: RunFolder, tell: bool) -> Sequence[str]:
    """Bring a run's network to where it begins; gives the names of the weights that were loaded.

    What was loaded is written into the folder, and read there by a run that is resumed: its weights
    come from a checkpoint, whatever has become of the source.
    """
    if run.has_checkpoint():
        known = read_json(run.path / STARTED)
        return known["loaded"] if isinstance(known, dict) else ()
    if config.weights is None:
        of_library = config.of_library and wants_weights(config.backbone, config.pretrained)
        loaded = [name for name in model.state_dict() if name.startswith("trunk.") and of_library]
        run.write_json(STARTED, {"source": config.backbone, "loaded": loaded})
        return loaded
    start = start_from(model, config.weights)
    table = start.table.to_dict(orient="index")
    loaded = list(start.loaded)
    run.write_json(STARTED, {"source": config.weights, "parts": table, "loaded": loaded})
    run.log(f"weights of {config.weights}\n{start.table.to_string()}")
    if tell:
        warnings.warn(f"weights of {config.weights}: {start}", stacklevel=2)
    return loaded


def _weights_in(source: str) -> tuple[StateDict, Genotype | None]:
    """A source's weights, and the genotype that they are of where that is known."""
    if not Path(source).is_dir():
        return reference.read_state_dict(source), None
    run, name = RunFolder.with_checkpoint(source)
    searched = isinstance(run.config(), SearchConfig)  # a supernet has every operation
    return run.checkpoint(name).weights, None if searched else run.genotype()
