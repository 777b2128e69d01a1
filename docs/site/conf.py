"""Settings of Sphinx for the pages that `make site` builds; `build.py` lays their sources out."""

from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import latex2mathml.converter
from docutils import nodes

import msinet_core
import msinet_lab

project = "MSINet workbench"
author = "the MSINet workbench's authors"
release = version = version_of("msinet-core")
language = "en"

extensions = [
    "myst_nb",  # Markdown pages, and notebooks as they were executed
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
root_doc = "index"
exclude_patterns = ["README.md", "**/.ipynb_checkpoints"]
html_theme = "furo"
html_title = project
html_static_path, html_css_files = ["wide.css"], ["wide.css"]
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_fence_as_directive = ["math"]  # as code hosts write equations
myst_heading_anchors = 3  # links such as method.md#5-evaluation
nb_execution_mode = "off"  # build.py has executed them, where that was asked for
nb_merge_streams = True
# A panel's picture is what a page without a kernel can show of it.
nb_mime_priority_overrides = [("*", "application/vnd.jupyter.widget-view+json", None)]

apidoc_modules = [
    {
        "path": str(Path(package.__path__[0])),
        "destination": f"api/{package.__name__}",
        "exclude_patterns": ["**/__main__.py"],
        "separate_modules": True,
        "module_first": True,
        "max_depth": 2,
        "automodule_options": {"members", "show-inheritance", "ignore-module-all"},
    }
    for package in (msinet_core, msinet_lab)
]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True

suppress_warnings = [
    "myst.xref_missing",  # links to folders of the repository, which are no pages
    "ref.python",  # names that two modules hand on
    "docutils",  # docstrings are plain text, not always reStructuredText
    "mystnb.unknown_mime_type",
]


def setup(app: Any) -> None:
    """Equations as MathML, which browsers draw by themselves: pages opened from disk need no
    script from elsewhere.
    """

    def visit(writer: Any, node: Any) -> None:
        display = "block" if isinstance(node, nodes.math_block) else "inline"
        writer.body.append(latex2mathml.converter.convert(node.astext(), display=display))
        raise nodes.SkipNode

    app.add_html_math_renderer("mathml", (visit, None), (visit, None))
