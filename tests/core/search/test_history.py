"""`SearchHistory`: alpha as the optimiser has it, weights as the slots are mixed."""

import json

import numpy as np
import pytest
import torch

from msinet_core.search.history import SearchHistory
from msinet_core.space import OPERATIONS, Genotype


def line(epoch, alphas, **values):
    best = tuple(OPERATIONS[column] for column in np.argmax(alphas, axis=1))
    return {
        "kind": "epoch",
        "epoch": epoch,
        "alphas": alphas.tolist(),
        "genotype": str(Genotype(best)),
        "train_loss": 0.5 * epoch,
        **values,
    }


@pytest.fixture
def alphas():
    return np.random.default_rng(0).normal(size=(3, 12, 4))


def test_weights_are_the_softmax_of_alpha_over_its_temperature(alphas, tmp_path):
    temperatures = [2.0, 1.0, 0.25]
    lines = [{"kind": "step", "epoch": 1, "train_loss": 1.0}]
    lines += [line(e + 1, alphas[e], temperature=t) for e, t in enumerate(temperatures)]
    (tmp_path / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in lines))
    history = SearchHistory.read(tmp_path)

    assert history.epochs.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(history.alphas, alphas)
    assert history.temperatures.tolist() == temperatures
    assert history.table["train_loss"].tolist() == [0.5, 1.0, 1.5]
    for epoch, temperature in enumerate(temperatures):
        expected = torch.softmax(torch.tensor(alphas[epoch]) / temperature, dim=1)
        np.testing.assert_allclose(history.weights[epoch], expected.numpy())
        chosen = [OPERATIONS.index(name) for name in history.genotypes[epoch].slots]
        assert chosen == alphas[epoch].argmax(axis=1).tolist()
    np.testing.assert_allclose(
        history.entropy, -(history.weights * np.log(history.weights)).sum(axis=2)
    )


def test_lines_without_a_temperature_hold_alpha_already_divided(alphas):
    history = SearchHistory.from_lines([line(1, alphas[0] / 5)])
    assert history.temperatures.tolist() == [1.0]
    expected = torch.softmax(torch.tensor(alphas[0]) / 5, dim=1)
    np.testing.assert_allclose(history.weights[0], expected.numpy())


def test_an_even_slot_has_the_largest_entropy_and_a_dropped_operation_no_weight():
    alphas = np.zeros((12, 4))
    alphas[1, 0] = -1e4
    history = SearchHistory.from_lines([line(1, alphas)])
    assert history.entropy[0, 0] == pytest.approx(np.log(4))
    assert history.entropy[0, 1] == pytest.approx(np.log(3))
    assert history.weights[0, 1, 0] == 0


def test_a_run_before_its_first_epoch_is_empty(tmp_path):
    history = SearchHistory.read(tmp_path)
    assert len(history) == 0
    assert history.weights.shape == (0, 12, 4)
    assert history.entropy.shape == (0, 12)
    assert history.table.empty
    assert history.genotypes == []
