"""Networks of any kind as a SOURCE: modules, functions, several outputs, foreign ONNX files, and
what is said of their pictures.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from msinet_core import functions
from msinet_core.cli import main
from msinet_core.config import TrainConfig
from msinet_core.data import load_dataset
from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    Embedder,
    RetrievalResult,
    embed_dataset,
    evaluate,
    load_model,
    read_features,
)
from msinet_core.runs.folder import RunFolder
from msinet_core.training import train

IMAGES = torch.linspace(-1, 1, 2 * 3 * 16 * 8).view(2, 3, 16, 8)
HALF = (0.5, 0.5, 0.5)


class Several(nn.Module):
    """Features under a name, beside other things."""

    def __init__(self, kind=dict):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.kind = nn.Conv2d(3, 5, 3), kind

    def forward(self, images):
        maps = self.layer(images)
        given = {"maps": maps, "features": maps.mean((2, 3)), "pooled": maps.mean((2, 3), True)}
        return given if self.kind is dict else tuple(given.values())


@pytest.fixture(scope="module")
def run(tiny_settings, tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "t"
    plain = "-".join(["none"] * 12)  # which is exported sooner
    train(TrainConfig(**{**tiny_settings, "epochs": 1, "genotype": plain}), place, progress=False)
    return place


def test_outputs_by_name_and_place():
    expected = Several()(IMAGES)["features"].detach()
    for model, output in (
        (Several(), "features"),
        (Several(), "pooled"),  # B x D x 1 x 1
        (Several(tuple), "1"),
        (Several(tuple), "-1"),
        (lambda images: Several()(images), "features"),
        (lambda images: Several()(images)["features"].numpy(), None),
    ):
        found = load_model(model, output=output).embed([IMAGES])
        np.testing.assert_allclose(found, expected, atol=1e-6)
    for model, output, message in (
        (Several(), None, r"a dict of maps, features, pooled .* choose one of them with output="),
        (Several(), "feature", "no output 'feature'; it gave a dict of maps, features, pooled"),
        (Several(tuple), "3", "a tuple of 0, 1, 2"),
        (Several(), "maps", r"a tensor of \(2, 5, 14, 6\) for 2 images"),
        (lambda images: images, "x", "no output 'x'"),
    ):
        with pytest.raises(ReidError, match=message):
            load_model(model, output=output).embed([IMAGES])
    with pytest.raises(ReidError, match="gave a int"):
        load_model(3)
    with pytest.raises(ReidError, match="is a function, which alone knows"):
        load_model(lambda images: images, after_necks=True).embed([IMAGES])


def test_how_pictures_are_prepared_can_be_said(run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = load_model(Several(), mean=HALF, std=HALF, height=16, width=8, output="features")
    assert (said.mean, said.std, said.height, said.width) == (HALF, HALF, 16, 8)
    same = load_model(run, height=32)
    assert (same.height, same.width) == (32, 32)
    with pytest.warns(UserWarning, match=r"says that its mean is \(0.485"):
        assert load_model(run, mean=HALF).mean == HALF
    with pytest.warns(UserWarning, match="interpolation is bilinear; bicubic is taken"):
        assert load_model(run, interpolation="bicubic").interpolation == "bicubic"
    for wrong, message in (
        ({"mean": (123.7, 116.3, 103.5)}, "pixels from 0 to 255; here they are from 0 to 1"),
        ({"std": (0.2, 0.0, 0.2)}, "above 0"),
        ({"mean": (0.5, 0.5)}, "three numbers"),
    ):
        with pytest.raises(ReidError, match=message):
            load_model(Several(), **wrong)


def test_the_mean_matters(run, tiny_dataset):
    plain, half = load_model(run), Embedder(load_model(run).model, 32, 32, HALF, HALF)
    one, other = (evaluate(each, tiny_dataset) for each in (plain, half))
    assert np.abs(one.query_features - other.query_features).max() > 0.01
    reader = half.open(tiny_dataset.query, tiny_dataset.root)
    pixels = reader.read(range(len(reader))).float() / 255
    expected = half.embed([(pixels - 0.5) / 0.5])
    np.testing.assert_allclose(other.query_features, expected, atol=1e-4)


def test_features_of_a_function_are_never_taken_for_those_of_another(tiny_dataset, tmp_path):
    for scale in (1.0, 2.0):
        embedder = Embedder(lambda images, by=scale: by * images.mean((2, 3)) + 5, 8, 8)
        store = embed_dataset(embedder, tiny_dataset, tmp_path / "store")
        expected = embedder.embed(embedder.open(tiny_dataset.table, tiny_dataset.root))
        np.testing.assert_array_equal(store.features, expected)


SOURCE = """
from msinet_core.retrieval import load_model
from msinet_core.speed import fold_for_inference

