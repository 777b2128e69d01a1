"""What notebooks open on: small, whole, of people that no notebook draws, and made as it says."""

from dataclasses import replace

import pytest

from msinet_core.errors import ReidError
from msinet_core.runs.folder import RunFolder
from msinet_core.search.history import SearchHistory
from msinet_core.training import load_network
from msinet_lab.panels.settings import Settings, open_data
from msinet_lab.panels.small_runs import evaluate_run, ready_network
from msinet_lab.recorded import HERE, making, recorded_network, recorded_searches

MOST_BYTES = 6_000_000


def test_small_and_without_a_place_on_somebodys_disk():
    files = [path for path in HERE.rglob("*") if path.is_file() and path.suffix != ".py"]
    assert sum(path.stat().st_size for path in files if path.suffix != ".pyc") < MOST_BYTES
    for run in (recorded_network(), *recorded_searches().values()):
        assert len(run.epochs()) == run.config().epochs
        assert run.config().root == ""
        assert not [line for line in run.lines() if line["kind"] == "step"]


def test_the_network_knows_people_that_it_never_saw(tmp_path):
    people = open_data("generated people", tmp_path, seed=5)
    assert evaluate_run(recorded_network(), people).metrics()["mAP"] >= 0.75


def test_several_searches_to_the_end():
    searches = recorded_searches()
    assert len(searches) == 3
    for name, run in searches.items():
        history = SearchHistory.read(run)
        assert len(history) == run.config().epochs, name
        assert history.genotypes[-1] == run.genotype()
    assert len({str(run.genotype()) for run in searches.values()}) == 3


def test_a_network_is_ready_at_once_for_people_and_trained_for_other_data(
    tiny_dataset, tiny_settings, tmp_path
):
    people = replace(tiny_dataset, name="generated people, domain B")
    assert ready_network(people).path == recorded_network().path
    settings = Settings(runs=str(tmp_path))
    small = {**tiny_settings, "data": "manifest", "epochs": 1}
    run = ready_network(tiny_dataset, settings, **small)
    assert run.finished
    assert run.path.parent == tmp_path


def test_it_is_made_as_it_says(tmp_path):
    size = making.Size(16, 2, (0,), 8, 2, 1)
    making.make(tmp_path / "work", tmp_path / "made", size, "cpu")
    made = {path.name: RunFolder(path) for path in (tmp_path / "made").iterdir()}
    assert {*made} == {"network", "search-seed-0"}
    assert len(SearchHistory.read(made["search-seed-0"])) == 2
    network, whole = (load_network(one) for one in (made["network"], tmp_path / "work/network"))
    for one, other in zip(network.trunk.parameters(), whole.trunk.parameters(), strict=True):
        assert one.detach().numpy() == pytest.approx(other.detach().numpy(), rel=1e-3, abs=1e-6)
    with pytest.raises(ReidError, match="is there already"):
        making.make(tmp_path / "work", tmp_path / "made", size, "cpu")
