"""The method's files: plain PyTorch and numpy, with nothing of speed, progress bars or pictures.

`test_space.py` has what they import by way of others.
"""

import ast
from pathlib import Path

import pytest

import msinet_core

CORE = Path(msinet_core.__file__).parent
FILES = [
    "space.py",
    *(f"models/{n}.py" for n in ("interactions", "blocks", "supernet", "msinet", "alignment")),
    *(f"data/{name}.py" for name in ("twins", "sampler", "protocol")),
    *(f"search/{name}.py" for name in ("memory", "step", "twin_search", "regularizer")),
    *(f"training/{name}.py" for name in ("losses", "training")),
    *(f"retrieval/{name}.py" for name in ("ranking", "metrics")),
]
FOREIGN = ("numba", "matplotlib", "tqdm", "msinet_core.speed", "msinet_lab")


def imported(path):
    """Every module that a file imports anywhere, and names taken from one as if they were."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_method_imports_nothing_foreign_to_it(name):
    names = list(imported(CORE / name))
    assert names
    assert not [n for n in names if n.startswith(FOREIGN)]
