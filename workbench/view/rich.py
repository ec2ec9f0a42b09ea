"""How objects of the core show themselves in a notebook, without the core knowing of HTML.

The page itself is made in :mod:`workbench.view.html`, which is imported when a notebook asks for it.
"""

from __future__ import annotations


class Rich:
    """Shown in a notebook as a page, and as its ``repr`` everywhere else."""

    def _repr_html_(self) -> str:
        from workbench.view.html import page  # the core never needs it

        return page(self)
