"""What tells data apart from other data: the bytes of its files, and never a disk's bad moment."""

import pytest

from msinet_core import ReidError
from msinet_core.runs import fingerprint
from msinet_core.runs.fingerprint import contents_hash


def test_a_file_that_is_other_or_gone_makes_other_data(tmp_path):
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_text("one")
    before = contents_hash(files)
    assert contents_hash(files) == before
    files[1].write_text("two")
    assert contents_hash(files) != before
    files[1].unlink()
    assert contents_hash(files) != before


def test_a_file_that_cannot_be_read_for_a_moment_is_named(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_text("one")
    monkeypatch.setattr(fingerprint, "hash_file", lambda _: None)  # what it gives for an error
    with pytest.raises(ReidError, match="cannot be read, so nobody can tell"):
        contents_hash([file])
