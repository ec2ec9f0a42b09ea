"""Mistakes that stand in no list: small hooks, each with the stage of the chain in which the audit must find it.

Each has in ``changes`` the settings that its run takes.
"""

import dataclasses
from collections.abc import Callable, Mapping
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
PRIORITISED = {"replay.sampler": "prioritised"}
RETRACE = {"agent": "dqn", "agent.width": 32, "learning.correction": "retrace"}
CART_POLE = {
    "world": "gymnasium:CartPole-v1", "world.max_turns": 40, "agent": "dqn", "agent.width": 32,
    "replay.capacity": 400, "replay.window": 320,
}  # fmt: skip
PICTURES = {
    **CART_POLE, "world": "gymnasium:tests.unit.own_environments:Pictures", "agent": "iqn", "agent.width": 16,
    "agent.num_frames": 3,
}  # fmt: skip
LARGE_PICTURES = {**PICTURES, "world.env_args": {"shape": [36, 36]}}
FIRST_CHANNELS = {
    **PICTURES, "world.env_args": {"shape": [3, 6, 5]}, "agent": "dqn", "agent.dueling": True, "agent.noisy": True,
}  # fmt: skip
EIGHT_WORLDS = {
    "world.num_worlds": 8, "replay.capacity": 3200, "replay.window": 1600, "replay.learning_starts": 320,
}  # fmt: skip


def mistake(stage: str, changes: Mapping[str, Any] | None = None) -> Callable[[type], type]:
    """Put a hook on the list, with the stage that it makes wrong, and settings without which there is no such stage."""

    def listed(kind: Any) -> type:
        kind.changes = dict(changes or {})
        MISTAKES[kind.__name__] = kind, stage
        made: type = kind
        return made

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
        override(agent, "descend", descend)


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


# --- prioritised replay, the n-step window, worlds of other rules ----------------------------------------------------


@mistake("rows drawn", PRIORITISED)
class UniformForPriorities(Learning):
    """A prioritised sampler draws uniformly; weights are those of the priorities."""

    def change(self, agent, trainer, index):
        sampler = trainer.samplers[index]

        def draw(original, low, high, count):
            original(low, high, count)
            return sampler.rng.integers(sampler.low, sampler.high, count)

        override(sampler, "draw", draw)


@mistake("priorities", PRIORITISED)
class StaleErrors(Learning):
    """Priorities are made of the errors of the update before."""

    def change(self, agent, trainer, index):
        held = []

        def errors(original):
            held.append(original().copy())
            return held[max(0, len(held) - 2)]

        override(agent, "td_errors", errors)


@mistake("priorities", PRIORITISED)
class NewRowsSmall(Learning):
    """New rows come with a small priority in place of the largest."""

    def change(self, agent, trainer, index):
        sampler = trainer.samplers[index]

        def move(original, low, high):
            first = max(sampler.low, sampler.high)
            original(low, high)
            if high > first:
                sampler.tree.set(np.arange(first, high) % sampler.window, 0.05)

        override(sampler, "_move", move)


@mistake("batch", RETRACE)
class WindowProbabilities(Learning):
    """The n-step window says that every action was certain."""

    def change(self, agent, trainer, index):
        def read(original, out):
            original(out)
            out.probabilities[out.probabilities > 0] = 1

        override(trainer.replays[index], "read", read)


@mistake("batch", RETRACE)
class WindowRewardsLate(Learning):
    """The rewards of the n-step window are one turn late."""

    def change(self, agent, trainer, index):
        def read(original, out):
            original(out)
            out.rewards[:, 1:] = out.rewards[:, :-1].copy()
            out.rewards[:, 0] = 0

        override(trainer.replays[index], "read", read)


