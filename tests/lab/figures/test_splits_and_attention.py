"""Twins by identity and camera; maps laid over photographs."""

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from matplotlib.colors import to_hex
from PIL import Image
from torch import nn

from msinet_core.errors import ReidError
from msinet_core.models import MSINet
from msinet_core.models.alignment import pairwise_map
from msinet_core.models.networks import resnet
from msinet_core.space import PAPER_GENOTYPE
from msinet_lab.figures import attention, feature_maps, splits
from msinet_lab.figures.style import as_array


def twins(cameras=True):
    table = pd.DataFrame(
        {
            "identity": np.repeat(np.arange(9), 4),
            "camera": np.tile([1, 2, 3, 4], 9),
            "path": "x.jpg",
        }
    )
    if not cameras:
        table["camera"] = pd.NA
    return table[table["identity"] < 6], table[table["identity"] > 2]


def test_counts_and_bar():
    train, validation = twins()
    counts = splits.identity_counts(train, validation)
    assert counts["search train"].tolist() == [4] * 6 + [0] * 3
    assert counts["search validation"].tolist() == [0] * 3 + [4] * 6
    bars = splits.overlap_diagram(train, validation).axes[0].patches
    assert [bar.get_width() for bar in bars] == [3, 3, 3]
    assert to_hex(bars[0].get_facecolor()).upper() == splits.SIDE_COLOURS[0]


@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("empty", [True, False])
def test_every_picture_of_a_split(cameras, empty):
    train, validation = twins(cameras)
    if empty:
        train, validation = train[:0], validation[:0]
    for draw in (
        splits.twin_matrix,
        splits.camera_distribution,
        splits.images_per_identity,
        splits.overlap_diagram,
    ):
        assert as_array(draw(train, validation)).size


def test_sheet_of_identities_has_a_row_each(tmp_path):
    train, _ = twins()
    one, two = (
        splits.identity_sheet(train, tmp_path, chosen, images=3) for chosen in ([0], [0, 1])
    )
    assert two.shape[0] > 1.9 * one.shape[0]
    assert splits.identity_sheet(train, tmp_path, ["nobody"]).size
    assert splits.identity_sheet(train, tmp_path, [0], cameras=[1]).shape[1] < one.shape[1]


def test_overlay_is_bright_where_the_map_is():
    photo = np.full((32, 16, 3), 128, np.uint8)
    page = attention.overlay(photo, np.array([[0.0, 0], [0, 1]]), opacity=0.8)
    assert page.shape == photo.shape
    assert page[-1, -1].sum() > page[0, 0].sum() + 200
    np.testing.assert_array_equal(attention.overlay(photo, np.ones((2, 2)), opacity=0), photo)


@pytest.mark.parametrize(
    "photo",
    [np.zeros((8, 8), np.uint8), np.zeros((3, 8, 8)), torch.zeros(1, 8, 8)],
    ids=["grey", "chw", "tensor"],
)
@pytest.mark.parametrize(
    "values",
    [np.zeros((1, 1)), np.full((2, 3), np.nan), np.array([[-1e9, 1e9]])],
    ids=["flat", "nan", "wide"],
)
def test_overlay_takes_everything(photo, values):
    assert attention.overlay(photo, values).shape == (8, 8, 3)


def test_maps_and_places():
    assert attention.cell_of(0, 0, 4, 2) == 0
    assert attention.cell_of(0.99, 0.6, 4, 2) == 7
    assert attention.cell_of(1.0, 1.0, 4, 2) == 7
    marked = attention.with_point(np.zeros((40, 40, 3), np.uint8), 0.5, 0.25)
    ys, xs = np.nonzero(marked.sum(-1))
    assert abs(ys.mean() - 20) < 1
    assert abs(xs.mean() - 10) < 1


def test_alignment_figure_and_feature_sheet():
    photo = np.zeros((32, 16, 3), np.uint8)
    grid = np.random.default_rng(0).random((4, 2))
    figure = attention.alignment_figure(photo, photo, (0.5, 0.5), {"one": grid, "two": grid})
    assert [axes.get_title() for axes in figure.axes][1:] == ["partner", "one", "two"]
    assert as_array(attention.map_row({})).std() > 0
    assert attention.feature_sheet(np.zeros((5, 4, 2)), 3).dtype == np.uint8
    assert attention.feature_sheet(np.zeros((0, 4, 2))).size


def test_maps_of_a_sheet_are_on_one_scale():
    """A map with half the values of its neighbour is darker, and one outside the sheet sets the
    scale where limits are given.
    """
    ramp = np.linspace(0, 1, 8).reshape(1, 4, 2)

    def brightest(maps, **more):
        page = attention.feature_sheet(maps, 2, **more)
        half = page.shape[1] // 2
        inside = [part[8:-8, 8:-8].astype(int) for part in (page[:, :half], page[:, half:])]
        return [int(part[(part < 250).any(-1)].sum(-1).max()) for part in inside]

    bright, dark = brightest(np.concatenate([ramp, 0.5 * ramp]))
    assert bright > dark + 100
    assert brightest(np.concatenate([ramp, ramp]))[1] == bright  # the control
    assert brightest(np.concatenate([ramp, ramp]), limits=(0, 2))[0] == dark
    bar = attention.colour_bar((0, 2), 400)
    assert bar.shape == (15, 400, 3)
    assert (bar != attention.colour_bar((0, 3), 400)).any()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MSINet(PAPER_GENOTYPE, 3, (16, 64, 64, 64), alignment=True).eval()


