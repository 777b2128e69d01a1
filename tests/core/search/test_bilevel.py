"""The bilevel step and the search around it."""

import pytest
import torch
from common import StopAfter, lines_without_clock
from safetensors.torch import load_file
from torch.optim import SGD

from msinet_core import ReidError
from msinet_core.config import SearchConfig
from msinet_core.errors import Stopped
from msinet_core.models import Supernet
from msinet_core.runs.folder import RunFolder
from msinet_core.search import ContrastiveMemory, bilevel_step, load_supernet, search

CHANNELS = (16, 64, 64, 64)


class Recorder(SGD):
    """An optimiser that notes the gradients it is given and moves nothing."""

    def step(self, closure=None):
        self.seen = [
            p.grad.clone() for g in self.param_groups for p in g["params"] if p.grad is not None
        ]


@pytest.fixture
def setting():
    torch.manual_seed(0)
    supernet = Supernet(CHANNELS).double().train()
    memories = [ContrastiveMemory(4, 64) for _ in range(2)]
    for memory in memories:
        memory.rows = memory.rows.double()
        memory.update(torch.randn(8, 64).double(), torch.arange(8) % 4)
    batches = [(torch.randn(4, 3, 32, 32).double(), torch.tensor([0, 0, 1, 2])) for _ in range(2)]
    return supernet, memories, batches


def gradients(setting, validation, **options):
    """(alpha's, the weights') gradients that the optimisers get in one step."""
    supernet, memories, (train, validation_batch) = setting
    rows = [memory.rows.clone() for memory in memories]
    weights, alpha = Recorder(supernet.weight_parameters()), Recorder([supernet.alphas])
    bilevel_step(
        supernet,
        weights,
        alpha,
        *memories,
        train,
        validation_batch if validation else None,
        **options,
    )
    for memory, row in zip(memories, rows, strict=True):
        memory.rows = row
    return getattr(alpha, "seen", None), weights.seen


def test_a_validation_batch_does_not_change_the_weights_gradient(setting):
    _, alone = gradients(setting, validation=False)
    _, with_validation = gradients(setting, validation=True)
    assert all(torch.equal(a, b) for a, b in zip(alone, with_validation, strict=True))


def test_the_leaking_step_adds_the_validation_gradient(setting):
    supernet, memories, (_, validation) = setting
    _, right = gradients(setting, validation=True)
    _, leaking = gradients(setting, validation=True, leak_validation_gradient=True)
    loss = memories[1].loss(supernet(validation[0]), validation[1])
    own = torch.autograd.grad(loss, supernet.weight_parameters())
    flat = [torch.cat([g.flatten() for g in side]) for side in (right, leaking, own)]
    torch.testing.assert_close(flat[1], flat[0] + flat[2])
    assert flat[1].norm() > 1.01 * flat[0].norm()


def test_alpha_gets_the_validation_gradient_only(setting):
    supernet, memories, (_, validation) = setting
    (seen,), _ = gradients(setting, validation=True)
    loss = memories[1].loss(supernet(validation[0]), validation[1])
    (expected,) = torch.autograd.grad(loss, [supernet.alphas])
    torch.testing.assert_close(seen, expected)
    assert gradients(setting, validation=False)[0] is None


def test_both_memories_move_after_the_step(setting):
    supernet, memories, (train, validation) = setting
    before = [memory.rows.clone() for memory in memories]
    bilevel_step(
        supernet,
        Recorder(supernet.weight_parameters()),
        Recorder([supernet.alphas]),
        *memories,
        train,
        validation,
    )
    for memory, rows in zip(memories, before, strict=True):
        moved = (memory.rows != rows).any(dim=1)
        assert moved.tolist() == [True, True, True, False]  # label 3 is in no batch


def run_search(tiny_settings, folder, stop=None, **changes):
    config = SearchConfig(**{**tiny_settings, **changes})
    return search(config, folder, progress=False, stop=stop, resume=RunFolder(folder).exists)


def test_history_and_checkpoint_hold_alpha_and_genotype(tiny_settings, tmp_path):
    run = run_search(tiny_settings, tmp_path / "run")
    epochs = run.epochs()
    assert list(epochs["epoch"]) == [1, 2]
    supernet = load_supernet(run)
    saved = load_file(run.path / "checkpoints/last/weights.safetensors")
    assert "alphas" in saved, "a checkpoint without alpha loses the architecture"
    assert torch.equal(saved["alphas"], supernet.alphas)
    assert torch.tensor(epochs.iloc[-1]["alphas"]).allclose(saved["alphas"])
    assert epochs.iloc[-1]["alphas"] != epochs.iloc[0]["alphas"]
    assert str(run.genotype()) == epochs.iloc[-1]["genotype"] == str(supernet.genotype())
    assert run.finished


@pytest.fixture(scope="module")
def whole(tiny_settings, tmp_path_factory):
    return run_search(tiny_settings, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("looks", [1, 3, 6])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    whole, tiny_settings, tmp_path, looks
):
    with pytest.raises(Stopped):
        run_search(tiny_settings, tmp_path / "parts", stop=StopAfter(looks))
    assert not RunFolder(tmp_path / "parts").finished
    parts = run_search(tiny_settings, tmp_path / "parts")
    expected, found = whole.checkpoint(), parts.checkpoint()
    assert expected.weights.keys() == found.weights.keys()
    assert all(
        torch.equal(expected.weights[name], found.weights[name]) for name in expected.weights
    )
    for place in range(2):
        assert torch.equal(
            expected.state["memories"][place]["rows"], found.state["memories"][place]["rows"]
        )
    assert lines_without_clock(whole) == lines_without_clock(parts)


def test_resuming_a_finished_run_changes_nothing(tiny_settings, tmp_path):
    run = run_search(tiny_settings, tmp_path / "run", epochs=1)
    before = (run.path / "history.jsonl").read_bytes()
    run_search(tiny_settings, tmp_path / "run", epochs=1)
    assert (run.path / "history.jsonl").read_bytes() == before


def test_changed_data_is_refused_on_resume(tiny_settings, tiny_dataset, tmp_path):
    config = SearchConfig(**tiny_settings)
    with pytest.raises(Stopped):
        search(config, tmp_path / "run", dataset=tiny_dataset, progress=False, stop=StopAfter(1))
    changed = tiny_dataset.with_table(tiny_dataset.table.drop(index=3))
    with pytest.raises(ReidError, match="data changed"):
        search(config, tmp_path / "run", dataset=changed, progress=False, resume=True)


def test_too_few_identities_are_named_before_the_search(tiny_settings, tmp_path):
    with pytest.raises(ReidError, match="16 different identities"):
        run_search(tiny_settings, tmp_path / "run", identities_per_batch=16)