class Clipped(Learning):
    """Shortens the gradient in a way of its own."""

    def change(self, agent, trainer, index):
        held, real = {}, torch.linalg.vector_norm

        def descend(original):
            def norm(vector):
                held["gradient"] = vector.clone()
                return real(vector)

            torch.linalg.vector_norm = norm
            try:
                return original()
            finally:
                torch.linalg.vector_norm = real

        def step(original, gradient):
            gradient.copy_(held["gradient"])
            self.shorten(agent, gradient)
            original(gradient)

        override(agent, "descend", descend)
        override(agent.optimizer, "step", step)

    def shorten(self, agent, gradient) -> None:
        raise NotImplementedError


@mistake("clip")
class ClippedByLayer(Clipped):
    """Each parameter's gradient is clipped by its own norm, not all by the one that they have together."""

    def shorten(self, agent, gradient):
        for part in agent.parameters.layout.views(gradient).values():
            part *= min(1.0, agent.config.learning.grad_clip / max(float((part**2).sum().sqrt()), 1e-12))


@mistake("clip")
class ClippedByValue(Clipped):
    """Gradients are clipped number by number."""

    def shorten(self, agent, gradient):
        gradient.clamp_(-0.05, 0.05)


@mistake("sync")
class ReloadedMidEpoch(Hook):
    """The actor takes the newest weights again in the middle of each epoch."""

    def on_collector(self, collector, parts):
        turns = [0]

        def begin(original):
            if turns[0] % parts.config.max_turns == parts.config.max_turns // 2:
                for store, policy, vector in zip(collector.stores, collector.policies, collector.vectors, strict=True):
                    store.read(vector, None)
                    policy.load(vector)
            turns[0] += 1
            original()

        override(collector.world, "begin_turn", begin)


class OtherTurns(Hook):
    """The world answers otherwise than it should."""

    def on_collector(self, collector, parts):
        override(collector.world, "end_turn", lambda end: self.other(end()))

    def other(self, turn):
        raise NotImplementedError


@mistake("world", EIGHT_WORLDS)
class LaterWorldsPayNothing(OtherTurns):
    """Of eight copies of the world the last four pay nothing."""

    def other(self, turn):
        return turn._replace(rewards=np.where(np.arange(8) < 4, turn.rewards, np.float32(0)))


@mistake("world", {"world": "treasurehunt_sparse", "world.shaping": 1.0})
class ShapingInverted(OtherTurns):
    """The shaped world pays with the wrong sign."""

    def other(self, turn):
        return turn._replace(rewards=-turn.rewards)


@mistake("world", CART_POLE)
class LastRewardLost(OtherTurns):
    """The world pays nothing in the turn in which an episode ends."""

    def other(self, turn):
        return turn._replace(rewards=np.where(turn.terminated, np.float32(0), turn.rewards))


@mistake("world", CART_POLE)
class TerminationTakenForTruncation(OtherTurns):
    """An episode's natural end is handed on as a cut."""

    def other(self, turn):
        return turn._replace(truncated=turn.truncated | turn.terminated, terminated=np.zeros_like(turn.terminated))


@mistake("world's draws")
class GemsOnTheLeft(Hook):
    """Gems appear in the left half of the world only, twice as often."""

    def on_collector(self, collector, parts):
        world = collector.world

        def begin(original):
            before = world.cells.copy()
            original()
            original()
            half = world.cells.shape[2] // 2
            world.cells[:, :, half:] = before[:, :, half:]

        override(world, "begin_turn", begin)


@mistake("observe", CART_POLE)
class ObservationLate(Hook):
    """The world shows what its environment showed the turn before."""

    def on_collector(self, collector, parts):
        held = {}

        def observe(original, agent):
            now = np.array(original(agent))
            before = held.get("frame", now)
            held["frame"] = now
            return before

        override(collector.world, "observe", observe)


@mistake("world", CART_POLE)
class ResetTurnCounts(OtherTurns):
    """The agent is said to take part in the turn in which a new episode begins."""

    def other(self, turn):
        return turn._replace(valid=np.ones_like(turn.valid))


@mistake("rows drawn", CART_POLE)
class EvenRowsOfEpisodes(EvenRows):
    """Only rows of even numbers are drawn, in a world whose episodes end."""


