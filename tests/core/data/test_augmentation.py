"""Batched augmentation: each step equals torchvision's on the same draws, and the draws have the
distributions of its per-image transforms.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from msinet_core.data.augmentation import (
    GREY,
    IMAGENET_MEAN,
    IMAGENET_STD,
    SATURATION,
    Augmentation,
    _at_once,
    _one_by_one,
    apply,
    augment,
    draw,
    normalise,
    step_generator,
)
from msinet_core.errors import ReidError

N, H, W = 4000, 64, 32
WITHIN, ACROSS = Augmentation.within_domain(), Augmentation.across_domains()
TINTED = replace(WITHIN, cast=0.5, grey=0.3)


@pytest.fixture(scope="module")
def many():
    return draw(N, H, W, WITHIN, step_generator(0))


@pytest.fixture(scope="module")
def many_across():
    return draw(N, H, W, ACROSS, step_generator(1))


def pictures(n=24, height=H, width=W):
    return torch.randint(
        0, 256, (n, 3, height, width), dtype=torch.uint8, generator=step_generator(5)
    )


def naive(images, settings, draws):
    """One image after the other, with torchvision's functions."""
    out = []
    for n, image in enumerate(images):
        if draws.flip[n]:
            image = F.horizontal_flip(image)
        image = F.pad(image, [settings.pad] * 4, fill=0)
        image = F.crop(image, int(draws.top[n]), int(draws.left[n]), *images.shape[2:])
        x = F.to_dtype(image, torch.float32, scale=True)
        x = (x * draws.cast[n].view(3, 1, 1)).clamp(0, 1)
        for kind in draws.order[n].tolist():
            change = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[kind]
            x = change(x, float(draws.jitter[n, kind]))
        x = F.normalize(x, list(IMAGENET_MEAN), list(IMAGENET_STD))
        top, left, height, width = draws.erase[n].tolist()
        out.append(
            F.erase(x, top, left, height, width, torch.tensor(settings.erase_fill).view(3, 1, 1))
        )
    return torch.stack(out)


@pytest.mark.parametrize(
    "settings",
    [
        *(WITHIN, ACROSS, TINTED),
        *(replace(ACROSS, erase=1.0, pad=3, flip=1.0), replace(WITHIN, pad=40)),
    ],
)
def test_equals_torchvision_on_the_same_draws(settings):
    images = pictures()
    draws = draw(len(images), H, W, settings, step_generator(2))
    # torchvision's weights of grey have four digits for float images, three in PIL: 2e-4 apart
    torch.testing.assert_close(
        apply(images, settings, draws), naive(images, settings, draws), rtol=0, atol=3e-3
    )


@pytest.mark.parametrize(
    "settings", [WITHIN, ACROSS, TINTED, replace(ACROSS, erase=1.0), replace(WITHIN, pad=40)]
)
def test_one_by_one_and_at_once_are_the_same(settings):
    """The way of a processor and the way of a GPU."""
    images = pictures()
    draws = draw(len(images), H, W, settings, step_generator(6))
    a, b = _one_by_one(images, settings, draws), _at_once(images, settings, draws)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5 if settings.jitters else 0)


def test_grey_weights_are_pils():
    assert sum(GREY) == pytest.approx(1)
    image = F.to_pil_image(pictures(1)[0])
    grey = (pictures(1)[0].float() * torch.tensor(GREY).view(3, 1, 1)).sum(0)
    assert np.abs(np.asarray(image.convert("L")) - grey.numpy()).max() < 1.01


