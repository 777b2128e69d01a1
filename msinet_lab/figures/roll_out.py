"""Attention roll-out: what a transformer's features attend to, through all of its blocks.

Each block's attention, averaged over heads, is mixed half and half with the identity (the residual
connection), and the blocks are multiplied: row t of the product says how much each input token
contributes to token t.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from msinet_lab.figures.layers import Layer, device_of, evaluation

SOFTMAX = {functional.softmax, torch.softmax, Tensor.softmax}


class Attentions(TorchFunctionMode):
    """Inside a `with`, `kept` gathers the attention of every head as it is computed, N x heads x T
    x T, whoever wrote the network: by the ways in which torch computes it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function is functional.multi_head_attention_forward:
            kwargs |= {"need_weights": True, "average_attn_weights": False}
            output, weights = function(*args, **kwargs)
            self.kept.append(weights)  # type: ignore[arg-type]  # they were asked for
            return output, weights
        output = function(*args, **kwargs)
        if function is functional.scaled_dot_product_attention:
            self.kept.append(_weights(*args, **kwargs))
        elif function in SOFTMAX and output.ndim == 4 and output.shape[2] == output.shape[3]:
            self.kept.append(output)
        return output


def _weights(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, *_: Any, **how: Any
) -> Tensor:
    """What `scaled_dot_product_attention` weighs the values with."""
    scale = how.get("scale") or query.shape[-1] ** -0.5
    energies = query @ key.transpose(-2, -1) * scale
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        energies = energies.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        energies = energies + attn_mask
    return energies.softmax(-1)


def attentions(model: nn.Module, images: Tensor, tokens: int) -> list[Tensor]:
    """Attention of every block among all `tokens`, N x heads x T x T each; none where the network
    does not attend so (a CNN, windows).
    """
    with evaluation(model), torch.no_grad(), Attentions() as mode:
        model(images.to(device_of(model)))
    wanted = len(images), tokens, tokens
    return [one for one in mode.kept if (one.shape[0], *one.shape[2:]) == wanted]


def roll_out(model: nn.Module, images: Tensor, layer: Layer) -> Tensor | None:
    """N x h x w, sums to at most 1 over a picture: the share of each place in the network's
    features; None for a network without attention over all of the picture.

    Read off the class token, off all tokens alike where there is none or the features are an
    average. `layer`: one of the network's layers, which knows its grid.
    """
    if layer.form not in ("NTC", "TNC"):
        return None
    places = layer.grid[0] * layer.grid[1]
    found = attentions(model, images, layer.extra + places)
    if not found:
        return None
    identity = torch.eye(layer.extra + places, device=found[0].device)
    rolled = identity
    for attention in found:
        rolled = (attention.float().mean(1) + identity) / 2 @ rolled  # N x T x T
    averaged = not layer.extra or getattr(model, "global_pool", "") == "avg"
    rows = rolled[:, layer.extra :].mean(1) if averaged else rolled[:, 0]
    return rows[:, layer.extra :].unflatten(1, layer.grid).cpu()
