"""Runs: their folder, checkpoints and locks, and the loop that search and training share."""

from msinet_core.runs.checkpoints import Checkpoint
from msinet_core.runs.folder import RunFolder

__all__ = ["Checkpoint", "RunFolder"]