def test_normalise():
    images = pictures(3)
    expected = (images.double() / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(
        IMAGENET_STD
    ).view(3, 1, 1)
    torch.testing.assert_close(normalise(images), expected.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        augment(images, Augmentation.none(), step_generator(0)), normalise(images), rtol=0, atol=0
    )


def test_flip_share(many):
    assert abs(many.flip.float().mean() - 0.5) < 0.03  # 4 standard deviations
    assert not draw(N, H, W, replace(WITHIN, flip=0.0), step_generator(0)).flip.any()
    assert draw(N, H, W, replace(WITHIN, flip=1.0), step_generator(0)).flip.all()


@pytest.mark.parametrize("which", ["top", "left"])
def test_crop_offsets_are_uniform(many, which):
    offsets = getattr(many, which)
    assert (offsets.min(), offsets.max()) == (0, 20)
    counts = np.bincount(offsets, minlength=21)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_crop_offsets_and_flips_are_independent(many):
    for a, b in ((many.top, many.left), (many.top, many.flip), (many.left, many.erase[:, 0])):
        assert abs(np.corrcoef(a.double(), b.double())[0, 1]) < 0.07


def torchvision_rectangles(n):
    """Height, width and place of the rectangles that torchvision's RandomErasing draws."""
    torch.manual_seed(0)
    transform = v2.RandomErasing(p=1.0, scale=WITHIN.erase_area, ratio=WITHIN.erase_aspect)
    image = torch.zeros(1, H, W)
    found = [transform.make_params([image]) for _ in range(n)]
    return np.array([[p["i"], p["j"], p["h"], p["w"]] for p in found if p["v"] is not None])


@pytest.fixture(scope="module")
def rectangles():
    drawn = draw(N, H, W, replace(WITHIN, erase=1.0), step_generator(3)).erase.numpy()
    return drawn[drawn[:, 2] > 0], torchvision_rectangles(N)


def test_erased_share(many, rectangles):
    assert abs((many.erase[:, 2] > 0).float().mean() - 0.5) < 0.03
    assert len(rectangles[0]) > 0.999 * N
    assert not draw(N, H, W, ACROSS, step_generator(0)).erase[:, 2:].any()


def test_erased_area_and_aspect_as_torchvision_draws_them(rectangles):
    ours, theirs = ((r[:, 2] * r[:, 3] / (H * W), np.log(r[:, 2] / r[:, 3])) for r in rectangles)
    for a, b in zip(ours, theirs, strict=True):
        assert stats.ks_2samp(a, b).statistic < 0.045  # 1e-3 critical value at 4,000 and 4,000
    area, aspect = ours
    assert 0.015 < area.min() < 0.03
    assert 0.37 < area.max() < 0.42  # sides are whole pixels
    assert abs(aspect.min() - math.log(0.3)) < 0.12
    assert abs(aspect.max() - math.log(1 / 0.3)) < 0.12


def test_rectangles_lie_inside_anywhere(rectangles):
    for top, left, height, width in (r.T for r in rectangles):
        assert (top >= 0).all()
        assert (left >= 0).all()
        assert (top + height <= H).all()
        assert (left + width <= W).all()
    ours, theirs = rectangles
    for side, length in ((0, H), (1, W)):
        a, b = (r[:, side] / (length - r[:, side + 2]) for r in (ours, theirs))
        assert stats.ks_2samp(a, b).statistic < 0.045
        assert a.max() == 1  # the last place is reached too


def test_impossible_rectangles_erase_nothing():
    wide = replace(WITHIN, erase=1.0, erase_area=(0.9, 1.0), erase_aspect=(0.01, 0.02))
    assert not draw(50, H, W, wide, step_generator(0)).erase[:, 2:].any()


def test_only_the_rectangle_is_filled():
    images = pictures(8)
    settings = replace(WITHIN, erase=1.0, flip=0.0, pad=0)
    draws = draw(8, H, W, settings, step_generator(0))
    out, plain = apply(images, settings, draws), normalise(images)
    for n, (top, left, height, width) in enumerate(draws.erase.tolist()):
        inside = torch.zeros(H, W, dtype=bool)
        inside[top : top + height, left : left + width] = True
        assert (out[n][:, inside] == torch.tensor([0.4914, 0.4822, 0.4465])[:, None]).all()
        assert (out[n][:, ~inside] == plain[n][:, ~inside]).all()


@pytest.mark.parametrize(("kind", "extent"), [(0, 0.4), (1, 0.4), (2, 0.3)])
def test_jitter_factors_are_uniform(many_across, kind, extent):
    factors = many_across.jitter[:, kind].numpy()
    assert stats.kstest(factors, "uniform", (1 - extent, 2 * extent)).statistic < 0.031
    assert factors.min() >= 1 - extent
    assert factors.max() <= 1 + extent


def test_jitter_order_is_any(many_across):
    orders, counts = np.unique(many_across.order.numpy(), axis=0, return_counts=True)
    assert len(orders) == 6
    assert stats.chisquare(counts).pvalue > 1e-4


def test_jittered_means_as_torchvisions(many_across):
    """The whole jitter, against ColorJitter on the same picture, in the spread of the results."""
    image = (torch.linspace(0.2, 0.8, 3 * 8 * 8).view(3, 8, 8) * 255).to(torch.uint8)
    draws = draw(1500, 8, 8, replace(ACROSS, flip=0.0, pad=0), step_generator(4))
    out = apply(image.expand(1500, -1, -1, -1), replace(ACROSS, flip=0.0, pad=0), draws)
    ours = (out * torch.tensor(IMAGENET_STD).view(3, 1, 1)).std((1, 2, 3))
    torch.manual_seed(0)
    jitter = v2.ColorJitter(0.4, 0.4, 0.3)
    theirs = torch.stack(
        [
            jitter(image.float() / 255).sub(torch.tensor(IMAGENET_MEAN).view(3, 1, 1)).std()
            for _ in range(1500)
        ]
    )
    assert stats.ks_2samp(ours.numpy(), theirs.numpy()).statistic < 0.072


def test_turning_one_off_leaves_the_others():
    full = draw(64, H, W, WITHIN, step_generator(0))
    for change in ({"erase": 0.0}, {"flip": 0.0}, {"pad": 0}, {"brightness": 0.4}):
        part = draw(64, H, W, replace(WITHIN, **change), step_generator(0))
        same = {
            "flip": "flip" in change,
            "top": "pad" in change,
            "left": "pad" in change,
            "erase": "erase" in change,
        }
        for name, changed in same.items():
            assert changed or torch.equal(getattr(part, name), getattr(full, name)), (change, name)


def test_samples_are_drawn_one_by_one():
    image = pictures(1).expand(32, -1, -1, -1)
    out = augment(image, WITHIN, step_generator(0))
    assert len(torch.unique(out.flatten(1), dim=0)) == 32


def test_same_generator_same_batch():
    images = pictures()
    a, b = (augment(images, ACROSS, step_generator(1, 2, 3)) for _ in range(2))
    assert torch.equal(a, b)
    for key in ((1, 2, 4), (1, 3, 3), (2, 2, 3)):
        assert not torch.equal(a, augment(images, ACROSS, step_generator(*key)))


def test_input_is_left_alone():
    images = pictures()
    before = images.clone()
    augment(images, replace(ACROSS, erase=1.0), step_generator(0))
    normalise(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": 1.5}, "flip is 1.5; it lies in 0 to 1"),
        ({"saturation": -0.1}, "saturation is -0.1"),
        ({"pad": -1}, "pad is -1"),
        ({"erase_attempts": 0}, "erase_attempts 0"),
        ({"erase_area": (0.5, 0.2)}, r"erase_area is \(0.5, 0.2\)"),
        ({"erase_area": (0.5, 1.2)}, "erase_area"),
        ({"erase_aspect": (0.0, 1.0)}, "erase_aspect"),
    ],
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ReidError, match=message):
        replace(WITHIN, **change)


