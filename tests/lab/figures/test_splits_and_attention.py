"""Twins by identity and camera; maps laid over photographs."""

import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from msinet_core.errors import ReidError
from msinet_core.models import MSINet
from msinet_core.models.alignment import pairwise_map
from msinet_core.models.networks import resnet
from msinet_core.retrieval import Embedder
from msinet_core.space import PAPER_GENOTYPE
from msinet_lab.figures import attention, feature_maps, layers, roll_out, sheets, splits
from msinet_lab.figures.style import as_array
from msinet_lab.figures.tiles import Tile


def similarity(embedder, layer, query, partner, method="Grad-CAM"):
    """The map of one image against another."""
    wanted = feature_maps.see(embedder, layer, query).features.detach()
    seen = feature_maps.see(embedder, layer, partner)
    return feature_maps.similarity_cam(embedder, layer, seen, wanted, method)


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
    bar = splits.overlap_bar(train, validation)
    assert re.findall(r"flex:(\d+) ", bar) == ["3", "3", "3"]
    assert f"background:{splits.SIDE_COLOURS[0]}" in bar
    assert all(words in bar for words in ("train only: 3", "both: 3", "validation only: 3"))


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
    ):
        assert as_array(draw(train, validation)).size


def test_sheet_of_identities_has_a_row_each(tmp_path):
    train, _ = twins()
    one, two = (
        splits.identity_sheet(train, tmp_path, chosen, images=3) for chosen in ([0], [0, 1])
    )
    assert (one.count('class="list"'), two.count('class="list"')) == (1, 2)
    assert (one.count("<img"), two.count("<img")) == (3, 6)
    assert "<img" not in splits.identity_sheet(train, tmp_path, ["nobody"])
    fewer = splits.identity_sheet(train, tmp_path, [0], cameras=[1])
    assert fewer.count("<img") < 3


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


def test_maps_of_a_sheet_are_on_one_scale():
    """A map with half the values of its neighbour is darker, and one outside the sheet sets the
    scale where limits are given.
    """
    ramp = np.linspace(0, 1, 8).reshape(1, 4, 2)

    def brightest(maps, limits):
        made = sheets.channels({"maps": maps}, limits)
        data = re.findall(r"data:image/jpeg;base64,([^\"]+)", made)
        cells = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in data]
        return [int(cell.astype(int).sum(-1).max()) for cell in cells]

    bright, dark = brightest(np.concatenate([ramp, 0.5 * ramp]), (0, 1))
    assert bright > dark + 100
    assert brightest(np.concatenate([ramp, ramp]), (0, 1))[1] == bright  # the control
    assert abs(brightest(np.concatenate([ramp, ramp]), (0, 2))[0] - dark) < 9  # of a JPEG
    assert "<span>0.00</span><span>2.00</span>" in sheets.scale((0, 2))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MSINet(PAPER_GENOTYPE, 3, (16, 64, 64, 64), alignment=True).eval()


@pytest.fixture(scope="module")
def pair():
    return torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def last_map(network, images):
    return layers.output_of(network, network.trunk.cells[5], images)


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
    found = layers.layers(model, pair)
    assert list(found) == [f"stage {place}" for place in range(1, len(shapes) + 1)]
    for layer, shape in zip(found.values(), shapes, strict=True):
        assert layers.maps_at(model, pair, layer).shape == (2, *shape)
        assert layer.grid == shape[1:]
    assert not any(module._forward_hooks for module in model.modules())
    cam = similarity(Embedder(model, 64, 32), found["stage 2"], pair[:1], pair[1:])
    assert cam.shape == shapes[1][1:]


def test_no_layer_at_all(pair):
    with pytest.raises(ReidError, match="no layer"):
        layers.layers(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 32, 4)), pair)


def test_a_looker_names_its_layers(network, tmp_path):
    Image.new("RGB", (32, 64), "red").save(tmp_path / "a.png")
    table = pd.DataFrame({"path": ["a.png"]})
    looker = feature_maps.Looker(Embedder(network, 64, 32), table, tmp_path)
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


@pytest.mark.parametrize("method", feature_maps.CAMS)
def test_grad_cam_of_a_pair(network, pair, method):
    training = network.training
    layer = layers.Layer(network.trunk.cells[5], (4, 2))
    embedder = Embedder(network, 64, 32)
    cam = similarity(embedder, layer, pair[:1], pair[1:], method)
    assert cam.shape == (4, 2)
    assert cam.min() >= 0
    assert network.training == training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())


