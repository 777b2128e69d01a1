"""Panels for JupyterLab: thin layers of widgets over `msinet_core.figures`."""

from msinet_core.panels.architecture import ArchitecturePanel
from msinet_core.panels.attention import AttentionPanel
from msinet_core.panels.base import Panel, show
from msinet_core.panels.compare import ComparePanel
from msinet_core.panels.gallery import GalleryPanel
from msinet_core.panels.run import RunPanel
from msinet_core.panels.space import SearchSpacePanel
from msinet_core.panels.splits import TwinSplitPanel
from msinet_core.panels.start import StartPanel, notebook_map, open_data
from msinet_core.panels.study import StudyPanel, read_study
from msinet_core.panels.train import TrainPanel
from msinet_core.panels.what_if import WhatIfPanel

__all__ = [
    "ArchitecturePanel",
    "AttentionPanel",
    "ComparePanel",
    "GalleryPanel",
    "Panel",
    "RunPanel",
    "SearchSpacePanel",
    "StartPanel",
    "StudyPanel",
    "TrainPanel",
    "TwinSplitPanel",
    "WhatIfPanel",
    "notebook_map",
    "open_data",
    "read_study",
    "show",
]
