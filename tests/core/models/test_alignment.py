"""The spatial alignment module against its definition, its gradient and its memory."""

import pytest
import torch
from torch.nn import functional

from msinet_core.models.alignment import LearnedMap, alignment_loss, pairwise_map


def dense_map(feature_map):
    """The definition, through the N x N x M x M tensor."""
    flat = feature_map.flatten(2)
    return torch.einsum("gcn,pcm->gpnm", flat, flat).amax(dim=2)


def naive_loss(feature_map, learned, identities, mode):
    maps, count = dense_map(feature_map), len(identities)
    total = 0.0
    for i in range(count):
        same = [p for p in range(count) if identities[p] == identities[i]]
        other = [p for p in range(count) if identities[p] != identities[i]]
        if "pos" in mode:
            cosines = [functional.cosine_similarity(learned[i], maps[i, p], dim=0) for p in same]
            total = total + (1 - sum(cosines) / len(cosines)) / count
        if "neg" in mode and other:
            cosines = [
                functional.cosine_similarity(maps[i, p], maps[i, q], dim=0)
                for p in other
                for q in other
            ]
            total = total + (1 - sum(cosines) / len(cosines)) / count
    return total


@pytest.mark.parametrize("shape", [(4, 6, 3, 2), (3, 5, 1, 7), (1, 4, 2, 2)])
def test_pairwise_map_and_its_gradient(shape):
    torch.manual_seed(0)
    features = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(pairwise_map(features), dense_map(features))
    weights = torch.randn(shape[0], shape[0], shape[2] * shape[3], dtype=torch.float64)
    ours = torch.autograd.grad((pairwise_map(features) * weights).sum(), features)[0]
    theirs = torch.autograd.grad((dense_map(features) * weights).sum(), features)[0]
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("mode", ["none", "pos", "neg", "pos_neg"])
@pytest.mark.parametrize("identities", [[0, 0, 1, 1], [5, 2, 2, 2, 7], [1, 1, 1]])
def test_loss_equals_loops_for_any_counts(mode, identities):
    torch.manual_seed(1)
    features = torch.randn(len(identities), 8, 3, 2, dtype=torch.float64)
    learned = torch.randn(len(identities), 6, dtype=torch.float64)
    found = alignment_loss(features, learned, torch.tensor(identities), mode)
    assert float(found) == pytest.approx(float(naive_loss(features, learned, identities, mode)))


def test_learned_map_takes_the_maximum_over_keys():
    torch.manual_seed(2)
    module = LearnedMap(16)
    features = torch.randn(2, 16, 3, 2)
    query, key = module.query(features).flatten(2), module.key(features).flatten(2)
    for image in range(2):
        for m in range(6):
            best = max(float(query[image, :, m] @ key[image, :, n]) for n in range(6))
            assert float(module(features)[image, m].detach()) == pytest.approx(best, abs=1e-5)


def test_unknown_mode():
    with pytest.raises(ValueError, match="pos_neg"):
        alignment_loss(torch.zeros(2, 4, 2, 2), torch.zeros(2, 4), torch.zeros(2), "both")