def test_grad_cam_is_the_gradient_of_the_cosine(network, pair):
    """HiResCAM: at each place the map times its gradient, by hand."""
    layer, embedder = layers.Layer(network.trunk.cells[5], (4, 2)), Embedder(network, 64, 32)
    held = []
    hook = layer.module.register_forward_hook(lambda _, given, out: held.append(out))
    wanted, found = network(pair[:1]), network(pair[1:].requires_grad_())
    hook.remove()
    cosine = torch.cosine_similarity(wanted.detach(), found).sum()
    (gradient,) = torch.autograd.grad(cosine, held[1])
    expected = (gradient * held[1]).sum(1)[0].clamp(min=0)
    cam = similarity(embedder, layer, pair[:1], pair[1:].detach(), "HiResCAM")
    np.testing.assert_allclose(cam, expected.detach(), rtol=1e-4, atol=1e-9)
    assert cam.max() > 0


def test_nothing_before_the_layer_is_kept_for_gradients(network, pair):
    """Which would take time and memory; parameters ask for theirs afterwards as before."""
    embedder = Embedder(network, 64, 32, device="cpu")
    first = next(network.parameters())
    asked = [one.requires_grad for one in network.parameters()]
    asking = []
    hook = network.trunk.register_forward_pre_hook(lambda *_: asking.append(first.requires_grad))
    layer = list(layers.layers(network, pair[:1]).values())[-1]
    asking.clear()
    try:
        feature_maps.see(embedder, layer, pair[:1])
        with pytest.raises(RuntimeError, match="stop"), layers.frozen(network):
            raise RuntimeError("stop")
    finally:
        hook.remove()
    assert asking == [False]
    assert [one.requires_grad for one in network.parameters()] == asked
    assert any(asked)


def test_an_exported_network_shows_no_layers(tmp_path):
    embedder = Embedder(SimpleNamespace(), 64, 32)
    with pytest.raises(ReidError, match="no layers"):
        feature_maps.Looker(embedder, pd.DataFrame(), tmp_path)


# -- transformers --------------------------------------------------------------------------------


class Block(nn.Module):
    """A transformer's block, by one of the ways in which attention is written."""

    def __init__(self, how, width=16, heads=2):
        super().__init__()
        self.how, self.heads = how, heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.whole = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Linear(width, width)
        self.weights = None

    def forward(self, x):
        if self.how == "module":
            found, self.weights = self.whole(x, x, x, average_attn_weights=False)
            return x + found
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        self.weights = scores.softmax(-1) if self.how == "plain" else torch.exp(scores)
        self.weights = self.weights / self.weights.sum(-1, keepdim=True)
        found = self.weights @ v
        if self.how == "fused":
            found = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(found.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class Transformer(nn.Module):
    """Patches of 8 x 8 pixels, a class token and two registers, four blocks."""

    def __init__(self, how="fused", extra=3, tokens_first=False):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.extra = nn.Parameter(torch.randn(1, extra, 16))
        self.blocks = nn.Sequential(*(Block(how) for _ in range(4)))
        self.norm = nn.LayerNorm(16)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.extra.expand(len(x), -1, -1), x), dim=1)
        x = self.norm(self.blocks(x))
        return x[:, 0] if self.extra.shape[1] else x.mean(1)


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    return Transformer().eval()


def test_tokens_become_a_map(transformer, pair):
    found = layers.layers(transformer, pair)
    assert list(found) == [f"block {place}" for place in (1, 2, 3, 4)]
    assert layers.telling_layer(found) == "block 3"
    layer = found["block 2"]
    assert (layer.grid, layer.extra) == ((8, 4), 3)
    tokens = layers.output_of(transformer, transformer.blocks[1], pair)
    maps = layers.maps_at(transformer, pair, layer)
    assert maps.shape == (2, 16, 8, 4)
    torch.testing.assert_close(maps[1, :, 5, 2], tokens[1, 3 + 5 * 4 + 2])


def test_without_a_class_token_the_last_block_tells(pair):
    found = layers.layers(Transformer(extra=0), pair)
    assert layers.telling_layer(found) == "block 4"
    assert found["block 4"].extra == 0


def test_maps_with_channels_last(pair):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.turn = nn.Conv2d(3, 5, 4, 4), nn.Identity()

        def forward(self, images):
            return self.turn(self.first(images).permute(0, 2, 3, 1)).mean((1, 2))

    model = Last()
    found = layers.layers(model, pair)["stage 1"]
    assert (found.module, found.form, found.grid) == (model.turn, "NHWC", (16, 8))
    expected = layers.output_of(model, model.first, pair)
    torch.testing.assert_close(layers.maps_at(model, pair, found), expected)


