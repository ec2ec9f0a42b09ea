"""How the device computes an update: the precision of its matrix products, and a CUDA graph in place of many launches.

A network of the default size is so small that a card waits for the next launch most of the time. All of an update that
the device does has the same shapes and addresses every time, so it is captured once as a graph and replayed: batches,
random numbers and step sizes come in through tensors that are filled before. The first updates are made as always, then
one is captured for each set of agents that are due together. Where a capture fails, the updates continue without.
"""

import functools
import time
import timeit
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from workbench.core.agents.products import linear
from workbench.core.agents.staging import resolve_device
from workbench.core.agents.value_agent import EpsilonGreedy, ValueAgent
from workbench.core.config import Config
from workbench.core.processes.worker import Parts
from workbench.core.records import RecordTable
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.runs.sentences import beside
from workbench.zoo.fused import FusedLearner
from workbench.zoo.together import TogetherPolicies, together

WARM_UPS = 3  # updates before the capture: libraries make their plans and workspaces in the first ones
SIDES, TRIES = {"cuda": 4096}, 5  # of the products that are timed: rows and columns that fill a card; and how often


# What is told of the device, by name, and all words that a run's warnings may have, recorded by their places.
TOLD: dict[str, str] = beside(__file__)
WARNINGS = ("", *TOLD.values())
_WARNED = np.dtype([("time", "<f8"), ("agent", "<i4"), ("warning", "<i4")])


class Graph:
    """CUDA's part, which tests replace."""

    def __init__(self) -> None:
        self._graph, self._stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch

    def warm_up(self, work: Callable[[], Any]) -> Any:
        """Do work on the stream of the capture: one stream, as each would keep memory of its own."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            done = work()
        current.wait_stream(self._stream)
        return done

    def capture(self, work: Callable[[], Any]) -> Any:
        """Note down what work asks of the device, which does none of it yet; the tensors that replays fill."""
        with torch.cuda.graph(self._graph, stream=self._stream):
            return work()

    def replay(self) -> None:
        """Have the device do it, with what the tensors that it reads hold now."""
        self._graph.replay()


class Replayed:
    """Work for the device that is captured once for each key, and replayed.

    Args:
        work: what is done; all that it reads and writes keeps its address. It returns tensors.
        failed: called with the reason where it cannot be captured; from then on it is done as it is.
    """

    def __init__(self, work: Callable[..., Any], failed: Callable[[Exception], object]) -> None:
        self._work, self._failed, self._given_up = work, failed, False
        self._done = Counter[Hashable]()
        self._graphs = defaultdict[Hashable, Graph](lambda: Graph())
        self._outputs: dict[Hashable, Any] = {}

    def __call__(self, *key: Hashable) -> Any:
        """Do the work; what it returns is new each time."""
        work = functools.partial(self._work, *key)
        if self._given_up:
            return work()
        graph = self._graphs[key]
        self._done[key] += 1
        if self._done[key] <= WARM_UPS:
            return graph.warm_up(work)
        if key not in self._outputs:
            try:
                self._outputs[key] = graph.capture(work)
            except RuntimeError as error:
                self._given_up = True
                self._failed(error)
                return work()
        graph.replay()
        outputs = self._outputs[key]
        return tuple(each.clone() for each in outputs) if isinstance(outputs, tuple) else outputs.clone()


class OnDevice(Hook):
    """Sets how a run's processes compute. Give it before what watches them."""

    tables: ClassVar = {"device": RecordTable(_WARNED, 256, words={"warning": WARNINGS})}

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether anything is done otherwise than by default."""
        default = config.learning.precision == "float32" and config.processes.matmul_precision == "highest"
        return not default or resolve_device(config.device).type == "cuda" or together(config)

    def on_parts(self, parts: Parts) -> None:
        """Set the precision of float32 products in this process, those of convolutions included."""
        precision = parts.config.processes.matmul_precision
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = precision == "high"  # which it is by default

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Have agents that act at once on a card do so in one forward pass."""
        if together(collector.config):
            collector.act_together = TogetherPolicies([p for p in collector.policies if isinstance(p, EpsilonGreedy)])

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Set the precision of the updates' products, and have the updates captured."""
        learning = trainer.config.learning
        agents = [agent for agent in trainer.agents.values() if isinstance(agent, ValueAgent)]

        def tell(what: str, why: object) -> None:
            print(f"{TOLD[what]}: {why}", flush=True)
            parts.channel["device"].write(time=time.time(), agent=-1, warning=WARNINGS.index(TOLD[what]))

        if learning.precision == "bfloat16" and agents:
            for agent in agents:
                in_bfloat16(agent)
            if (ratio := cost_of_bfloat16(agents[0].device)) > 1:
                tell("slow_bfloat16", f"{ratio:.1f} times as long")
        if learning.capture == "auto" and agents and agents[0].device.type == "cuda":
            owners: Sequence[Any] = [trainer.learner] if isinstance(trainer.learner, FusedLearner) else agents
            for owner in owners:
                owner.descend = Replayed(owner.descend, functools.partial(tell, "not_captured"))


def in_bfloat16(agent: ValueAgent) -> None:
    """Have an agent's updates compute matrix products in bfloat16, and all else in float32."""
    original = agent.row_losses

    def row_losses(staged: Mapping[str, Tensor], rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """The losses, under autocast; nothing is cached, as a captured graph would read it for ever."""
        with torch.autocast(agent.device.type, torch.bfloat16, cache_enabled=False):
            return original(staged, rows)

    agent.row_losses = row_losses  # type: ignore[method-assign]
    for layer in (*agent.online.modules(), *agent.target.modules()):
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda layer, inputs, product: product.to(inputs[0].dtype))


def cost_of_bfloat16(device: torch.device) -> float:
    """How long a product of matrices takes in bfloat16 on a device, in float32's time: the best of a few tries."""
    took, side = {}, SIDES.get(device.type, 384)
    for dtype in (torch.float32, torch.bfloat16):
        one = torch.ones((side, side), dtype=dtype, device=device)
        waited = "float(linear(one, one)[0, 0])"  # to look at a number waits for the device
        took[dtype] = min(timeit.repeat(waited, globals={"linear": linear, "one": one}, number=1, repeat=TRIES))
    return took[torch.bfloat16] / took[torch.float32]
