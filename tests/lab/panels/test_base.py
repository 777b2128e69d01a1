"""What all panels share: errors are seen, the latest value wins, nothing is drawn twice."""

import re
import threading
import time

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

from msinet_core.errors import ReidError
from msinet_lab.figures.elements import tag
from msinet_lab.figures.style import new_axes
from msinet_lab.panels.base import Panel, checkbox, dropdown, row, shortest, show, slider


class Probe(Panel):
    def __init__(self, work=lambda: None, **more):
        super().__init__("probe", **more)
        self.work, self.values = work, []
        self.place = slider("place", 0, 0, 100)
        self.picture("picture")
        self.react([self.place])

    def draw(self):
        self.values.append(self.place.value)
        self.show("picture", np.full((4, 4, 3), self.place.value, np.uint8))
        return self.work()


def test_a_value_changes_the_picture(status):
    panel = Probe()
    panel.place.value = 7
    first = panel.pictures["picture"].value
    panel.place.value = 9
    assert panel.pictures["picture"].value != first
    assert panel.values == [7, 9]
    assert status(panel) == ""  # nothing to say
    assert {"msinet-probe"} <= set(panel._dom_classes)
    assert "msinet-probe-picture" in panel.pictures["picture"]._dom_classes


def test_without_an_observer_the_picture_stays():
    panel = Probe()
    panel.place.unobserve_all()
    panel.place.value = 7
    assert panel.pictures["picture"].value == ""


def test_exceptions_reach_the_status_line(status):
    panel = Probe(lambda: 1 / 0)
    panel.place.value = 1
    assert "ZeroDivisionError: division by zero (test_base.py, line" in status(panel, error=True)
    panel.work = lambda: None
    panel.place.value = 2
    assert status(panel) == ""


def test_a_users_mistake_is_a_plain_sentence(status):
    def refuse():
        raise ReidError("the folder 'x<y' is <b>not</b> there")

    panel = Probe(refuse)
    panel.place.value = 1
    assert "&lt;b&gt;not&lt;/b&gt; there" in status(panel, error=True)
    assert "ReidError" not in panel.status.value


def test_a_failed_drawing_takes_away_what_it_would_have_renewed(status):
    class Two(Panel):
        fails = ""

        def __init__(self):
            super().__init__("two")
            self.left, self.right = slider("left", 0, 0, 9), slider("right", 0, 0, 9)
            for part in ("left", "right"):
                self.picture(part)
            self.words = self.text("words")
            self.react([self.left])
            self.react([self.right], self.draw_right)
            self.react([self.save_button()], self.save)

        def draw(self):
            self.tell("words", f"left {self.left.value}")
            self.draw_right()
            if self.fails:
                raise ReidError(self.fails)
            self.show("left", np.full((4, 4, 3), self.left.value, np.uint8))

        def draw_right(self):
            if self.fails == "right":
                raise ReidError("right")
            self.show("right", np.full((4, 4, 3), self.right.value, np.uint8))

        def seen(self):
            return {part for part, image in self.pictures.items() if image.value}

    panel = Two()
    panel.left.value = panel.right.value = 1
    assert panel.seen() == {"left", "right"}
    panel.fails = "left"
    panel.left.value = 2  # the right one is new, and so are the words
    assert panel.seen() == {"right"}
    assert panel.words.value == "left 2"
    panel.fails = ""
    panel.left.value = 3
    panel.fails = "right"
    panel.right.value = 4  # the left one is none of this drawing's business
    assert panel.seen() == {"left"}
    assert panel.words.value == "left 3"
    status(panel, error=True)
    panel.attempt(lambda: 1 / 0, drawing=False)  # a button's action draws nothing
    assert panel.seen() == {"left"}


