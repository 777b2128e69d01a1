"""The contrastive memory against the golden case and a naive loop."""

import pytest
import torch
from torch.nn import functional

from msinet_core.search import ContrastiveMemory


def naive_update(rows, x, y, momentum=0.2):
    """One sample after the other, as the rule is written."""
    rows = rows.clone()
    for feature, label in zip(functional.normalize(x, dim=1), y.tolist(), strict=True):
        row = momentum * rows[label] + (1 - momentum) * feature
        rows[label] = row / row.norm()
    return rows


def test_golden_case(golden_file):
    record = golden_file("memory.safetensors")
    memory = ContrastiveMemory(4, 8)
    for step in range(3):
        x, y = record[f"step{step}.input"].requires_grad_(), record[f"step{step}.identity"]
        loss = memory.loss(x, y)
        loss.backward()
        memory.update(x, y)
        torch.testing.assert_close(loss, record[f"step{step}.loss"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(x.grad, record[f"step{step}.input_grad"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(memory.rows, record[f"step{step}.memory"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_update_equals_one_after_the_other(seed):
    torch.manual_seed(seed)
    memory = ContrastiveMemory(6, 5)
    for _ in range(3):
        x, y = torch.randn(17, 5), torch.randint(6, (17,))
        expected = naive_update(memory.rows, x, y)
        memory.update(x, y)
        torch.testing.assert_close(memory.rows, expected)


def test_order_of_a_repeated_label_matters():
    x, y = torch.eye(2), torch.tensor([0, 0])
    forward, backward = ContrastiveMemory(1, 2), ContrastiveMemory(1, 2)
    forward.update(x, y)
    backward.update(x.flip(0), y)
    assert not torch.allclose(forward.rows, backward.rows)


def test_loss_leaves_the_memory_alone_and_no_gradient_reaches_it():
    memory = ContrastiveMemory(3, 4)
    memory.update(torch.randn(3, 4), torch.arange(3))
    before = memory.rows.clone()
    x = torch.randn(5, 4, requires_grad=True)
    loss = memory.loss(x, torch.tensor([0, 1, 2, 0, 1]))
    loss.backward(retain_graph=True)
    loss.backward()
    assert torch.equal(memory.rows, before)
    assert not memory.rows.requires_grad


def test_empty_batch_changes_nothing():
    memory = ContrastiveMemory(3, 4)
    memory.update(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert not memory.rows.any()
