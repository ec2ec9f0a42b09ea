"""Agents that act at once, and policies that act together on the CPU, in a module that a child can import."""

import dataclasses
from dataclasses import dataclass

from workbench.core.envs.treasurehunt import TreasurehuntConfig
from workbench.core.train.hooks import Hook
from workbench.zoo.together import TogetherPolicies


@dataclass(frozen=True)
class AtOnce(TreasurehuntConfig):
    """The treasure hunt, in which nobody sees what the others do before it has acted itself."""

    def spec(self):
        return dataclasses.replace(super().spec(), at_once=True)


class ActsTogether(Hook):
    """Has the agents act together as on a card."""

    def on_collector(self, collector, parts):
        collector.act_together = TogetherPolicies(collector.policies)