def test_values_that_were_overtaken_are_skipped():
    release, started = threading.Event(), threading.Event()

    def wait():
        started.set()
        release.wait(10)

    panel = Probe(wait)
    threads = [threading.Thread(target=panel.attempt, args=(panel.draw, True)) for _ in range(6)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + 10
    while panel._tickets[panel.draw] < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    pressed = []  # a button is another action, which overtakes no drawing
    press = threading.Thread(target=panel.attempt, args=(lambda: pressed.append(1), True))
    press.start()
    threads.append(press)
    while len(panel._tickets) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join(10)
    assert len(panel.values) == 2  # the one at work, and the latest
    assert pressed == [1]


def test_a_control_moved_by_the_drawing_does_not_draw_again():
    panel = Probe()

    def move():
        panel.place.value = 50

    panel.work = move
    panel.place.value = 3
    assert panel.values == [3]


def test_save_button_writes_pictures(tmp_path, status):
    panel = Probe(saves_to=tmp_path / "made")
    button = panel.save_button().children[0]
    button.click()
    assert "nothing" in status(panel)
    panel.place.value = 4
    button.click()
    with Image.open(tmp_path / "made" / "probe-picture.png") as saved:
        assert (np.asarray(saved) == 4).all()
    assert "saved probe-picture.png" in status(panel)


def test_figures_are_saved_as_they_are_wanted(tmp_path, status):
    panel = Probe(saves_to=tmp_path)
    button = panel.save_button().children[0]
    panel.show("picture", [new_axes(6, 3, f"title {n} $x$")[0] for n in (1, 2)])
    for panel.format.value, panel.width.value in (("SVG", 10), ("PDF", 8.5), ("PNG", 5)):
        button.click()
        assert "saved probe-picture-1" in status(panel)
    svg = (tmp_path / "probe-picture-2.svg").read_text()
    assert float(re.search(r'width="([\d.]+)pt"', svg)[1]) == pytest.approx(
        10 / 2.54 * 72, rel=1e-3
    )
    assert (tmp_path / "probe-picture-1.pdf").read_bytes()[:4] == b"%PDF"
    with Image.open(tmp_path / "probe-picture-1.png") as image:
        assert image.width == pytest.approx(5 / 2.54 * 200, abs=2)
    panel.show("picture", tag("p", "words"))
    button.click()
    assert "<p>words</p>" in (tmp_path / "probe-picture.html").read_text()


def test_a_click_is_told_where(status):
    heard = []
    panel = Probe()
    clicked = panel.picture("network", lambda at, point: heard.append((at, point)) or at)
    message = {"at": "slot-3", "row": 0.25, "column": 0.5}
    clicked._handle_custom_msg(message, [])
    assert heard == [("slot-3", (0.25, 0.5))]
    assert status(panel) == "slot-3"
    clicked._handle_custom_msg({"at": 3}, [])
    assert len(heard) == 1


def test_small_parts():
    assert slider("a", 2, 5, 1).max == 5
    assert dropdown("a", ["x", "y"], "y").value == "y"
    assert checkbox("a").value is False
    assert len(row(widgets.Label(), widgets.Label()).children) == 2
    bundle = show(np.zeros((2, 2, 3), np.uint8))._repr_mimebundle_()
    assert bundle["image/png"][:4] == b"\x89PNG"
    assert "data:image/jpeg" in bundle["text/html"]
    with pytest.raises(NotImplementedError):
        Panel("x").draw()


def test_above_the_widget_lies_what_a_page_without_a_kernel_shows(monkeypatch):
    shown = []
    monkeypatch.setattr("msinet_lab.panels.base.display", lambda data, raw: shown.append(data))
    panel = Probe()
    words = panel.text("words")
    panel.children = (panel.place, row(panel.pictures["picture"], words), panel.status)
    panel._ipython_display_()
    assert [set(one) & {"text/html"} for one in shown] == [set()]  # nothing has been drawn yet
    panel.place.value = 7
    panel.show("picture", new_axes(3, 2, "seven")[0])
    panel.tell("words", "<b>seven</b>")
    panel._ipython_display_()
    still, live = shown[1:]
    assert "application/vnd.jupyter.widget-view+json" in live
    assert "<b>seven</b>" in still["text/html"]
    assert "<svg" not in still["text/html"]  # pages of others let none through
    assert "data:image/svg+xml;base64," in still["text/html"]


def test_a_path_is_said_from_where_the_reader_is(tmp_path, monkeypatch):
    near, home = tmp_path / "work" / "notebooks", tmp_path / "home"
    for folder in (near, home / "data"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(near)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert shortest("figures") == "figures"
    assert shortest(tmp_path / "work" / "data") == "../data"
    assert shortest(home / "data") == "~/data"
    assert shortest(tmp_path / "elsewhere") == str((tmp_path / "elsewhere").resolve())