def test_the_class_token_alone_leaves_no_gradient_in_the_last_block(transformer, pair):
    embedder, found = Embedder(transformer, 64, 32), layers.layers(transformer, pair)
    last, before = (
        [
            similarity(embedder, found[name], pair[:1], pair[1:], method).any()
            for method in ("HiResCAM", "Grad-CAM", "Grad-CAM++", "LayerCAM")
        ]
        for name in ("block 4", "block 3")
    )
    assert not any(last)
    assert any(before)


@pytest.mark.parametrize("how", ["fused", "plain", "module"])
@pytest.mark.parametrize("extra", [0, 3])
def test_roll_out_is_the_product_of_the_blocks(pair, how, extra):
    torch.manual_seed(1)
    model = Transformer(how, extra).eval()
    layer = layers.layers(model, pair)["block 1"]
    with torch.no_grad():
        rolled = roll_out.roll_out(model, pair, layer)
        model(pair)
        expected = torch.eye(extra + 32)
        for block in model.blocks:
            expected = (block.weights.mean(1) + torch.eye(extra + 32)) / 2 @ expected
    row = expected[:, 0] if extra else expected.mean(1)
    torch.testing.assert_close(rolled.flatten(1), row[:, extra:], rtol=1e-4, atol=1e-6)
    assert not extra or float(rolled.std()) > 0


def test_no_roll_out_of_a_network_without_attention(network, pair):
    assert roll_out.roll_out(network, pair, layers.layers(network, pair)["stage 3"]) is None


# -- on one scale --------------------------------------------------------------------------------


def test_one_scale_for_all():
    photo, weak, strong = np.full((32, 16, 3), 128, np.uint8), np.eye(4) * 0.1, np.eye(4)
    limits = attention.limits_of([weak, strong])
    assert limits == (0, 1)
    apart = attention.overlay(photo, weak), attention.overlay(photo, strong)
    np.testing.assert_array_equal(*apart)
    together = [attention.overlay(photo, one, limits=limits) for one in (weak, strong)]
    assert together[0].max() < together[1].max()
    assert attention.limits_of([]) == attention.limits_of([np.full(3, np.nan)]) == (0, 0)


def test_a_map_belongs_to_the_photograph_not_to_its_margin():
    tile = np.full((40, 20, 3), 237, np.uint8)
    page = attention.overlay(tile, np.ones((2, 2)) * [[0, 1]], 1.0, part=(10, 0, 20, 20))
    np.testing.assert_array_equal(page[:10], tile[:10])
    np.testing.assert_array_equal(page[30:], tile[30:])
    assert (page[10:30] != 237).any(-1).all()


def test_large_cells_are_drawn_with_lines_between_them():
    photo = np.zeros((80, 40, 3), np.uint8)
    values = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.2, 0.8]])
    page = attention.overlay(photo, values, 1.0)
    assert len(np.unique(page[2:18, 2:18].reshape(-1, 3), axis=0)) == 1
    assert page[20, 5].sum() > page[19, 5].sum()
    assert page[5, 20].tolist() != page[5, 21].tolist()
    fine = attention.overlay(photo, np.random.default_rng(0).random((16, 8)), 1.0)
    assert len(np.unique(fine[2:18, 2:18].reshape(-1, 3), axis=0)) > 1


def test_the_scale_tells_both_ends():
    one, two = (sheets.scale((0, high), 80) for high in (1.0, 2.0))
    assert one.partition("bar")[0] == two.partition("bar")[0]  # the same colours
    assert one != two
    colours = re.findall(r"#[0-9a-f]{6}", one)
    assert len(set(colours)) == sheets.RAMP
    assert len(set(re.findall(r"#[0-9a-f]{6}", sheets.scale((1, 1))))) == 1
    assert [attention.number(value) for value in (0, 0.734, 123.4, 0.003123)] == [
        "0.00",
        "0.73",
        "123",
        "0.00312",
    ]


def test_a_table_of_maps_has_a_column_for_each(tmp_path):
    tile = Tile(np.zeros((32, 16, 3), np.uint8), "match", ("id 1", "cam <2>"))
    whole, part = {"strength": np.eye(4), "where the point is": np.eye(4)}, {"strength": np.eye(4)}
    rows = [attention.Looked(tile, (0, 0, 32, 16), maps) for maps in (whole, part)]
    page = sheets.map_sheet(rows, columns=("where the point is",))
    one = sheets.map_sheet([attention.Looked(tile, (0, 0, 32, 16), part)])
    assert (page.count("<img"), one.count("<img")) == (5, 2)
    assert re.findall(r'scope="col">([^<]*)<', page) == ["", "where the point is", "strength"]
    assert page.count('class="ramp"') == 2
    assert "cam &lt;2&gt;" in page
    assert "<img" not in sheets.map_sheet([])
