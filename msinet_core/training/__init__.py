"""Losses and training of derived networks."""

from msinet_core.runs.networks import load_network
from msinet_core.training.losses import LossParts, batch_hard_triplet, training_loss
from msinet_core.training.pretraining import pretrain
from msinet_core.training.training import Training, train

__all__ = [
    "LossParts",
    "Training",
    "batch_hard_triplet",
    "load_network",
    "pretrain",
    "train",
    "training_loss",
]
