"""Mistakes that stand in no list: small hooks, each with the stage of the chain in which the audit must find it."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from workbench.core.agents import adam
from workbench.core.envs.treasurehunt import AGENT
from workbench.core.train.hooks import Hook
from workbench.diagnose.faults.fault import override

MISTAKES: dict[str, tuple[type, str]] = {}
"""Every mistake by its name: its hook, and the stage that must be named."""


def mistake(stage: str) -> Callable[[type], type]:
    """Put a hook on the list, with the stage that it makes wrong."""

    def listed(kind: type) -> type:
        MISTAKES[kind.__name__] = kind, stage
        return kind

    return listed


# --- the acting side -----------------------------------------------------------------------------------------------


class Acting(Hook):
    """Changes one policy, or all."""

    def on_collector(self, collector, parts):
        for agent, policy in enumerate(collector.policies):
            self.change(policy, agent, collector, parts)

    def change(self, policy, agent, collector, parts) -> None:
        raise NotImplementedError


@mistake("forward")
class NewestFrameFirst(Acting):
    """The policy's network sees its frames newest first."""

    def change(self, policy, agent, collector, parts):
        override(policy.network, "encode", lambda encode, state: encode(state.flip(1)))


@mistake("forward")
class EncodingShifted(Acting):
    """The actor alone reads every code as the next one."""

    def change(self, policy, agent, collector, parts):
        override(policy.network, "encode", lambda encode, state: encode(state + 1))


@mistake("forward")
class OneLayerStale(Acting):
    """The actor's last layer stays at the weights of the first sync."""

    def change(self, policy, agent, collector, parts):
        kept: dict[str, Any] = {}

        def q(original, device):
            if not kept:
                kept["weight"] = policy.network.head.weight.detach().clone()
            held = policy.network.head.weight.data
            policy.network.head.weight.data = kept["weight"]
            found = original(device)
            policy.network.head.weight.data = held
            return found

        override(policy, "q", q)


@mistake("exploration stream")
class SharedStream(Acting):
    """All agents explore with the stream of agent 0."""

    def change(self, policy, agent, collector, parts):
        policy._exploration = collector.policies[0]._exploration


@mistake("exploration stream")
class StreamReset(Acting):
    """Every epoch explores with the same random numbers."""

    def change(self, policy, agent, collector, parts):
        state = policy._exploration.bit_generator.state
        if agent == 0:

            def reset(original):
                for each in collector.policies:
                    each._exploration.bit_generator.state = kept[id(each)]
                original()

            override(collector.world, "reset", reset)
        kept[id(policy)] = state


kept: dict[int, Any] = {}


@mistake("acting draws")
class FractionsFixed(Acting):
    """The quantile fractions of acting never change."""

    def change(self, policy, agent, collector, parts):
        override(policy, "draw", lambda draw, rng, host: (draw(rng, host), host["tau"].fill(0.5))[0])


@mistake("choice")
class EpsilonHalved(Acting):
    """Actions are random half as often as epsilon says."""

    def change(self, policy, agent, collector, parts):
        override(policy, "act", lambda act, stack, epsilon: act(stack, epsilon / 2))


@mistake("stored")
class RewardOneTurnLate(Hook):
    """Rewards are stored one turn late."""

    def on_collector(self, collector, parts):
        for replay in collector.replays:
            last = [np.zeros(replay._worlds, np.float32)]

            def write(original, turn, reward, *ends, last=last):
                late, last[0] = last[0], reward.copy()
                original(turn, late if turn else np.zeros_like(reward), *ends)

            override(replay, "write_outcome", write)


@mistake("stored")
class ActionOfAnother(Hook):
    """Agent 1's rows have the actions of agent 0."""

    def on_collector(self, collector, parts):
        first = collector.replays[0]
        seen = {}

        def remember(write, turn, action, *rest):
            seen["action"] = action.copy()
            write(turn, action, *rest)

        override(first, "write_step", remember)
        for replay in collector.replays[1:]:
            override(replay, "write_step", lambda write, turn, action, *rest: write(turn, seen["action"], *rest))


@mistake("return")
class DiscountOff(Hook):
    """Rows are discounted by 0.1 % too little."""

    def on_collector(self, collector, parts):
        for replay in collector.replays:
            replay._gamma *= 1.001


@mistake("world")
class WallsAreFree(Hook):
    """Walking into a wall costs nothing."""

    def on_collector(self, collector, parts):
        collector.world._values[2] = 0


# --- the learning side ---------------------------------------------------------------------------------------------


class Learning(Hook):
    """Changes every learner's agent."""

    def on_trainer(self, trainer, parts):
        for index, agent in trainer.agents.items():
            self.change(agent, trainer, index)

    def change(self, agent, trainer, index) -> None:
        raise NotImplementedError


@mistake("rows drawn")
class OneBatch(Learning):
    """All updates of an epoch use the rows of its first one."""

    def change(self, agent, trainer, index):
        sampler, held = trainer.samplers[index], SimpleNamespace(key=None, rows=None)

        def draw(original, low, high, count):
            rows = original(low, high, count)
            if held.key != high:
                held.key, held.rows = high, rows
            return held.rows

        override(sampler, "draw", draw)


