"""JupyterLab served from a copy of the notebooks, and Chromium to open it.

Without a browser these tests are skipped, but fail where `CI` is set.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EARLY = "import msinet_lab.panels"  # what takes a kernel longest, while the test before still runs
NOTIFICATIONS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}


@pytest.fixture(scope="session")
def browser_path() -> str:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        message = "no Chromium was found (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def server(workplace: Path, browser_path: str, tmp_path_factory: Any) -> Iterator[str]:
    """The address of a JupyterLab of its own, away from the user's settings."""
    home = tmp_path_factory.mktemp("jupyter")
    startup = home / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-early.py").write_text(EARLY)
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    environment = {**os.environ, **{f"JUPYTER_{name}": str(home / name) for name in names}}
    environment |= {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "PYTHONWARNINGS": "ignore",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NOTIFICATIONS))
    if os.environ.get("MSINET_THEME"):  # to look at the panels in another theme
        (settings / "themes.jupyterlab-settings").write_text(
            json.dumps({"theme": os.environ["MSINET_THEME"]})
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--allow-root",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={workplace}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = (home / "log.txt").open("wb")
    process = subprocess.Popen(
        command, env=environment, cwd=workplace, stdout=log, stderr=subprocess.STDOUT
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, home / "log.txt")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{address}/api/status", timeout=2):
                return
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


# From the next key to the frame after the first change of what is shown, in ms.
TIMED = """(name) => {
  window.took = new Promise((tell) => {
    const begin = () => {
      const start = performance.now();
      const seen = new MutationObserver(() => {
        seen.disconnect();
        requestAnimationFrame(() => requestAnimationFrame(() => tell(performance.now() - start)));
      });
      seen.observe(document.querySelector('.' + name), {childList: true, subtree: true});
    };
    document.addEventListener('keydown', begin, {capture: true, once: true});
  });
}"""


class Lab:
    """One page of JupyterLab with the few things that the tests do."""

    def __init__(self, page: Any, address: str, root: Path) -> None:
        self.page, self.address, self.root = page, address, root
        page.goto(f"{address}/lab?reset", wait_until="domcontentloaded")
        self.loaded()

    def loaded(self) -> None:
        self.page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=120_000)
        self.page.wait_for_function("() => window.jupyterapp?.status !== undefined")

    def open(self, name: str) -> None:
        """Open a notebook and wait for its kernel."""
        self.page.evaluate(
            """async (path) => {
              const app = window.jupyterapp;
              await app.restored;
              const opened = await app.commands.execute('docmanager:open', {path});
              await opened.context.ready;
              app.shell.activateById(opened.id);
            }""",
            f"notebooks/{name}.ipynb",
        )
        self.ready()

    def warm_up(self, name: str) -> None:
        """Start the kernel of a notebook that is opened later.

        The connection is given up at once: of several to one kernel only the first gets widgets.
        """
        self.page.evaluate(
            """(name) => { window.jupyterapp.serviceManager.sessions.startNew(
              {path: `notebooks/${name}.ipynb`, name: `${name}.ipynb`, type: 'notebook',
               kernel: {name: 'python3'}}).then((session) => session.dispose()); }""",
            name,
        )

    def close(self) -> None:
        """Close whatever notebook is open, unsaved, and end its kernel."""
        self.page.evaluate(
            """() => {
              const opened = window.jupyterapp.shell.currentWidget;
              if (!opened?.context) return;
              opened.sessionContext.shutdown();  // takes its time
              opened.context.model.dirty = false;
              opened.close();
            }"""
        )

    def ready(self) -> None:
        self.loaded()
        self.page.wait_for_function(
            """() => window.jupyterapp?.shell.currentWidget
              ?.sessionContext?.session?.kernel?.status === 'idle'""",
            timeout=120_000,
        )

    def command(self, name: str) -> None:
        self.page.evaluate(f"() => {{ window.jupyterapp.commands.execute('{name}'); }}")

    def run_all(self, seconds: float = 480) -> None:
        """Run every cell; come back when the last code cell has its number, fail on an error in
        any.
        """
        self.command("notebook:run-all-cells")
        script = """() => {
          const cells = window.jupyterapp.shell.currentWidget.content.model.cells;
          let all = true;
          for (let i = 0; i < cells.length; i++) {
            const cell = cells.get(i);
            if (cell.type !== 'code') continue;
            for (let k = 0; k < cell.outputs.length; k++) {
              const output = cell.outputs.get(k);
              if (output.type === 'error')
                return `error in cell ${i}: ` + JSON.stringify(output.toJSON().evalue);
            }
            if (cell.executionCount === null) all = false;
          }
          return all ? 'done' : false;
        }"""
        assert self.page.wait_for_function(script, timeout=1000 * seconds).json_value() == "done"

    def run_cell(self, place: int, source: str) -> None:
        """Give one cell another source and run it alone."""
        self.page.evaluate(
            """([place, source]) => {
              const notebook = window.jupyterapp.shell.currentWidget.content;
              notebook.model.cells.get(place).sharedModel.setSource(source);
              notebook.activeCellIndex = place;
            }""",
            [place, source],
        )
        self.command("notebook:run-cell")

    def settle(self) -> None:
        """Wait until the kernel has had nothing to do for a while."""
        for _ in range(3):
            self.ready()
            time.sleep(0.4)

    def pixels(self, part: str) -> str:
        """A fingerprint of the picture with the class `part`, once it is there."""
        self.page.wait_for_selector(f".{part}", state="attached")
        return self.page.evaluate(
            """async (name) => {
              const bytes = new TextEncoder().encode(document.querySelector('.' + name).innerHTML);
              const hash = await crypto.subtle.digest('SHA-256', bytes);
              return Array.from(new Uint8Array(hash)).join(',');
            }""",
            part,
        )

    def changed(self, part: str, before: str, seconds: float = 60) -> float:
        """Wait until a picture is another one; how long that took, in seconds."""
        start = time.perf_counter()
        while self.pixels(part) == before:
            assert time.perf_counter() - start < seconds, f"{part} did not change"
            time.sleep(0.01)
        return time.perf_counter() - start

    def same(self, part: str, before: str, seconds: float = 1.5) -> bool:
        """Whether a picture stays as it is for a while."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if self.pixels(part) != before:
                return False
            time.sleep(0.1)
        return True

    def slide(self, part: str, key: str = "ArrowRight") -> None:
        handle = self.page.locator(f".{part} .noUi-handle").first
        handle.focus()
        handle.press(key)

    def slide_to_picture(self, slider: str, shown: str) -> float:
        """Seconds from the key at a slider's handle to the frame with another picture, by the
        page's own clock: asking it meanwhile would keep it from its work.
        """
        before = self.pixels(shown)
        handle = self.page.locator(f".{slider} .noUi-handle").first
        handle.focus()
        self.page.evaluate(TIMED, shown)
        handle.press("ArrowRight")
        took = self.page.evaluate("() => window.took")
        assert self.pixels(shown) != before
        return took / 1000

    def choose(self, part: str, label: str) -> None:
        self.page.locator(f".{part} select").first.select_option(label=label)

    def execute(self, code: str) -> None:
        """Run code in the kernel, beside the cells."""
        status = self.page.evaluate(
            """async (code) => {
              const notebook = window.jupyterapp.shell.currentWidget;
              const kernel = notebook.sessionContext.session.kernel;
              return (await kernel.requestExecute({code}).done).content.status;
            }""",
            code,
        )
        assert status == "ok", code

    def deafen(self) -> None:
        """Take every observer and every button's action away in the kernel: what moves after this
        did not need the panel's code.
        """
        self.execute(
            "from ipywidgets.widgets import widget as w\n"
            "for one in list(w._instances.values()):\n"
            "    one.unobserve_all()\n"
            "    getattr(one, '_click_handlers', w.CallbackDispatcher()).callbacks.clear()\n"
            "    one._msg_callbacks.callbacks.clear()"
        )

    def text(self, part: str) -> str:
        return self.page.locator(f".{part}").first.inner_text()

    def same_text(self, part: str, seconds: float = 1.5) -> bool:
        """Whether words stay as they are for a while."""
        before, end = self.text(part), time.perf_counter() + seconds
        while time.perf_counter() < end:
            if self.text(part) != before:
                return False
            time.sleep(0.1)
        return True

    def until_text(self, part: str, words: str, seconds: float = 180) -> None:
        self.page.wait_for_function(
            "([part, words]) => document.querySelector('.' + part)?.innerText.includes(words)",
            arg=[part, words],
            timeout=1000 * seconds,
        )

    def patch(self, name: str, old: str, new: str, saved_as: str) -> str:
        """A copy of a notebook with other words in it."""
        text = (self.root / "notebooks" / f"{name}.ipynb").read_text()
        assert old in text, old
        (self.root / "notebooks" / f"{saved_as}.ipynb").write_text(text.replace(old, new))
        return saved_as

    def write(self, name: str, *cells: str) -> str:
        """A notebook of these cells."""
        import nbformat

        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
        )
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.root / "notebooks" / f"{name}.ipynb")
        return name

    def theme(self, dark: bool) -> None:
        """Another theme, while the page is open."""
        self.page.evaluate(
            """(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})""",
            "JupyterLab Dark" if dark else "JupyterLab Light",
        )
        self.page.wait_for_function(
            "(light) => document.body.dataset.jpThemeLight === light", arg=str(not dark).lower()
        )

    def shot(self, name: str, panel: str) -> None:
        """Pictures of a panel, whole and as a thumbnail, where `MSINET_SHOTS` names a folder for
        them.
        """
        if "MSINET_SHOTS" not in os.environ:
            return
        folder = Path(os.environ["MSINET_SHOTS"])
        for part in ("panels", "thumbnails"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self.page.mouse.move(0, 0)
        self.settle()
        path = folder / "panels" / f"{name}.png"
        self.page.locator(f".{panel}").first.screenshot(path=str(path))
        with Image.open(path) as picture:
            whole = picture.convert("RGB")
        top = whole.crop((0, 0, whole.width, whole.width // 2)).resize((400, 200))
        for shown, part in ((whole, "panels"), (top, "thumbnails")):
            few = shown.quantize(256, dither=Image.Dither.NONE)  # a third of the bytes
            few.save(folder / part / f"{name}.png", optimize=True)


@pytest.fixture(scope="session")
def page(browser_path: str, tmp_path_factory: Any) -> Iterator[Any]:
    """The one page of one browser."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=browser_path,
            headless=True,
            args=QUIET,
            viewport={"width": 1500, "height": 2600},
        )
        page = context.pages[0] if context.pages else context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        yield page
        context.close()


@pytest.fixture(scope="session")
def session(page: Any, server: str, workplace: Path) -> Lab:
    return Lab(page, server, workplace)


def notebook_of(item: Any) -> str | None:
    """The notebook that a test opens, by its mark `opens`."""
    mark = item.get_closest_marker("opens")
    return mark.args[0] if mark else None


@pytest.fixture
def lab(session: Lab, request: Any) -> Iterator[Lab]:
    """JupyterLab on the test's notebook, if it names one; the next one's kernel starts already."""
    name = notebook_of(request.node)
    if name:
        session.open(name)
    items = request.session.items
    following = items[items.index(request.node) + 1 :][:1]
    if following and (soon := notebook_of(following[0])):
        session.warm_up(soon)
    yield session
    session.close()
