"""Losses against the golden case and naive loops."""

import pytest
import torch
from torch.nn import functional

from msinet_core.training import batch_hard_triplet


def naive_triplet(features, identities, margin):
    features = functional.normalize(features, dim=1)
    total = 0.0
    for anchor in range(len(features)):
        distances = [float((features[anchor] - other).norm()) for other in features]
        positive = max(
            d for d, i in zip(distances, identities, strict=True) if i == identities[anchor]
        )
        negative = [
            d for d, i in zip(distances, identities, strict=True) if i != identities[anchor]
        ]
        total += max(0.0, positive - min(negative) + margin) if negative else 0.0
    return total / len(features)


def test_golden_case(golden_file):
    record = golden_file("losses.safetensors")
    features, identities = record["feature"], record["identity"]
    torch.testing.assert_close(
        functional.cross_entropy(record["logits"], identities, label_smoothing=0.1),
        record["cross_entropy_smooth_0.1"],
    )
    torch.testing.assert_close(
        batch_hard_triplet(features, identities),
        record["triplet_margin_0.3_normalised"],
        rtol=1e-4,
        atol=1e-6,
    )
    torch.testing.assert_close(
        batch_hard_triplet(features, identities, normalise=False),
        record["triplet_margin_0.3_raw"],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("seed", range(10))
def test_triplet_equals_loops(seed):
    torch.manual_seed(seed)
    features, identities = torch.randn(12, 6), torch.randint(4, (12,))
    expected = naive_triplet(features, identities.tolist(), 0.3)
    assert float(batch_hard_triplet(features, identities, 0.3)) == pytest.approx(expected, abs=2e-3)


def test_triplet_gradient_is_finite_with_equal_images():
    features = torch.ones(4, 3, requires_grad=True)
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(features.grad).all()


def test_one_identity_has_no_triplets():
    assert float(batch_hard_triplet(torch.randn(4, 3), torch.zeros(4, dtype=torch.long))) == 0
