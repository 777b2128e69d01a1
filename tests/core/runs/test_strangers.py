"""Files by strangers, and what of ours could let them in."""

import ast

import pandas as pd
import pytest
from common import PROJECT

from msinet_core import ReidError
from msinet_core.data import load_dataset


@pytest.mark.parametrize(
    "path", ["../secret.png", "a/../../secret.png", "/etc/secret.png", "a\0b.png"]
)
def test_names_in_manifests_and_lists_cannot_leave_their_folder(tmp_path, path):
    root = tmp_path / "data"
    rows = [("inside.png", 0, 0, "train"), (path, 1, 0, "train")]
    root.mkdir()
    table = pd.DataFrame(rows, columns=["path", "identity", "camera", "split"])
    if "\0" not in path:  # which no CSV can hold
        for name, source in (("manifest.csv", "manifest"), ("metadata.csv", "table")):
            table.to_csv(root / name, index=False)
            with pytest.raises(ReidError, match=r"secret\.png.*outside of"):
                load_dataset(source, root)
    (root / "VehicleID/image").mkdir(parents=True)
    (root / "VehicleID/train_test_split").mkdir()
    for name in ("train_list.txt", "test_list_800.txt"):
        (root / "VehicleID/train_test_split" / name).write_text(
            f"inside 1\n{path.removesuffix('.png')} 2\n"
        )
    with pytest.raises(ReidError, match="outside of"):
        load_dataset("vehicleid", root)
    msmt = root / "MSMT17_V1"
    for folder in ("train", "test"):
        (msmt / folder).mkdir(parents=True)
    line = f"{path.removesuffix('.png')}/0000/0000_000_01_0303morning_0008_0.jpg 0\n"
    for name in ("train", "val", "query", "gallery"):
        (msmt / f"list_{name}.txt").write_text(line)
    with pytest.raises(ReidError, match="outside of"):
        load_dataset("msmt17", root)


def test_absolute_and_dotted_names_that_stay_inside_are_taken(tmp_path):
    rows = [
        ("./a.png", 0, "train"),
        ("x/../b.png", 0, "train"),
        (str(tmp_path / "c..d.png"), 0, "train"),
    ]
    pd.DataFrame(rows, columns=["path", "identity", "split"]).to_csv(
        tmp_path / "manifest.csv", index=False
    )
    assert len(load_dataset("manifest", tmp_path)) == 3


def calls(path):
    """(dotted name, keywords) of every call in a Python file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_nothing_unpickles_or_executes_what_it_reads():
    sources = [*(PROJECT / "msinet_core").rglob("*.py"), *(PROJECT / "benchmarks").rglob("*.py")]
    loads = 0
    for path in sources:
        for name, keywords in calls(path):
            leaf = name.rsplit(".", 1)[-1]
            if name == "torch.load":
                loads += 1
                assert keywords.get("weights_only") == "True", path
            assert keywords.get("allow_pickle", "False") == "False", path
            assert name not in ("eval", "exec", "compile", "__import__"), (path, name)
            assert leaf not in (
                "Unpickler",
                "read_pickle",
                "unsafe_load",
                "extractall",
                "gather_object",
                "broadcast_object_list",
                "all_gather_object",
            ), (path, name)
            assert not (
                leaf in ("load", "loads")
                and name.split(".")[0] in ("pickle", "joblib", "dill", "marshal", "yaml")
            )
    assert loads >= 2  # the test sees them


def test_jupyter_is_started_on_loopback_with_its_token():
    """JupyterLab's own defaults; nothing of ours may widen them."""
    for path in [
        PROJECT / "Makefile",
        *(PROJECT / "notebooks").glob("*.ipynb"),
        *(PROJECT / "msinet_core").rglob("*.py"),
    ]:
        text = path.read_text()
        for word in (
            "0.0.0.0",
            "ServerApp.ip",
            "--ip",
            "NotebookApp.token",
            "ServerApp.token",
            "IdentityProvider.token",
        ):
            assert word not in text, (path, word)
