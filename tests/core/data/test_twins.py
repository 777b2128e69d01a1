"""The twins split."""

import pandas as pd
import pytest

from msinet_core import ReidError
from msinet_core.data import twins_split


@pytest.fixture
def table(golden_file):
    rows = golden_file("tcm_split.json")["rows"]
    return pd.DataFrame(rows, columns=["path", "identity", "camera"]).assign(split="train")


def balanced(identities, images, cameras):
    return pd.DataFrame(
        [
            {
                "path": f"{i:03d}_{n:02d}.jpg",
                "identity": f"p{i:03d}",
                "camera": n % cameras,
                "split": "train",
            }
            for i in range(identities)
            for n in range(images)
        ]
    ).sort_values(["identity", "camera", "path"])


def test_default_equals_the_reference(table, golden_file):
    expected = golden_file("tcm_split.json")
    split = twins_split(table)
    for side, name in ((split.train, "train"), (split.validation, "valid")):
        assert side[["path", "label", "camera"]].to_numpy().tolist() == expected[name]
    assert split.num_train_identities == expected["num_train_identities"]
    assert split.num_validation_identities == expected["num_valid_identities"]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.4, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("stratify", [False, True])
def test_every_image_is_on_one_side_and_identities_overlap_as_asked(overlap, stratify):
    table = balanced(60, 8, 4)
    split = twins_split(table, overlap, stratify)
    assert split.shared_images == 0
    assert len(split.train) + len(split.validation) == len(table)
    assert split.identity_overlap == pytest.approx(overlap, abs=0.02)
    alone = 60 - len(split.shared_identities)
    assert split.num_train_identities - len(split.shared_identities) == alone // 3
    for side in (split.train, split.validation):
        assert sorted(side["label"].unique()) == list(range(side["identity"].nunique()))
        assert side.groupby("label")["identity"].nunique().eq(1).all()


def test_stratifying_keeps_cameras_together_where_list_order_parts_them():
    table = balanced(20, 9, 3)
    assert twins_split(table).camera_distance > 0.5
    assert twins_split(table, stratify_by_camera=True).camera_distance < 0.05


def test_stratifying_halves_each_identity(table):
    split = twins_split(table, stratify_by_camera=True)
    for identity in split.shared_identities:
        sizes = [
            int((side["identity"] == identity).sum()) for side in (split.train, split.validation)
        ]
        assert abs(sizes[0] - sizes[1]) <= table["camera"].nunique()


def test_input_order_of_identities_does_not_matter(table):
    shuffled = table.sample(frac=1, random_state=0).sort_index(kind="stable")
    reordered = pd.concat([part for _, part in table.groupby(table["identity"] % 2)])
    for other in (shuffled, reordered):
        assert set(twins_split(other).train["path"]) == set(twins_split(table).train["path"])


@pytest.mark.parametrize("overlap", [-0.1, 1.5])
def test_bad_overlap(table, overlap):
    with pytest.raises(ReidError, match="between 0 and 1"):
        twins_split(table, overlap)


def test_too_few_identities_single_images_and_no_cameras(table):
    with pytest.raises(ReidError, match="at least 5 training identities; this data set has 2"):
        twins_split(table[table["identity"] < 2])
    one = table[(table["identity"] != 6) | ~table["identity"].duplicated()]
    with pytest.raises(ReidError, match="identity '6' has one image"):
        twins_split(one)
    with pytest.raises(ReidError, match="no cameras to stratify by"):
        twins_split(table.assign(camera=pd.NA), stratify_by_camera=True)
