"""Runs that ask for compiling, where there is no GPU to replay them; `test_gpu.py` has the rest."""

import copy

import pytest
import torch
from common import same_weights

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.models import Supernet
from msinet_core.runs.replaying import Replayed
from msinet_core.search import search
from msinet_core.training import train


def test_on_a_cpu_every_call_is_one_of_the_function():
    calls = []
    replayed = Replayed(lambda x: calls.append(x) or x + 1)
    for number in range(6):
        assert replayed(torch.tensor([number])).item() == number + 1
    assert len(calls) == 6


@pytest.mark.parametrize(
    "kind, run, changes",
    [
        (TrainConfig, train, {}),
        (TrainConfig, train, {"accumulate": 2}),
        (SearchConfig, search, {}),
        (SearchConfig, search, {"accumulate": 2}),
    ],
)
def test_asking_for_it_changes_no_bit_on_a_cpu(
    tiny_settings, tmp_path, monkeypatch, kind, run, changes
):
    asked = []
    monkeypatch.setattr(
        "msinet_core.runs.devices.compile_network", lambda *found: asked.append(found)
    )
    ends = [
        run(
            kind(**{**tiny_settings, "compile": compiled, **changes}),
            tmp_path / str(compiled),
            progress=False,
        )
        for compiled in (False, True)
    ]
    assert len(asked) == 1
    assert same_weights(*ends)


def test_a_pass_of_the_supernet_leaves_no_graph_behind():
    supernet = Supernet((16, 16, 16, 16)).train()
    supernet(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(slot.mix is None for slot in supernet.slots())
    copy.deepcopy(supernet)  # which torch refuses for tensors of a graph
