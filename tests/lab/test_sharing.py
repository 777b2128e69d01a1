"""Runs given away and taken in, over a folder and over a hub that is a folder."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from msinet_core.cli import main
from msinet_core.config import TrainConfig
from msinet_core.errors import ReidError
from msinet_core.retrieval import load_model
from msinet_core.runs.folder import RunFolder
from msinet_core.training import train
from msinet_lab import sharing
from msinet_lab.model_card import model_card
from msinet_lab.sharing import FILES, pull, push


@pytest.fixture(scope="module")
def trained(tiny_settings, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "train"
    train(TrainConfig(**tiny_settings, genotype="paper"), place, progress=False)
    (place / "secret.txt").write_text("password")
    return place


def names(place):
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}


def test_there_and_back(trained, tmp_path, capsys):
    assert main(["push", str(trained), str(tmp_path / "shared")]) == 0
    assert names(tmp_path / "shared") - {".msinet"} == set(FILES)
    assert main(["pull", str(tmp_path / "shared"), "--to", str(tmp_path / "mine")]) == 0
    assert "is whole: a train run, finished, 2 of 2 epochs" in capsys.readouterr().out
    images = torch.rand(3, 3, 32, 32)
    one, two = (load_model(place).embed([images]) for place in (trained, tmp_path / "mine"))
    np.testing.assert_array_equal(one, two)
    assert main(["check", str(tmp_path / "mine")]) == 0


def test_places_of_the_giver_stay_at_home(trained, tiny_root, tmp_path):
    push(trained, str(tmp_path / "shared"))
    for name in names(tmp_path / "shared"):
        content = (tmp_path / "shared" / name).read_bytes()
        assert str(tiny_root).encode() not in content, name
        assert str(trained).encode() not in content, name
    assert RunFolder(tmp_path / "shared").config().height == 32


def test_the_optimisers_state_stays_unless_asked_for(trained, tiny_settings, tmp_path, capsys):
    push(trained, str(tmp_path / "without"))
    push(trained, str(tmp_path / "with"), optimizer=True)
    kept, whole = (RunFolder(tmp_path / name).checkpoint().state for name in ("without", "with"))
    assert "random" in whole
    assert not {"random", "optimizer", "averages"} & kept.keys()
    sizes = [
        (tmp_path / name / "checkpoints/last/state.pt").stat().st_size
        for name in ("without", "with")
    ]
    assert sizes[0] < sizes[1] / 10
    config = TrainConfig(**tiny_settings, genotype="paper")
    changed = json.loads((tmp_path / "without" / "config.json").read_text())
    changed["root"] = config.root
    (tmp_path / "without" / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ReidError, match="given away without the optimiser's state"):
        train(RunFolder(tmp_path / "without").config(), tmp_path / "without", resume=True)


def test_only_the_files_of_a_run_are_taken_in(trained, tmp_path):
    push(trained, str(tmp_path / "shared"))
    (tmp_path / "shared" / "evil.py").write_text("raise SystemExit")
    (tmp_path / "shared" / "checkpoints" / "last" / "more.pt").write_bytes(b"x")
    pull(str(tmp_path / "shared"), tmp_path / "mine")
    assert names(tmp_path / "mine") - {".msinet"} == set(FILES)


class Bomb:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_damaged_or_malicious_run_leaves_nothing(trained, tmp_path, capsys):
    push(trained, str(tmp_path / "shared"))
    last = tmp_path / "shared" / "checkpoints" / "last"
    good = (last / "weights.safetensors").read_bytes()
    (last / "weights.safetensors").write_bytes(good[:-4] + b"0000")
    with pytest.raises(ReidError, match="truncated or was altered"):
        pull(str(tmp_path / "shared"), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    (last / "weights.safetensors").write_bytes(good)
    torch.save(Bomb(), last / "state.pt")
    about = json.loads((last / "checkpoint.json").read_text())
    import hashlib

    about["sha256"]["state.pt"] = hashlib.sha256((last / "state.pt").read_bytes()).hexdigest()
    (last / "checkpoint.json").write_text(json.dumps(about))
    with pytest.raises(ReidError):
        pull(str(tmp_path / "shared"), tmp_path / "mine")
    assert "executed" not in capsys.readouterr().out
    assert not (tmp_path / "mine").exists()


def test_links_and_strangers_are_refused(trained, tmp_path):
    with pytest.raises(ReidError, match="no run at"):
        pull(str(tmp_path / "nowhere"), tmp_path / "mine")
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(ReidError, match="is not replaced by a shared run"):
        push(trained, str(tmp_path / "holiday"))
    push(trained, str(tmp_path / "shared"))
    with pytest.raises(ReidError, match="is not replaced by a shared run"):
        pull(str(tmp_path / "shared"), tmp_path / "holiday")
    push(trained, str(tmp_path / "shared"))  # again: it is ours
    with pytest.raises(ReidError):
        push(tmp_path / "holiday", str(tmp_path / "other"))


def test_the_card_is_yaml_and_markdown(trained):
    card = model_card(RunFolder(trained))
    _, front, text = card.split("---\n", 2)
    about = yaml.safe_load(front)
    metrics = RunFolder(trained).metrics()
    assert about["library_name"] == "msinet-core"
    values = {one["type"]: one["value"] for one in about["model-index"][0]["results"][0]["metrics"]}
    assert values["mAP"] == round(100 * metrics["mAP"], 2)
    assert f"| mAP | {100 * metrics['mAP']:.1f} % |" in text
    assert "msinet pull hf:OWNER/NAME" in text


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that is a folder, with what was asked of it."""
    asked = []

    class Api:
        def create_repo(self, name, **options):
            asked.append(options)
            (tmp_path / "hub" / name).mkdir(parents=True, exist_ok=True)

        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id, dirs_exist_ok=True)

    def snapshot_download(name, revision, allow_patterns, local_dir):
        if not (tmp_path / "hub" / name).is_dir():
            raise OSError(f"404: {name}")
        for one in allow_patterns:
            source = tmp_path / "hub" / name / one
            if source.is_file():
                (local := tmp_path.__class__(local_dir) / one).parent.mkdir(
                    parents=True, exist_ok=True
                )
                shutil.copyfile(source, local)

    class Refused(Exception):
        pass

    errors = SimpleNamespace(HfHubHTTPError=Refused)
    made = SimpleNamespace(HfApi=Api, snapshot_download=snapshot_download, errors=errors)
    monkeypatch.setattr(sharing, "_hub", lambda: made)
    return SimpleNamespace(asked=asked, root=tmp_path / "hub")


def test_over_a_hub(trained, hub, tmp_path, capsys):
    assert main(["push", str(trained), "hf:me/run"]) == 0
    assert hub.asked == [{"private": True, "exist_ok": True}]
    assert names(hub.root / "me/run") == set(FILES)
    assert main(["pull", "hf:me/run", "--to", str(tmp_path / "mine")]) == 0
    assert names(tmp_path / "mine") - {".msinet"} == set(FILES)
    push(trained, "hf:me/run", public=True)
    assert hub.asked[-1]["private"] is False
    with pytest.raises(ReidError, match="the hub did not take or give you/gone: 404"):
        pull("hf:you/gone", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_hubs_library_has_what_is_asked_of_it():
    hub = pytest.importorskip("huggingface_hub")
    import inspect

    assert {"private", "exist_ok"} <= inspect.signature(hub.HfApi.create_repo).parameters.keys()
    given = {"repo_id", "folder_path", "commit_message"}
    assert given <= inspect.signature(hub.HfApi.upload_folder).parameters.keys()
    given = {"revision", "allow_patterns", "local_dir"}
    assert given <= inspect.signature(hub.snapshot_download).parameters.keys()
    assert hub.errors.HfHubHTTPError
