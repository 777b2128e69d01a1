"""What pyproject.toml cannot say: a wheel carries the notebooks inside `msinet_lab`."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithNotebooks(build_py):
    """Modules as ever, and beside them what `msinet notebooks` writes out."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a checkout's notebooks lie beside its packages
        folder = Path(self.build_lib, "msinet_lab", "notebooks")
        self.mkpath(str(folder))
        for notebook in sorted(Path("notebooks").glob("[0-9]*.ipynb")):
            self.copy_file(str(notebook), str(folder / notebook.name))


setup(cmdclass={"build_py": WithNotebooks})