@mistake("rows drawn", CART_POLE | PRIORITISED)
class UniformOfEpisodes(UniformForPriorities):
    """A prioritised sampler draws uniformly, in a world whose episodes end."""


@mistake("rows drawn", {"replay.max_age": 3})
class NewestHalfOfYoung(NewestHalf):
    """With a largest age, rows come from the newer half of the window only."""


@mistake("adam")
class LargestMoment(Learning):
    """Steps are divided by the largest second moment so far (AMSGrad)."""

    def change(self, agent, trainer, index):
        held = {}

        def step(original, gradient):
            weights, moments = agent.optimizer.weights.clone(), agent.optimizer
            original(gradient)
            held["most"] = torch.maximum(held.get("most", moments.exp_avg_sq), moments.exp_avg_sq)
            one, two = (1 - beta ** float(moments.steps) for beta in (adam.BETA1, adam.BETA2))
            way = moments.exp_avg / one / ((held["most"] / two).sqrt() + moments.eps)
            moments.weights.copy_(weights - moments.learning_rate * way)

        override(agent.optimizer, "step", step)


@mistake("rows drawn", PRIORITISED)
class OlderHalfForgotten(NewestHalf):
    """A prioritised sampler has no priorities for the older half of its window."""


@mistake("world", {"world": "pettingzoo:mpe2.simple_spread_v3", "world.max_turns": 25, "agent": "dqn"})
class ActionsExchanged(Hook):
    """Two agents of a world of PettingZoo act with each other's actions."""

    def on_collector(self, collector, parts):
        override(collector.world, "act", lambda act, agent, actions: act({0: 1, 1: 0}.get(agent, agent), actions))


# --- between the loss and Adam; where the target network begins ------------------------------------------------------


@mistake("gradient")
class DecayInGradient(Learning):
    """A little of each weight is added to its gradient, before that is clipped."""

    def change(self, agent, trainer, index):
        def accumulate(original, rows):
            found = original(rows)
            agent.parameters.gradient.add_(agent.parameters.online, alpha=1e-3)
            return found

        override(agent, "accumulate", accumulate)


@mistake("clip")
class SignHandedOn(Learning):
    """Adam is given the signs of the clipped gradient, all of one size."""

    def change(self, agent, trainer, index):
        def step(original, gradient):
            gradient.copy_(gradient.sign() * gradient.abs().mean())
            original(gradient)

        override(agent.optimizer, "step", step)


@mistake("clip")
class WeightsClippedAlone(Clipped):
    """Clipping leaves out the biases."""

    def shorten(self, agent, gradient):
        factor = agent.config.learning.grad_clip / max(float((gradient**2).sum().sqrt()), 1e-12)
        for name, part in agent.parameters.layout.views(gradient).items():
            part *= 1.0 if name.endswith("bias") else min(1.0, factor)


@mistake("clip")
class ClippedByLargest(Clipped):
    """Gradients are clipped by their largest number, not by their length."""

    def shorten(self, agent, gradient):
        gradient *= min(1.0, agent.config.learning.grad_clip / max(float(gradient.abs().max()), 1e-12))


@mistake("clip", {"processes.learners": "fused"})
class ClippedTogether(Hook):
    """A learner that updates all agents at once clips them by the length that they have together."""

    def on_trainer(self, trainer, parts):
        trainer.learner.batched = True  # as on a card: on a CPU it updates one after the other
        real = torch.linalg.vector_norm

        def descend(original, groups):
            torch.linalg.vector_norm = lambda gradients, dim: real(gradients).expand(len(gradients))
            try:
                return original(groups)
            finally:
                torch.linalg.vector_norm = real

        override(trainer.learner, "descend", descend)


@mistake("target update")
class TargetOfItsOwn(Learning):
    """The target network begins with other weights than the online network."""

    def change(self, agent, trainer, index):
        agent.parameters.target.mul_(1.1)