def test_presets():
    assert (WITHIN.flip, WITHIN.pad, WITHIN.erase, WITHIN.erase_area) == (0.5, 10, 0.5, (0.02, 0.4))
    assert (ACROSS.erase, ACROSS.brightness, ACROSS.contrast, ACROSS.saturation) == (
        0.0,
        0.4,
        0.4,
        0.3,
    )
    assert not WITHIN.jitters


@pytest.mark.parametrize("settings", [WITHIN, ACROSS])
def test_nothing_on_a_gpu_is_mixed_with_the_cpu(settings):
    """Run on tensors that only pretend to be on a GPU, which refuse to be mixed as real ones do."""
    draws = draw(4, H, W, settings, step_generator(0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.empty((4, 3, H, W), dtype=torch.uint8, device="cuda")
        out = apply(images, settings, draws)
        assert out.device.type == normalise(images).device.type == "cuda"
        assert (out.shape, out.dtype) == (images.shape, torch.float32)
        with pytest.raises(RuntimeError, match="device"):
            images + torch.ones(4, 3, H, W)


def test_colour_casts_and_grey_versions():
    tinted = draw(N, H, W, TINTED, step_generator(0))
    assert 0.5 <= tinted.cast.min() < 0.51
    assert 1.49 < tinted.cast.max() <= 1.5
    assert stats.kstest(tinted.cast.flatten(), "uniform", (0.5, 1)).pvalue > 1e-4
    assert np.abs(np.corrcoef(tinted.cast.T) - np.eye(3)).max() < 0.07
    assert abs((tinted.jitter[:, SATURATION] == 0).float().mean() - 0.3) < 0.03
    shown = apply(pictures(), replace(Augmentation.none(), grey=1.0), draw_all_grey())
    plain = shown * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    plain += torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    torch.testing.assert_close(plain[:, 0], plain[:, 1], rtol=0, atol=1e-6)


def draw_all_grey():
    settings = replace(Augmentation.none(), grey=1.0)
    return draw(len(pictures()), H, W, settings, step_generator(4))


def test_further_colours_leave_the_other_draws_as_they_were(many):
    tinted = draw(N, H, W, replace(WITHIN, cast=0.5), step_generator(0))
    for name in ("flip", "top", "left", "erase", "jitter", "order"):
        assert torch.equal(getattr(many, name), getattr(tinted, name)), name