@pytest.fixture(scope="module")
def pair():
    return torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def last_map(network, images):
    return feature_maps.output_of(network, network.trunk.cells[5], images)


def test_maps_between_two_images(network, pair):
    query, partner = (last_map(network, image[None])[0] for image in pair)
    assert query.shape == (64, 4, 2)
    raw = feature_maps.point_map(query, partner, 5, cosine=False)
    for row in range(4):
        for column in range(2):
            expected = sum(query[c, 2, 1] * partner[c, row, column] for c in range(64))
            assert raw[row, column] == pytest.approx(float(expected), rel=1e-4)
    assert abs(feature_maps.point_map(query, partner, 0)).max() <= 1 + 1e-5
    whole = feature_maps.whole_map(query, partner)
    np.testing.assert_allclose(
        whole.ravel(), pairwise_map(torch.stack([query, partner]))[0, 1], rtol=1e-5
    )
    every = np.stack([feature_maps.point_map(query, partner, n, cosine=False) for n in range(8)])
    np.testing.assert_allclose(whole, every.max(0), rtol=1e-4)
    np.testing.assert_allclose(
        feature_maps.strength_map(query)[1, 1], float(query[:, 1, 1].norm()), rtol=1e-5
    )


@pytest.mark.parametrize(
    "make, shapes",
    [
        (
            lambda: MSINet(PAPER_GENOTYPE, 3, (16, 64, 64, 64)),
            [(64, 16, 8), (64, 8, 4), (64, 4, 2)],
        ),
        (
            lambda: resnet("resnet18", 3),
            [(64, 16, 8), (128, 8, 4), (256, 4, 2), (512, 2, 1)],
        ),
        (
            lambda: torchvision.models.resnet18(),
            [(64, 16, 8), (128, 8, 4), (256, 4, 2), (512, 2, 1)],
        ),
        (
            lambda: nn.Sequential(torchvision.models.mobilenet_v3_small().features, nn.Flatten()),
            [(16, 16, 8), (24, 8, 4), (48, 4, 2), (576, 2, 1)],
        ),
    ],
    ids=["MSINet", "ResNet-18", "torchvision", "wrapped"],
)
def test_layers_come_from_the_network(make, shapes, pair):
    model = make()
    found = feature_maps.layers(model, pair)
    assert list(found) == [f"stage {place}" for place in range(1, len(shapes) + 1)]
    for module, shape in zip(found.values(), shapes, strict=True):
        assert feature_maps.output_of(model, module, pair).shape == (2, *shape)
    assert not any(module._forward_hooks for module in model.modules())
    cam = feature_maps.similarity_cam(model, found["stage 2"], pair[:1], pair[1:])
    assert cam.shape == (64, 32)


def test_no_layer_at_all(pair):
    with pytest.raises(ReidError, match="no layer"):
        feature_maps.layers(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 32, 4)), pair)


def test_a_looker_names_its_layers(network, tmp_path):
    Image.new("RGB", (32, 64), "red").save(tmp_path / "a.png")
    looker = feature_maps.Looker(network, pd.DataFrame({"path": ["a.png"]}), tmp_path, 64, 32)
    assert looker.features(0).shape == looker.features(0, "stage 3").shape == (64, 4, 2)
    with pytest.raises(ReidError, match="stage 1, stage 2, stage 3"):
        looker.features(0, "stage 9")


def test_slots(network, pair):
    seen = {}
    handle = (
        network.trunk.cells[2]
        .slots[1]
        .register_forward_pre_hook(lambda _, given: seen.update(given=given))
    )
    with torch.inference_mode():
        network(pair)
    handle.remove()
    for mine, theirs in zip(feature_maps.slot_inputs(network, pair, 5), seen["given"], strict=True):
        torch.testing.assert_close(mine, theirs)
    assert not any(module._forward_hooks for module in network.modules())


def test_learned_map_is_the_networks_own(network, pair):
    np.testing.assert_allclose(
        feature_maps.learned_map(network, pair[:1]).ravel(),
        network.learned_map(last_map(network, pair[:1]))[0].detach().numpy(),
        rtol=1e-5,
    )
    without = MSINet(PAPER_GENOTYPE, 3, (16, 64, 64, 64))
    assert feature_maps.learned_map(without, pair[:1]) is None
    other = resnet("resnet18", 3, alignment=True)
    assert feature_maps.learned_map(other, pair[:1]).shape == (2, 1)


def test_grad_cam_of_a_pair(network, pair):
    training = network.training
    cam = feature_maps.similarity_cam(network, network.trunk.cells[5], pair[:1], pair[1:])
    assert cam.shape == (64, 32)
    assert 0 <= cam.min() <= cam.max() <= 1 + 1e-6
    assert network.training == training
    assert not any(module._forward_hooks for module in network.modules())