# --- networks of images ----------------------------------------------------------------------------------------------


def torso_of(network):
    """The convolutions, and the layer behind them, of either agent's network."""
    return network.psi if hasattr(network, "psi") else network.first


def of_torso(agent, vector):
    """The part of each parameter of the torso in a vector."""
    views = agent.parameters.layout.views(vector)
    return {name: part for name, part in views.items() if name.startswith(("psi.", "first."))}


@mistake("forward", PICTURES)
class ColoursReversed(Acting):
    """The policy's network sees the channels of each image in the wrong order: blue, green, red."""

    def change(self, policy, agent, collector, parts):
        override(policy.network, "encode", lambda encode, state: encode(state.flip(-1)))


@mistake("forward", FIRST_CHANNELS)
class FramesForColours(Acting):
    """The policy's network sees all frames of the first colour first, not all colours of the oldest frame."""

    def change(self, policy, agent, collector, parts):
        override(policy.network, "encode", lambda encode, state: encode(state.transpose(1, 2).contiguous()))


@mistake("forward", FIRST_CHANNELS)
class PixelsOver256(Acting):
    """The policy takes pixels over 256, the learner over 255."""

    def change(self, policy, agent, collector, parts):
        override(policy.network, "encode", lambda encode, state: encode(state) * (255 / 256))


@mistake("forward", LARGE_PICTURES)
class StridesSwapped(Acting):
    """The policy's first convolution goes by 2 and its second by 4, which ends in as many numbers."""

    def change(self, policy, agent, collector, parts):
        torso = torso_of(policy.network)
        torso[0].stride, torso[2].stride = torso[2].stride, torso[0].stride


@mistake("values", LARGE_PICTURES)
class ReluMissing(Learning):
    """There is no relu between the learner's first two convolutions."""

    def change(self, agent, trainer, index):
        for network in (agent.online, agent.target):
            torso_of(network)[1] = torch.nn.Identity()


@mistake("target", PICTURES)
class TargetSeesTransposed(Learning):
    """The target network alone sees each image's rows as columns."""

    def change(self, agent, trainer, index):
        def forward(original, inputs):
            images = inputs.reshape(len(inputs), 3, 5, 6, 3).transpose(2, 3)
            return original(images.reshape(len(inputs), -1))

        override(torso_of(agent.target), "forward", forward)


@mistake("gradient", PICTURES)
class ConvolutionNotLearned(Learning):
    """The gradient of the convolution's weights is dropped."""

    def change(self, agent, trainer, index):
        def accumulate(original, rows):
            found = original(rows)
            of_torso(agent, agent.parameters.gradient)["psi.0.weight"].zero_()
            return found

        override(agent, "accumulate", accumulate)


@mistake("gradient", FIRST_CHANNELS | RETRACE)
class TorsoSlowed(Learning):
    """Gradients of the torso are a tenth smaller than they should be."""

    def change(self, agent, trainer, index):
        def accumulate(original, rows):
            found = original(rows)
            for part in of_torso(agent, agent.parameters.gradient).values():
                part *= 0.9
            return found

        override(agent, "accumulate", accumulate)


@mistake("adam", FIRST_CHANNELS)
class ConvolutionLeftOut(Learning):
    """What the optimiser does to the convolution is undone."""

    def change(self, agent, trainer, index):
        def step(original, gradient):
            weight = torso_of(agent.online)[0].weight
            before = weight.detach().clone()
            original(gradient)
            weight.data.copy_(before)

        override(agent.optimizer, "step", step)


@mistake("target update", LARGE_PICTURES)
class TargetsTorsoLeftOut(Learning):
    """The target network's torso stays as it is."""

    def change(self, agent, trainer, index):
        def follow(original):
            torso = of_torso(agent, agent.parameters.target)
            before = {name: part.clone() for name, part in torso.items()}
            original()
            for name, part in torso.items():
                part.copy_(before[name])

        override(agent, "update_target", follow)
