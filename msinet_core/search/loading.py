"""The supernet of a search that was run."""

from __future__ import annotations

from msinet_core.config import SearchConfig
from msinet_core.errors import ReidError
from msinet_core.models.supernet import Supernet
from msinet_core.runs.checkpoints import fitting
from msinet_core.runs.folder import RunFolder
from msinet_core.search.regularizer import prepare, temperature_at
from msinet_core.space import OPERATIONS


def load_supernet(run: RunFolder) -> Supernet:
    """The supernet of a search run as its last checkpoint has it, in evaluation mode."""
    config = run.config()
    assert isinstance(config, SearchConfig)
    supernet = prepare(Supernet(config.channels, config.cell_width), config)
    checkpoint = run.checkpoint()
    weights = checkpoint.weights
    with fitting(run):
        known = weights["alphas"].shape[1]
        if known != len(OPERATIONS):
            raise ReidError(
                f"{str(run.path)!r} was searched with {known} operations, but {len(OPERATIONS)} "
                "are known here; register its own operations first (register_operation)"
            )
        supernet.load_state_dict(weights)
        supernet.temperature = temperature_at(config, max(0, checkpoint.state["epoch"] - 1))
    return supernet.eval()
