"""What a user would write to measure something: in a hook or in an agent, one line makes that a curve."""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from workbench.core.agents.iqn_agent import IQNConfig
from workbench.core.records import POINT, Metric, RecordTable
from workbench.core.train.hooks import Hook


class WeightNorm(Hook):
    """Records how large the weights of each agent are whenever they are published."""

    tables: ClassVar = {"weights": RecordTable(POINT, axis="update")}
    metrics = (Metric("weights/norm", "weights", "norm", "1", "Euclidean norm of an agent's online weights."),)

    def on_trainer(self, trainer, parts):
        publish = trainer.publish

        def measured_publish(index, epoch):
            agent = trainer.agents[index]
            norm = float(torch.linalg.vector_norm(agent.parameters.vector))
            parts.channel["weights"].write(time=time.time(), agent=index, epoch=epoch, update=agent.updates, norm=norm)
            publish(index, epoch)

        trainer.publish = measured_publish


@dataclass(frozen=True)
class WatchedIQN(IQNConfig):
    """The built-in agent, which says that its updates return one number more."""

    metrics: ClassVar = (Metric("weights/spread", "updates", "spread", "1", "Standard deviation of all weights."),)


class Spread(Hook):
    """Returns that number with every update, as an agent of one's own would."""

    def on_trainer(self, trainer, parts):
        for agent in trainer.agents.values():
            agent.update = self._measured(agent, agent.update)

    def _measured(self, agent, update):
        return lambda rate: torch.cat((update(rate), agent.parameters.vector.std()[None]))
