"""Figures for reports, from run folders alone: curves with intervals over seeds, captions, and tables of the numbers.

    import workbench as wb  # which knows all worlds and agents; this folder alone knows those of the core

    report = wb.report.make("data/runs", columns="single")
    report["greedy_reward"]          # in a notebook: the figure
    report.save("data/report")       # PDF, SVG, PNG, captions, LaTeX and Markdown tables

:data:`~workbench.report.make.FIGURES` lists what can be drawn, and is where a further figure is registered.
"""

from workbench.report.make import FIGURES, Report, make
from workbench.report.material import ReportFigure
from workbench.report.selection import ReportError
from workbench.runs.table import Table

__all__ = ["FIGURES", "Report", "ReportError", "ReportFigure", "Table", "make"]
