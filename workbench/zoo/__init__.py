"""What is not ours, in the same plumbing: environments of other libraries, further agents and samplers.

And the other way round: :func:`treasurehunt_env` is Treasurehunt for other libraries.
"""

from typing import Any


def treasurehunt_env(render_mode: str | None = None, **arguments: Any) -> Any:
    """Treasurehunt as a parallel environment of PettingZoo.

    Args:
        render_mode: "rgb_array", (height, width, 3) uint8, "ansi", a text, or None.
        arguments: of the world, such as ``num_agents=3``; also ``max_gems`` and ``shaping`` of
            :class:`workbench.zoo.sparse.SparseConfig`.

    Raises:
        ImportError: PettingZoo is not installed.
        ConfigError: an argument is unknown or refused.
    """
    try:
        from workbench.zoo.treasurehunt import TreasurehuntEnv
    except ModuleNotFoundError as error:
        raise ImportError(f'{error.name} is not installed; it comes with pip install -e ".[worlds]"') from error
    return TreasurehuntEnv(render_mode, **arguments)
