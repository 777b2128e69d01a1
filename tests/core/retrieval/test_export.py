"""ONNX: one file, any batch size, and a process without torch that runs it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from msinet_core import PAPER_GENOTYPE
from msinet_core.data import open_images
from msinet_core.errors import ReidError
from msinet_core.models import MSINet
from msinet_core.retrieval import (
    Embedder,
    OnnxModel,
    embed_dataset,
    export,
    export_onnx,
    load_model,
    onnx_model,
)

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def make_network():
    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, 5, (16, 64, 64, 64)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.normal_(parameter)
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = make_network().train()
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    export_onnx(Embedder(model, 64, 32), path)
    assert model.training  # as it was
    assert [file.name for file in path.parent.iterdir()] == ["network.onnx"]
    return model.eval(), path


def test_features_agree_at_any_batch_size(exported):
    model, path = exported
    found = OnnxModel(path)
    for count in (1, 7, 64):
        images = torch.randn(count, 3, 64, 32)
        expected = Embedder(model, fold=False).embed([images])
        assert np.abs(found.run(images) - expected).max() <= 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(Embedder(found).embed([images]), expected, atol=1e-4)


def test_the_file_says_how_to_prepare_pictures(exported):
    model, path = exported
    about = OnnxModel(path).about
    assert (about["height"], about["width"], about["after_necks"]) == (64, 32, False)
    assert about["genotype"] == str(PAPER_GENOTYPE)
    assert about["mean"] == [0.485, 0.456, 0.406]
    assert about["std"] == [0.229, 0.224, 0.225]
    assert about["feature_length"] == model.feature_length


SCRIPT = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "msinet_core", "pandas"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, NoTorch())
file, result, *paths = sys.argv[1:]
SNIPPET
numpy.save(result, features)
assert "torch" not in sys.modules
"""


def test_a_process_without_torch_runs_the_snippet_of_the_documentation(exported, tmp_path):
    model, path = exported
    rng = np.random.default_rng(0)
    paths = []
    for n in range(3):
        paths.append(str(tmp_path / f"{n}.png"))
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(paths[-1])
    lines = [line[4:] for line in onnx_model.__doc__.splitlines() if line.startswith("    ")]
    script = SCRIPT.replace("SNIPPET", "\n".join(lines).replace('"network.onnx"', "file"))
    (tmp_path / "script.py").write_text(script)
    subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(path), str(tmp_path / "f.npy"), *paths],
        check=True,
        timeout=120,
    )
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths]).transpose(0, 3, 1, 2)
    found = np.load(tmp_path / "f.npy")
    np.testing.assert_allclose(found, OnnxModel(path).embed(pixels), atol=1e-5)
    normalised = (
        torch.from_numpy(pixels).float() / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    ) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    np.testing.assert_allclose(found, Embedder(model).embed([normalised]), atol=1e-4)


def test_it_embeds_data_sets_like_the_network(exported, tiny_dataset, tmp_path):
    model, path = exported
    found = OnnxModel(path)
    store = embed_dataset(load_model(path, flip=True), tiny_dataset, tmp_path / "store")
    reader = open_images(tiny_dataset.table, tiny_dataset.root, 64, 32)
    np.testing.assert_allclose(store.features, Embedder(model, flip=True).embed(reader), atol=1e-4)
    assert store.made_from["weights"] == found.content_hash


def test_misuse_is_named(exported, tmp_path):
    _, path = exported
    found = OnnxModel(path)
    (tmp_path / "text.onnx").write_text("no")
    for call, message in [
        (lambda: OnnxModel(tmp_path / "absent.onnx"), "no file"),
        (lambda: OnnxModel(tmp_path / "text.onnx"), "not an ONNX file"),
        (lambda: found.run(np.zeros((1, 3, 32, 32))), "takes images of B x 3 x 64 x 32"),
        (
            lambda: Embedder(found, after_necks=True).embed([torch.zeros(1, 3, 64, 32)]),
            "exported without its necks",
        ),
        (
            lambda: Embedder(found, precision="bfloat16").embed([torch.zeros(1, 3, 64, 32)]),
            "runs in float32",
        ),
        (
            lambda: Embedder(found, device="cuda").embed([torch.zeros(1, 3, 64, 32)]),
            "runs on the CPU",
        ),
        (
            lambda: export_onnx(Embedder(found, 64, 32), tmp_path / "x.onnx"),
            "an exported file already",
        ),
        (
            lambda: export_onnx(Embedder(lambda images: images, 64, 32), tmp_path / "x.onnx"),
            "only a module can be exported",
        ),
    ]:
        with pytest.raises(ReidError, match=message):
            call()


@pytest.mark.parametrize("absent", ["onnx", "onnxscript"])
def test_without_the_extra_it_is_named(absent, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ReidError, match=r"msinet-core\[export\]"):
        export_onnx(Embedder(make_network(), 32, 32), tmp_path / "x.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ReidError, match=r"msinet-core\[export\]"):
        OnnxModel(tmp_path / "x.onnx")


def test_a_file_whose_features_differ_is_not_kept(exported, monkeypatch, tmp_path):
    import onnx

    _, path = exported
    monkeypatch.setattr(
        export, "_export", lambda network, example: onnx.load(path)
    )  # of other weights
    (tmp_path / "x.onnx").write_text("an older file")
    torch.manual_seed(1)
    other = MSINet(PAPER_GENOTYPE, 5, (16, 64, 64, 64))
    with pytest.raises(ReidError, match="differ from the network's"):
        export_onnx(Embedder(other, 64, 32), tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_text() == "an older file"
    assert [file.name for file in tmp_path.iterdir()] == ["x.onnx"]


def test_the_file_names_no_source_file(exported):
    import onnx

    content = exported[1].read_bytes()
    for text in (b"/msinet_core", b".py", b"torch/nn", b"stack_trace"):
        assert text not in content
    onnx.checker.check_model(onnx.load(exported[1]))


def test_its_own_mean_and_std_are_used(tmp_path, tiny_dataset):
    model = make_network()
    given = Embedder(model, 64, 32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    export_onnx(given, tmp_path / "own.onnx")
    found = load_model(tmp_path / "own.onnx")
    assert (found.mean, found.std) == (given.mean, given.std)
    assert (found.height, found.width) == (64, 32)
    table = tiny_dataset.table[:5]
    features = [each.embed(each.open(table, tiny_dataset.root)) for each in (given, found)]
    np.testing.assert_allclose(*features, atol=1e-4)
    usual = Embedder(model, 64, 32)
    assert np.abs(usual.embed(usual.open(table, tiny_dataset.root)) - features[0]).max() > 1e-2


@pytest.mark.parametrize(
    "change",
    [
        {"height": "64"},
        {"width": -1},
        {"width": 10**30},
        {"mean": [0.5, 0.5]},
        {"std": [1, 1, 0]},
        {"mean": [float("nan")] * 3},
        {"after_necks": None},
        {"height": None},
    ],
)
def test_what_a_file_says_of_its_pictures_is_checked(exported, tmp_path, change):
    import json

    import onnx

    model = onnx.load(exported[1])
    (entry,) = model.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), **change})
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ReidError, match="does not say rightly how its pictures are prepared"):
        OnnxModel(tmp_path / "x.onnx")