def network():
    model = fold_for_inference(load_model({run!r}).model)
    return lambda images: {{"logits": images.mean(), "feature": model(images)}}
"""


def test_one_network_in_four_guises_gives_one_result(run, tmp_path, monkeypatch, capsys):
    """Run folder, features in a file, and a function that returns a dictionary: to the bit; ONNX:
    features within 1e-4 of the largest.
    """
    (tmp_path / "guise.py").write_text(SOURCE.format(run=str(run)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(functions, "_TRUSTED", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    config = load_model(run)
    dataset = load_dataset("manifest", RunFolder(run).config().root)
    assert main(["evaluate", "--run", str(run), "--device", "cpu", "--save", "a"]) == 0
    root, on = str(dataset.root), f"manifest={dataset.root}"
    features = config.embed(config.open(dataset.table, dataset.root))
    np.save("f.npy", features)
    table = ["--table", f"{root}/manifest.csv"]
    assert main(["evaluate", "--features", "f.npy", *table, "--save", "b"]) == 0
    size = ["--height", "32", "--width", "32", "--output", "feature"]
    words = ["evaluate", "--model", "guise:network", "--on", on, *size, "--device", "cpu"]
    assert main([*words, "--save", "c"]) == 0
    results = []
    for name in "abc":
        (saved,) = (tmp_path / name).iterdir()
        results.append(RetrievalResult.load(saved))
    first = results[0]
    for other in results[1:]:
        np.testing.assert_array_equal(other.query_features, first.query_features)
        assert other.metrics() == first.metrics()
        for query in range(len(first.query_table)):
            one, two = (each.rank_list(query, 20) for each in (first, other))
            np.testing.assert_array_equal(one.gallery_index, two.gallery_index)
            np.testing.assert_array_equal(one.distance, two.distance)
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert main(["export", "--run", str(run), "--to", "n.onnx"]) == 0
    words = ["evaluate", "--model", "n.onnx", "--on", on, "--save", "d"]
    assert main(words) == 0
    (saved,) = (tmp_path / "d").iterdir()
    found = RetrievalResult.load(saved).gallery_features
    most = np.abs(first.gallery_features).max()
    np.testing.assert_allclose(found, first.gallery_features, atol=1e-4 * most)
    assert np.abs(found - first.gallery_features).max() > 0  # not the same thing twice
    capsys.readouterr()
    assert main(["evaluate", "--model", "guise:network", "--on", on, "--device", "cpu"]) == 2
    assert "(--output)" in capsys.readouterr().err
    assert main(["evaluate", "--model", "guise:network"]) == 2
    assert "Give --on NAME=FOLDER" in capsys.readouterr().err
    assert read_features("f.npy").shape == features.shape


def test_described_and_exported_from_the_command_line(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "plain_net.py").write_text(
        "from torch import nn\n\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(functions, "_TRUSTED", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["describe", "--model", "plain_net:net", "--height", "16", "--width", "8"]) == 0
    said = capsys.readouterr().out
    assert "pictures   16 x 8, bilinear, mean 0.485 0.456 0.406" in said
    assert "112" in said.split("total")[1]  # parameters: 3 x 4 x 9 + 4
    assert main(["describe", "--model", str(run)]) == 0
    assert "pictures   32 x 32" in capsys.readouterr().out
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    words = ["export", "--model", "plain_net:net", "--to", "x.onnx", "--height", "16"]
    assert main([*words, "--width", "8", "--mean", "0.5", "0.5", "0.5"]) == 0
    found = load_model("x.onnx")
    assert (found.mean, found.height, found.width) == (HALF, 16, 8)
    assert main(["describe", "--model", "x.onnx"]) == 2
    assert "black box" in capsys.readouterr().err
    assert main(words[:1] + words[3:5]) == 2


# -- foreign ONNX --------------------------------------------------------------------------------


def write_onnx(path, batch=None, size=(16, 8), several=False, metadata=None, kind=1):
    """A network of somebody else's: means of each colour, times 1, 2, 3."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    images = make.make_tensor_value_info("pixel_values", kind, [batch or "n", 3, *size])
    outputs = [make.make_tensor_value_info("embedding", kind, None)]
    nodes = [
        make.make_node("ReduceMean", ["pixel_values"], ["means"], axes=[2, 3], keepdims=0),
        make.make_node("Mul", ["means", "weights"], ["embedding"]),
    ]
    if several:
        nodes.append(make.make_node("Identity", ["means"], ["other"]))
        outputs.append(make.make_tensor_value_info("other", kind, None))
    weights = make.make_tensor("weights", kind, [3], [1.0, 2.0, 3.0])
    graph = make.make_graph(nodes, "foreign", [images], outputs, [weights])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    onnx.helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("batch, kind", [(None, 1), (1, 1), (2, 10)])
