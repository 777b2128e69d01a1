"""Which device computes: `auto` takes what torch offers, and what is not there is one sentence.

The accelerators of these tests are said to be there; nothing computes on them.
"""

import pytest
import torch

from msinet_core.config import TrainConfig
from msinet_core.data.batches import to_device
from msinet_core.errors import ReidError
from msinet_core.runs.feeding import worker_threads
from msinet_core.runs.processes import join
from msinet_core.speed import autocast, choose_device, device_name, make_sgd, tf32

GPUS = ("cuda", "mps", "xpu")
CPU = torch.device("cpu")


@pytest.fixture
def offers(monkeypatch):
    """`offers("mps")`: this machine has that accelerator; `offers(None)`: it has none."""

    def pretend(kind):
        found = kind and torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
        # A build for a GPU names it although the machine has none.
        monkeypatch.setattr(
            torch.accelerator, "current_accelerator", lambda *_: found or torch.device("cuda")
        )

    return pretend


@pytest.mark.parametrize("kind", GPUS)
def test_auto_takes_what_is_offered(offers, kind):
    offers(kind)
    assert choose_device("auto") == choose_device(kind) == torch.device(kind)
    assert choose_device("cpu") == CPU


def test_without_an_accelerator_the_processor_computes(offers):
    offers(None)
    assert choose_device("auto") == choose_device("cpu") == CPU


@pytest.mark.parametrize("kind", GPUS)
def test_a_device_that_is_not_there_is_named_with_what_is(offers, kind):
    offers(None)
    with pytest.raises(ReidError, match=f"for --device {kind}; use --device auto, cpu"):
        choose_device(kind)
    other = GPUS[GPUS.index(kind) - 1]
    offers(other)
    with pytest.raises(ReidError, match=f"for --device {kind}; use --device auto, {other} or cpu"):
        choose_device(kind)


def test_of_several_processes_each_has_its_own(offers):
    offers("cuda")
    second = torch.device("cuda", 1)
    assert choose_device("auto", second) == choose_device("cuda", second) == second
    offers("mps")  # one GPU for one process: several compute on the processor
    assert choose_device("auto", CPU) == CPU
    with pytest.raises(ReidError, match="several processes compute on cpu here"):
        choose_device("mps", CPU)


def test_several_processes_compute_on_the_processor_beside_an_apple_gpu(offers, monkeypatch):
    """Nothing carries tensors of that GPU from one process to another."""
    asked = []

    class State:
        process_index, num_processes, device = 1, 2, CPU

        def __init__(self, cpu, **_):
            asked.append(cpu)

    monkeypatch.setattr("accelerate.PartialState", State)
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "10.0.0.1")):
        monkeypatch.setenv(name, value)
    for kind in ("cuda", "xpu"):
        monkeypatch.setattr(getattr(torch, kind), "is_available", lambda: False)
    offers("mps")
    assert join().device == CPU
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    join()
    assert asked == [True, False]


@pytest.mark.parametrize("kind", ["cpu", *GPUS])
def test_every_device_is_a_configuration(kind):
    assert TrainConfig(device=kind).device == kind
    with pytest.raises(ReidError, match="tpu"):
        TrainConfig(device="tpu")


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_what_is_cudas_alone_is_left_out_elsewhere(kind, monkeypatch):
    """Pinned memory, fused optimisers and TF32. `to` is caught, as there is no such device here."""
    device, moved = torch.device(kind), []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pytest.fail("CUDA's alone"))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: moved.append(a) or self)
    to_device(torch.zeros(2), device)
    assert moved == [(device,)]
    with tf32(TrainConfig(precision="tf32"), device):
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.amp.is_autocast_available(kind)
    weight = torch.nn.Parameter(torch.zeros(2, device="meta"))
    assert not make_sgd([weight], TrainConfig()).defaults["fused"]
    with autocast(TrainConfig(precision="fp32"), device):
        pass


@pytest.mark.parametrize(("kind", "workers"), [("cpu", 0), *((kind, 4) for kind in GPUS)])
def test_batches_are_prepared_beside_any_gpu(kind, workers):
    assert worker_threads(TrainConfig(), torch.device(kind)) == workers
    assert worker_threads(TrainConfig(workers=1), torch.device(kind)) == 1


def test_names_of_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert device_name(torch.device("cuda", 1)) == "GPU 1"
    assert device_name(torch.device("mps")) == "mps"
    assert device_name(CPU) == "cpu"
