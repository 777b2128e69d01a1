"""Pictures of alpha and genotypes: right weights, right colours, and no history at all."""

import re

import numpy as np
import pandas as pd
import pytest

from msinet_core.space import OPERATIONS, PAPER_GENOTYPE, Genotype
from msinet_lab.figures import architecture, elements, sheets
from msinet_lab.figures.network import draw_network
from msinet_lab.figures.style import INK, OPERATION_COLOURS, as_array, rgb


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def share_of(pixels, colour):
    return float((np.abs(pixels.astype(int) - rgb(colour)).sum(-1) < 12).mean())


def weights_of(alphas):
    return architecture.as_history(alphas).weights


def test_share_of_the_largest_entropy_by_hand():
    alphas = np.stack(
        [np.zeros((12, 4)), np.tile([0, 0, -1e9, -1e9], (12, 1)), 1e9 * np.eye(12, 4)]
    )
    share = architecture.undecided(architecture.as_history(alphas))
    np.testing.assert_allclose(share[0], 1)
    np.testing.assert_allclose(share[1], 0.5)
    np.testing.assert_allclose(share[2, :4], 0, atol=1e-9)


def test_heatmap_writes_every_weight_and_outlines_the_largest(alphas):
    figure = architecture.alpha_heatmap(alphas)
    weights = weights_of(alphas)[-1]
    assert sorted(texts(figure)) == sorted(f"{value:.2f}" for value in weights.ravel())
    outlines = [patch for axes in figure.axes for patch in axes.patches]
    colours = {
        tuple(np.round(np.array(patch.get_edgecolor()[:3]) * 255).astype(int)) for patch in outlines
    }
    assert len(outlines) == 12
    assert colours == {rgb(OPERATION_COLOURS[OPERATIONS[column]]) for column in weights.argmax(1)}
    bold = [
        text.get_text()
        for axes in figure.axes
        for text in axes.texts
        if text.get_fontweight() == "bold"
    ]
    assert sorted(bold) == sorted(f"{value:.2f}" for value in weights.max(1))


def test_the_temperature_divides_and_is_told(search_lines, alphas):
    for line in search_lines:
        line["temperature"] = 0.5
    figure = architecture.alpha_heatmap(search_lines, epoch=4)
    expected = np.exp(2 * alphas[3]) / np.exp(2 * alphas[3]).sum(1, keepdims=True)
    assert sorted(texts(figure)) == sorted(f"{value:.2f}" for value in expected.ravel())
    assert figure.get_suptitle() == "Softmax weights after epoch 4, temperature 0.5"
    assert "temperature" not in architecture.alpha_heatmap(alphas).get_suptitle()


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_one_stage_alone(alphas, stage):
    weights = weights_of(alphas)[0, 4 * stage - 4 : 4 * stage]
    assert sorted(texts(architecture.alpha_heatmap(alphas, 1, stage))) == sorted(
        f"{v:.2f}" for v in weights.ravel()
    )


def test_history_from_lines_table_and_array(alphas, search_lines):
    for source in (search_lines, pd.DataFrame(search_lines), alphas):
        history = architecture.as_history(source)
        assert history.epochs.tolist() == [1, 2, 3, 4, 5, 6]
        np.testing.assert_allclose(history.alphas, alphas)
        assert architecture.as_history(history) is history


@pytest.mark.parametrize(
    "history", [[], pd.DataFrame(), [{"kind": "step", "epoch": 1}], np.zeros((0, 12, 4))]
)
def test_no_epoch_yet(history):
    draws = (
        architecture.alpha_heatmap,
        architecture.alpha_trajectories,
        architecture.entropy_heatmap,
    )
    for draw in draws:
        assert as_array(draw(history)).std() > 0


def test_one_epoch_is_drawn_as_points(alphas):
    figure = architecture.alpha_trajectories(alphas[:1])
    assert all(line.get_marker() == "o" for axes in figure.axes for line in axes.lines)
    as_array(figure)
    as_array(architecture.entropy_heatmap(alphas[:1]))


def test_trajectories_follow_the_weights(alphas):
    figure = architecture.alpha_trajectories(alphas, epoch=3)
    weights = weights_of(alphas)
    drawn = [axes.lines for axes in figure.axes if axes.lines]
    assert len(drawn) == 12
    for slot, lines in enumerate(drawn):
        for column, line in enumerate(lines[:4]):
            np.testing.assert_allclose(line.get_ydata(), weights[:, slot, column])
            assert line.get_color() == OPERATION_COLOURS[OPERATIONS[column]]