@mistake("rows drawn")
class NewestHalf(Learning):
    """Rows come from the newer half of the window only."""

    def change(self, agent, trainer, index):
        override(trainer.samplers[index], "draw", lambda draw, low, high, n: draw((low + high) // 2, high, n))


@mistake("target")
class OnlineTarget(Learning):
    """The online network values the action that is bootstrapped from."""

    def change(self, agent, trainer, index):
        agent.target = agent.online


@mistake("target")
class GammaOffInTarget(Learning):
    """The target's discounts are 0.3 % too small, in the update alone."""

    def change(self, agent, trainer, index):
        def targets(original, staged, rows):
            return original({**staged, "discount_t": staged["discount_t"] * 0.997}, rows)

        override(agent, "_targets", targets)


@mistake("loss")
class LossHalved(Learning):
    """The loss of a row is half of what it is due."""

    def change(self, agent, trainer, index):
        override(agent, "row_losses", lambda losses, *about: (lambda a, b, c: (a / 2, b, c))(*losses(*about)))


@mistake("adam")
class BetaChanged(Learning):
    """Adam's first moment decays by 0.8."""

    def change(self, agent, trainer, index):
        def step(original, gradient):
            before, adam.BETA1 = adam.BETA1, 0.8
            original(gradient)
            adam.BETA1 = before

        override(agent.optimizer, "step", step)


@mistake("clip")
class NormIgnored(Learning):
    """Gradients are not clipped."""

    def change(self, agent, trainer, index):
        def step(original, gradient):
            norm = float(agent._norm)
            gradient.mul_(max(norm, 1e-12) / min(max(norm, 1e-12), agent.config.learning.grad_clip))
            original(gradient)

        real = torch.linalg.vector_norm

        def descend(original):
            def norm(vector):
                agent._norm = real(vector)
                return agent._norm

            torch.linalg.vector_norm = norm
            try:
                return original()
            finally:
                torch.linalg.vector_norm = real

        override(agent.optimizer, "step", step)
        override(agent, "_descend", descend)


@mistake("adam")
class LayerLeftOut(Learning):
    """What the optimiser does to the first layer is undone."""

    def change(self, agent, trainer, index):
        def step(original, gradient):
            before = agent.online.psi.weight.detach().clone()
            original(gradient)
            agent.online.psi.weight.data.copy_(before)

        override(agent.optimizer, "step", step)


@mistake("adam")
class RateOff(Learning):
    """Every step is a tenth longer than it should be."""

    def change(self, agent, trainer, index):
        def step(original, gradient):
            agent.optimizer.learning_rate.mul_(1.1)
            original(gradient)

        override(agent.optimizer, "step", step)


@mistake("target update")
class TauDoubled(Learning):
    """The target network follows twice as fast."""

    def change(self, agent, trainer, index):
        def follow(original):
            original()
            agent.parameters.target.lerp_(agent.parameters.online, agent.config.learning.tau)

        override(agent, "update_target", follow)


class BeforeUpdates(Hook):
    """Changes something of an agent before each epoch's updates."""

    def on_trainer(self, trainer, parts):
        def learn(original, index, *about):
            self.change(trainer, index)
            original(index, *about)

        override(trainer, "learn", learn)

    def change(self, trainer, index) -> None:
        raise NotImplementedError


@mistake("adam")
class MomentsLostEachEpoch(BeforeUpdates):
    """Adam's moments are set to 0; its count of steps is kept."""

    def change(self, trainer, index):
        optimizer = trainer.agents[index].optimizer
        optimizer.exp_avg.zero_()
        optimizer.exp_avg_sq.zero_()


@mistake("target update")
class TargetOverwrittenEachEpoch(BeforeUpdates):
    """The target network is overwritten by the online network; it follows softly besides."""

    def change(self, trainer, index):
        parameters = trainer.agents[index].parameters
        parameters.target.copy_(parameters.online)


@mistake("adam")
class PublishedTakenBack(BeforeUpdates):
    """A learner takes back what it published before the last updates."""

    def change(self, trainer, index):
        store, parameters = trainer.stores[index], trainer.agents[index].parameters
        if store.newest > 0:
            vector = np.empty(2 * parameters.layout.size, np.float32)
            store.read(vector, store.newest - 1)
            parameters.load(vector)


@mistake("rows drawn")
class EvenRows(Learning):
    """Only rows of even numbers are drawn."""

    def change(self, agent, trainer, index):
        override(trainer.samplers[index], "draw", lambda draw, low, high, count: draw(low, high, count) // 2 * 2)


@mistake("world")
class TrailLeft(Hook):
    """A move does not clear the cell that an agent leaves."""

    def on_collector(self, collector, parts):
        world = collector.world

        def act(original, agent, actions):
            origin = world._positions[agent].copy()
            original(agent, actions)
            world._flat[origin] = AGENT

        override(world, "act", act)


@mistake("publication")
class PreviousPublished(Learning):
    """What is published are the weights of the publication before."""

    def change(self, agent, trainer, index):
        held = {}

        def snapshot(original, out):
            original(out)
            now = out.copy()
            if "last" in held:
                out[...] = held["last"]
            held["last"] = now

        override(agent, "snapshot", snapshot)


@mistake("learning draws")
class FractionsNarrow(Learning):
    """The fractions of an update lie between a quarter and three quarters."""

    def change(self, agent, trainer, index):
        def draw(original, rng, host):
            original(rng, host)
            host["tau_tm1"][...] = 0.25 + host["tau_tm1"] / 2

        override(agent, "draw", draw)


@mistake("sync")
class OtherAgentsWeights(Hook):
    """Agent 1 acts with the weights of agent 0."""

    def on_collector(self, collector, parts):
        override(collector.policies[1], "load", lambda load, vector: load(collector.vectors[0]))


@mistake("loss")
class OtherKappa(Learning):
    """The Huber loss bends at another error."""

    def change(self, agent, trainer, index):
        agent.arguments = dataclasses.replace(agent.arguments, huber_kappa=2.0)


@mistake("stack")
class StackReversed(Hook):
    """The actor's stacks are newest first."""

    def on_collector(self, collector, parts):
        for replay in collector.replays:
            override(replay, "newest_stack", lambda stack, turn: stack(turn)[:, ::-1].copy())
