"""Files of tensors that would execute something, or fill the memory."""

import io
import re
import zipfile

import pytest
import torch
from common import Attack

from msinet_core import PAPER_GENOTYPE, ReidError
from msinet_core.models import reference
from msinet_core.runs.checkpoints import Checkpoint
from msinet_core.tensors import UNREADABLE, load_pickle


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def deflated(content, size):
    """The same archive compressed, with a storage of `size` zeros."""
    packed, old = io.BytesIO(), zipfile.ZipFile(io.BytesIO(content))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            swollen = entry.filename.endswith("data/0")
            new.writestr(entry.filename, bytes(size) if swollen else old.read(entry))
    return packed.getvalue()


BOMBS = {
    "compressed": deflated(saved({"state_dict": {"w": torch.zeros(4)}}), 1 << 24),
    "larger than the file": saved({"state_dict": {"w": torch.zeros(1).expand(1 << 20, 1 << 16)}}),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_file_that_would_swell_in_memory_is_refused(what, tmp_path):
    content = BOMBS[what]
    assert len(content) < 1 << 16
    with pytest.raises(ReidError, match=what):
        load_pickle(content)
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ReidError, match=rf"x\.pth.*{what}"):
        reference.load_msinet(tmp_path / "x.pth", PAPER_GENOTYPE)
    files = {**Checkpoint({}, {}).files(), "state.pt": content}
    with pytest.raises(ReidError, match="not opened"):
        Checkpoint.from_files(files, "run")


def test_what_torch_writes_is_read():
    value = {"a": torch.arange(6.0).view(2, 3).t(), "b": [torch.zeros(2), {"c": 1}], "d": "x"}
    found = load_pickle(saved(value))
    assert torch.equal(found["a"], value["a"])
    assert found["b"][1] == {"c": 1}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no pickle", saved({"x": Attack()})])
def test_anything_else_is_unreadable(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UNREADABLE):
        load_pickle(content)
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ReidError, match=re.escape(name)):
            reference.read_state_dict(tmp_path / name)
    assert not (tmp_path / "attacked").exists()