def test_a_foreign_file_with_its_own_size_and_batch(tmp_path, batch, kind):
    path = write_onnx(tmp_path / "x.onnx", batch, kind=kind)
    found = load_model(path, mean=HALF, std=HALF)
    assert (found.height, found.width, found.mean) == (16, 8, HALF)
    images = torch.randn(5, 3, 16, 8)
    expected = images.mean((2, 3)) * torch.tensor([1.0, 2, 3])
    np.testing.assert_allclose(found.embed([images]), expected, atol=1e-5 if kind == 1 else 5e-3)


def test_a_file_that_takes_other_images_than_it_says_is_named(tmp_path):
    told = {"mean": "0.5, 0.5, 0.5", "std": "0.5, 0.5, 0.5", "height": "4", "width": "6"}
    path = write_onnx(tmp_path / "x.onnx", metadata=told)
    found = load_model(path)
    assert "foreign" in repr(found.model)
    images = torch.ones(2, 3, found.height, found.width)
    with pytest.raises(ReidError, match=r"x\.onnx.*(cannot be run with|takes) images of"):
        found.embed([images])


def test_what_a_foreign_file_does_not_say_is_asked_for(tmp_path, capsys):
    path = write_onnx(tmp_path / "x.onnx", size=("h", "w"))
    with pytest.raises(
        ReidError, match=r"does not say the mean, std, height, width .*--mean 0.485"
    ):
        load_model(path)
    with pytest.raises(ReidError, match=r"does not say the height, width of"):
        load_model(path, mean=HALF, std=HALF)
    found = load_model(path, mean=HALF, std=HALF, height=4, width=6)
    assert found.embed([torch.ones(2, 3, 4, 6)]).shape == (2, 3)
    told = {"mean": "[0.5, 0.5, 0.5]", "std": "0.5, 0.5, 0.5", "height": "4", "width": "6"}
    path = write_onnx(tmp_path / "y.onnx", size=("h", "w"), metadata=told)
    found = load_model(path)
    assert (found.mean, found.std, found.height, found.width) == (HALF, HALF, 4, 6)
    with pytest.warns(UserWarning, match=r"its mean is \(0.5, 0.5, 0.5\)"):
        load_model(path, mean=(0.4, 0.5, 0.5))
    path = write_onnx(tmp_path / "z.onnx", several=True)
    with pytest.raises(ReidError, match="a dict of embedding, other"):
        load_model(path, mean=HALF, std=HALF).embed([IMAGES])
    chosen = load_model(path, mean=HALF, std=HALF, output="other").embed([IMAGES])
    np.testing.assert_allclose(chosen, IMAGES.mean((2, 3)), atol=1e-6)
    path = write_onnx(tmp_path / "w.onnx", size=("h", "w"), metadata={"mean": "a"})
    with pytest.raises(ReidError, match="does not say rightly how its pictures are prepared"):
        load_model(path)
