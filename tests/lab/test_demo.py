"""The demo at a size of seconds: interrupted twice, it goes on, and what it leaves is whole."""

import pytest

from msinet_core import ReidError
from msinet_core.runs.folder import RunFolder
from msinet_lab.demo import DemoResult, DemoSize, run_demo, save_pictures

TINY = DemoSize(
    train_identities=16,
    test_identities=3,
    images_per_identity=4,
    height=32,
    width=32,
    search_epochs=1,
    train_epochs=1,
)


def test_an_interrupted_demo_goes_on(tmp_path, monkeypatch, capsys):
    saves, save = [], RunFolder.save

    def saved_until(number):
        def method(*arguments, **options):
            saves.append(arguments)
            if len(saves) == number:
                raise KeyboardInterrupt
            return save(*arguments, **options)

        return method

    for folder, number in (("search", 1), ("train", 3)):  # each dies before its checkpoint
        monkeypatch.setattr(RunFolder, "save", saved_until(number))
        with pytest.raises(KeyboardInterrupt):
            run_demo(tmp_path, device="cpu", size=TINY, progress=False)
        assert RunFolder(tmp_path / folder).exists
        assert not RunFolder(tmp_path / folder).has_checkpoint()
    assert RunFolder(tmp_path / "search").finished
    monkeypatch.setattr(RunFolder, "save", save)
    before = (tmp_path / "search/history.jsonl").stat().st_mtime_ns
    result = run_demo(tmp_path, device="cpu", size=TINY)
    assert (tmp_path / "search/history.jsonl").stat().st_mtime_ns == before
    assert result.train_run.finished
    pictures = {"alpha_heatmap", "search_curves", "network", "training_curves", "rank_lists"}
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == pictures
    told = capsys.readouterr().out
    assert f"genotype    {result.search_run.genotype()}" in told
    assert "untrained" in told
    with pytest.raises(ReidError, match="other arguments"):  # what is there is not replaced
        run_demo(tmp_path, seed=1, device="cpu", size=TINY, progress=False)
    (tmp_path / "search/genotype.json").unlink()
    with pytest.raises(ReidError, match=r"genotype\.json is gone"):
        run_demo(tmp_path, device="cpu", size=TINY, progress=False)


def test_pictures_of_the_users_stay(tmp_path):
    """The demo's are called `network.png` and the like, as others may be."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "network.jpg").write_text("mine")
    result = DemoResult(tmp_path, None, None, None, None, None)
    with pytest.raises(ReidError, match=r"network\.jpg.* is not replaced"):
        save_pictures(result)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["network.jpg"]