def test_bands_over_seeds(alphas):
    others = {"a": alphas, "b": alphas[::-1], "c": alphas[:4]}
    figure = architecture.alpha_trajectories(others)
    weights = [weights_of(one) for one in others.values()]
    for slot, axes in enumerate(axes for axes in figure.axes if axes.lines):
        for column, (line, band) in enumerate(zip(axes.lines, axes.collections, strict=True)):
            means = [
                np.mean([w[epoch, slot, column] for w in weights if len(w) > epoch])
                for epoch in range(6)
            ]
            np.testing.assert_allclose(line.get_ydata(), means)
            low, high = (
                band.get_paths()[0].vertices[:, 1].min(),
                band.get_paths()[0].vertices[:, 1].max(),
            )
            every = np.concatenate([w[:, slot, column] for w in weights])
            assert (low, high) == (pytest.approx(every.min()), pytest.approx(every.max()))


def test_slopes_have_a_drawing_a_slot_and_a_line_at_the_epoch(alphas):
    history = architecture.as_history(alphas)
    first, later = (sheets.slopes(history, epoch, [2], chosen=5) for epoch in (1, 5))
    assert first.count("<svg") == 4
    assert first.count('class="slope chosen" data-at="slot-6"') == 1
    assert all(name in first for name in ("stage 2, cell 1, slot 1", "stage 2, cell 2, slot 2"))
    lines = [re.findall(r'<path d="M([\d.]+) \d+V', one) for one in (first, later)]
    assert [len(set(one)) for one in lines] == [1, 1]
    assert float(lines[0][0]) < float(lines[1][0])
    assert re.sub(r"M[\d.]+ \d+V", "", first) == re.sub(r"M[\d.]+ \d+V", "", later)


def test_weights_as_a_table(alphas):
    history = architecture.as_history(alphas)
    made = sheets.weights_sheet(history, -1, [1, 2, 3])
    cells = re.findall(r"<td[^>]*>([\d.]+)</td>", made)
    np.testing.assert_allclose(
        np.array(cells, float).reshape(12, 4), history.weights[-1], atol=6e-3
    )
    taken = ['class="taken"' in one for one in re.findall(r"<td[^>]*>", made)]
    columns = np.array(taken).reshape(12, 4).argmax(1)
    assert [OPERATIONS[column] for column in columns] == list(history.genotypes[-1].slots)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_network_shows_its_operations_in_their_colours(operation):
    pixels = as_array(draw_network(Genotype.uniform(operation)))
    shares = {name: share_of(pixels, colour) for name, colour in OPERATION_COLOURS.items()}
    assert shares[operation] > 0.02
    assert all(
        share < shares[operation] / 10 for name, share in shares.items() if name != operation
    )


def test_network_with_weights_and_a_chosen_slot(alphas):
    weights = weights_of(alphas)[-1]
    plain, chosen = (
        draw_network(PAPER_GENOTYPE, weights=weights),
        draw_network(PAPER_GENOTYPE, weights=weights, chosen=5),
    )
    assert f"{weights[0].max():.0%}" in " ".join(texts(plain))
    assert (as_array(plain) != as_array(chosen)).any()


def test_strips_of_no_one_and_many_genotypes():
    assert "<td" not in sheets.strips({})
    made = sheets.strips({"paper": PAPER_GENOTYPE, "other <b>": Genotype.sample(1)})
    assert made.count('class="strip"') == 24
    assert "other &lt;b&gt;" in made


def test_a_network_in_a_page_follows_its_theme_and_can_be_clicked():
    made = elements.drawing(draw_network(PAPER_GENOTYPE))
    assert {f'data-at="slot-{n}"' for n in range(1, 13)} <= set(
        re.findall(r'data-at="[^"]*"', made)
    )
    assert "var(--ink)" in made
    assert INK.lower() not in made.replace("var(--ink)", "").lower()
    assert "#ffffff" not in made  # no white slab
    assert "e69f00" in made  # operations keep their colours
    framed = elements.chosen(made, "slot-7")
    assert framed.count('data-at="slot-7" class="chosen"') == 1
