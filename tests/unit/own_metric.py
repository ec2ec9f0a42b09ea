"""A hook as a user would write it: it measures something of its own, and one line makes that a curve."""

import time
from typing import ClassVar

import torch

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
