"""Panels for JupyterLab: thin layers of widgets over `msinet_lab.figures`."""

from msinet_lab.panels.architecture import ArchitecturePanel
from msinet_lab.panels.attention import AttentionPanel
from msinet_lab.panels.base import Panel, show
from msinet_lab.panels.compare import ComparePanel
from msinet_lab.panels.gallery import GalleryPanel
from msinet_lab.panels.query import QueryPanel
from msinet_lab.panels.run import RunPanel
from msinet_lab.panels.runs import RunsPanel
from msinet_lab.panels.settings import Settings, open_data, read_settings
from msinet_lab.panels.space import SearchSpacePanel
from msinet_lab.panels.splits import TwinSplitPanel
from msinet_lab.panels.start import StartPanel, notebook_map
from msinet_lab.panels.study import StudyPanel, in_percent, read_study
from msinet_lab.panels.train import TrainPanel
from msinet_lab.panels.what_if import WhatIfPanel

__all__ = [
    "ArchitecturePanel",
    "AttentionPanel",
    "ComparePanel",
    "GalleryPanel",
    "Panel",
    "QueryPanel",
    "RunPanel",
    "RunsPanel",
    "SearchSpacePanel",
    "Settings",
    "StartPanel",
    "StudyPanel",
    "TrainPanel",
    "TwinSplitPanel",
    "WhatIfPanel",
    "in_percent",
    "notebook_map",
    "open_data",
    "read_settings",
    "read_study",
    "show",
]
