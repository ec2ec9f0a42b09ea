"""A sweep in a notebook: the table of its cells, and below it a panel of those that have begun, live until the end."""

from typing import TYPE_CHECKING

from IPython.display import display

from workbench.runs.loaded import classes_of, readable
from workbench.view.html import failure
from workbench.view.panel.panel import Panel
from workbench.view.panel.watching import Watcher

if TYPE_CHECKING:
    from workbench.sweep.sweep import Sweep

# Runs in the panel: those that began last. As many are drawn without a jerk.
MOST_RUNS = 10
# Seconds between two looks, and the share of a core that looks may take from the runs.
REFRESH_S, SHARE = 1.0, 0.05


class LiveSweep:
    """What a notebook shows of a sweep.

    Attributes:
        panel: of the cells that have begun; None while there are none.
    """

    def __init__(self, sweep: "Sweep") -> None:
        """Show the table, leave a place for the panel and one for its picture, and begin to watch."""
        self.panel: Panel | None = None
        self._sweep, self._shown, self._over, words = sweep, set[str](), False, (repr(sweep), "", "")
        places = [display({"text/plain": each}, raw=True, display_id=True) for each in words]
        self._table, self._charts, self._picture = places
        self._watcher = Watcher(self._look, self._give_up, "sweep", REFRESH_S, SHARE)

    def finish(self) -> None:
        """Show the end at once."""
        self._watcher.close()
        if not self._over:
            self._look()

    def _look(self) -> bool:
        """Bring table and panel up to date; whether nothing more will come."""
        over, table, rows = self._sweep.ended, self._sweep.table, self._sweep.rows  # the last has everything
        self._table.update({"text/html": table.html, "text/plain": f"<Sweep {table.caption}>"}, raw=True)
        begun = {row["run"] for row in rows if row["status"] in ("running", "finished")} | self._shown
        shown = [cell for cell in self._sweep.cells if cell.name in begun][-MOST_RUNS:]
        if over or {cell.name for cell in shown} != self._shown:
            self._shown = {cell.name for cell in shown}
            runs = readable((cell.path, classes_of(cell.config)) for cell in shown)
            if self.panel and runs:
                self.panel.follow(runs)
            elif runs:
                self.panel = Panel(runs)
                self.panel.sweep = self._sweep
                self.panel.show(self._charts.update)
        if over and self.panel:
            self.panel.leave_picture(self._picture)
        self._over = over
        return over

    def _give_up(self, error: Exception) -> None:
        self._table.update({"text/html": failure("the table stands still; the sweep continues", repr(error))}, raw=True)
