"""No sound trainer is accused, in whatever style it is written, and mistakes in such trainers are still found."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import workbench as wb
from tests.watch.sound import GAMMA, Buffer, Chase, Trainer, drawn_to, network, soften, step, values

NOTHING = lambda trainer: None  # noqa: E731


def plain(watch):
    Trainer(watch).run()


def loss_logged_now_and_then(watch):
    Trainer(watch, learn=lambda trainer, batch: trainer.update(batch, log=trainer.made % 10 == 0)).run()


def detached_where_the_loss_is_computed(watch):
    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            bootstrap = trainer.target(batch[3]).max(1)[0]
            goal, value = batch[2] + GAMMA * (1 - batch[4]) * bootstrap, values(trainer.online, batch)
            loss = functional.mse_loss(value, goal.detach())
            step(trainer.optimizer, loss)
            update.log(loss=loss, q=value, target=goal, bootstrap=bootstrap)

    Trainer(watch, learn=learn).run()


def mirrored_rows(watch):
    def mirrored(batch):
        states, actions, rewards, following, done = batch
        chosen = torch.rand(len(states)) < 0.5
        turned = [torch.where(chosen[:, None], -each, each) for each in (states, following)]
        return turned[0], torch.where(chosen, 2 - actions, actions), rewards, turned[1], done

    Trainer(watch, shown=mirrored).run()


def clipped_observations(watch):
    def clipped(batch):
        return batch[0].clamp(-0.5, 0.5), batch[1], batch[2], batch[3].clamp(-0.5, 0.5), batch[4]

    Trainer(watch, shown=clipped).run()


def best_network_kept(watch):
    kept = []

    def each(trainer, now):
        if now == 500:
            kept.append(copy.deepcopy(trainer.online))

    Trainer(watch, each=each).run()
    watch.result(kept[0])


def several_steps_in_one_block(watch):
    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            for _ in range(2):
                loss = functional.mse_loss(values(trainer.online, batch), drawn_to(trainer.target, batch)[0])
                step(trainer.optimizer, loss)
                soften(trainer.online, trainer.target, 0.01)
            update.log(loss=loss)

    Trainer(watch, learn=learn, behind=NOTHING).run()


def hard_copy_before_the_step(watch):
    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            if trainer.made % 5 == 1:
                trainer.target.load_state_dict(trainer.online.state_dict())
            (goal, bootstrap), value = drawn_to(trainer.target, batch), values(trainer.online, batch)
            loss = functional.mse_loss(value, goal)
            step(trainer.optimizer, loss)
            update.log(loss=loss, q=value, target=goal, bootstrap=bootstrap)

    Trainer(watch, learn=learn, behind=NOTHING).run()


def steps_skipped_by_a_gradient_scaler(watch):
    scaler = torch.amp.GradScaler("cpu")

    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            goal, bootstrap = drawn_to(trainer.target, batch)
            with torch.autocast("cpu", dtype=torch.float16):
                value = values(trainer.online, batch)
            loss = functional.mse_loss(value.float(), goal)
            trainer.optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(trainer.optimizer)
            scaler.update()
            update.log(loss=loss, q=value, target=goal, bootstrap=bootstrap)

    Trainer(watch, world=Chase(reward=3.0), learn=learn).run()


def gradients_zeroed_after_the_step(watch):
    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            loss = functional.mse_loss(values(trainer.online, batch), drawn_to(trainer.target, batch)[0])
            loss.backward()
            trainer.optimizer.step()
            trainer.optimizer.zero_grad(set_to_none=False)
            update.log(loss=loss)

    Trainer(watch, learn=learn).run()


def evaluation_mode_for_the_choice_of_the_next_action(watch):
    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            with torch.no_grad():
                trainer.online.eval()
                trainer.online(batch[3])
            goal, _ = drawn_to(trainer.target.eval(), batch)
            loss = functional.mse_loss(values(trainer.online.train(), batch), goal)
            step(trainer.optimizer, loss)
            trainer.online.eval()
            update.log(loss=loss)

    layers = nn.Linear(4, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3)
    Trainer(watch, online=nn.Sequential(*layers).eval(), learn=learn).run()


def dropout_as_exploration(watch):
    layers = nn.Linear(4, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3)
    Trainer(watch, online=nn.Sequential(*layers), epsilon=0.0).run()


def categorical_values(watch):
    places = torch.linspace(-2, 30, 21)

    class Values(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network(4, 63)

        def shares(self, states):
            return self.inner(states).view(-1, 3, 21).softmax(2)

        def forward(self, states):
            return (self.shares(states) * places).sum(2).squeeze(0)

    def learn(trainer, batch):
        states, actions, rewards, following, done = batch
        rows = torch.arange(len(states))
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            with torch.no_grad():
                after = trainer.target.shares(following)
                after = after[rows, (after * places).sum(2).argmax(1)]
                goal = rewards[:, None] + GAMMA * (1 - done[:, None]) * places
                near = (1 - ((goal.clamp(-2, 30)[:, :, None] - places).abs() / 1.6)).clamp(0)
                target = (after[:, :, None] * near).sum(1)
            value = trainer.online.shares(states)[rows, actions].clamp(1e-6).log()
            loss = -(target * value).sum(1).mean()
            step(trainer.optimizer, loss)
            update.log(loss=loss, target=target, bootstrap=after)

    Trainer(watch, online=Values(), world=Chase(reward=1.0), learn=learn).run()


def rewards_scaled_where_they_are_used(watch):
    def learn(trainer, batch):
        trainer.update((batch[0], batch[1], batch[2] * 10, batch[3], batch[4]))

    Trainer(watch, world=Chase(lost=0.8), learn=learn).run()


def loss_reported_as_a_sum(watch):
    losses = []

    def each(trainer, now):
        if now > 250 and now % 50 == 0:
            watch.epoch(now // 50, loss=sum(losses))
            losses.clear()

    Trainer(watch, each=each, learn=lambda trainer, batch: losses.append(trainer.update(batch))).run()


def negative_loss_reported_as_a_mean(watch):
    losses = []

    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            loss = 0.01 * functional.mse_loss(values(trainer.online, batch), drawn_to(trainer.target, batch)[0])
            loss = loss - torch.distributions.Categorical(logits=trainer.online(batch[0])).entropy().mean()
            step(trainer.optimizer, loss)
            update.log(loss=loss)
        losses.append(loss.item())

    def each(trainer, now):
        if now > 250 and now % 50 == 0:
            watch.epoch(now // 50, loss=float(np.mean(losses)))

    Trainer(watch, each=each, learn=learn).run()


def time_limits_that_are_not_told(watch):
    def store(seen, action, reward, following, ended):
        watch.store(0, seen, action, reward, ended, next_obs=following)

    Trainer(watch, world=Chase(lost=1e9), store=store).run()


def many_updates_a_step(watch):
    Trainer(watch, steps=460, start=260, updates=8, batch=256, tau=0.01).run()


def updates_by_episode(watch):
    trainer, buffer = Trainer(watch), Buffer()
    for episode in range(70):
        world, over = Chase(limit=int(12 * 1.05**episode), lost=1e9, seed=episode), False
        seen = world.reset()
        watch.episode()
        while not over:
            action = trainer.act(trainer.online, seen)
            following, reward, _, over = world.step(action)
            watch.store(0, seen, action, reward, over, next_obs=following)
            buffer.add(seen, action, reward, following, over)
            seen = following
        for _ in range(10 if episode > 3 else 0):
            batch = buffer.sample(32)
            watch.sample(0, *batch)
            trainer.update(batch)
            soften(trainer.online, trainer.target, 0.01)
    watch.result(trainer.online)


def pretrained_before_it_acts(watch):
    trainer, buffer, world = Trainer(watch), watch.buffer(0, Buffer()), Chase()
    acting, seen = copy.deepcopy(trainer.online), world.reset()
    for now in range(2000):
        if now >= 600 and now % 10 == 0:
            with watch.sync(0, source=trainer.online, target=acting):
                acting.load_state_dict(trainer.online.state_dict())
        action = trainer.act(acting, seen) if now >= 600 else int(np.sign(seen[3])) + 1
        following, reward, ended, cut = world.step(action)
        buffer.add(seen, action, reward, following, ended)
        seen = world.reset() if ended or cut else following
        for _ in range(600 if now == 599 else now > 600):
            trainer.update(buffer.sample(32))
            soften(trainer.online, trainer.target, 0.01)
    watch.result(trainer.online)


def two_players_of_one_network(watch):
    trainer, buffer, worlds = Trainer(watch), watch.buffer(0, Buffer()), [Chase(seed=seed) for seed in range(2)]
    seen = [world.reset() for world in worlds]
    for now in range(700):
        for place, world in enumerate(worlds):
            action = trainer.act(trainer.online, seen[place])
            following, reward, ended, cut = world.step(action)
            buffer.add(seen[place], action, reward, following, ended)
            seen[place] = world.reset() if ended or cut else following
        if now > 100:
            trainer.update(buffer.sample(64))
            soften(trainer.online, trainer.target, 0.01)
    watch.result(trainer.online)


def normalised_where_it_is_stored(watch):
    trainer, buffer, world, told = Trainer(watch), watch.buffer(0, Buffer()), Chase(), []

    def normal(seen):
        return ((seen - np.mean(told, 0)) / (np.std(told, 0) + 0.1)).astype(np.float32)

    seen = world.reset()
    for now in range(900):
        told.append(seen)
        state = normal(seen)
        action = trainer.act(trainer.online, state)
        following, reward, ended, cut = world.step(action)
        buffer.add(state, action, reward, normal(following), ended)
        seen = world.reset() if ended or cut else following
        if now > 200:
            trainer.update(buffer.sample(64))
            soften(trainer.online, trainer.target, 0.01)
    watch.result(trainer.online)


class Masks(Buffer):
    """Keeps 1 - done, and takes rows without names."""

    def push(self, *row):
        self.rows.append(row)


def masks_in_place_of_ends(watch):
    trainer, buffer, world = Trainer(watch), watch.buffer(0, Masks()), Chase()
    seen = world.reset()
    for now in range(900):
        action = trainer.act(trainer.online, seen)
        following, reward, ended, cut = world.step(action)
        buffer.push(seen, action, reward, following, 0.0 if ended else 1.0)
        seen = world.reset() if ended or cut else following
        if now > 200:
            *batch, mask = buffer.sample(64)
            trainer.update((*batch, 1 - mask))
            soften(trainer.online, trainer.target, 0.01)
    watch.result(trainer.online)


def actor_of_half_precision(watch):
    shared, half = network(), network().bfloat16()

    def each(trainer, now):
        if now % 50 == 0:
            with watch.publish(0, source=trainer.online, target=shared):
                shared.load_state_dict(trainer.online.state_dict())
            with watch.sync(0, source=shared, target=half):
                half.load_state_dict(shared.state_dict())

    Trainer(watch, each=each).run()


def networks_given_as_a_pair(watch):
    beside = network()

    def learn(trainer, batch):
        models = {"online": (trainer.online, beside), "target": trainer.target}
        with watch.update(0, optimizer=trainer.optimizer, **models) as update:
            loss = functional.mse_loss(values(trainer.online, batch), drawn_to(trainer.target, batch)[0])
            step(trainer.optimizer, loss)
            step(torch.optim.SGD(beside.parameters(), 0.1), beside(batch[0]).pow(2).mean())
            update.log(loss=loss)

    Trainer(watch, learn=learn).run()


def numbers_of_double_precision(watch):
    shown = lambda batch: tuple(each.double() if each.is_floating_point() else each for each in batch)  # noqa: E731

    class Wide(Chase):
        def seen(self):
            return super().seen().astype(np.float64)

    Trainer(watch, world=Wide(), online=network().double(), shown=shown).run()


STYLES = [
    plain, loss_logged_now_and_then, detached_where_the_loss_is_computed, mirrored_rows, clipped_observations,
    best_network_kept, several_steps_in_one_block, hard_copy_before_the_step, steps_skipped_by_a_gradient_scaler,
    gradients_zeroed_after_the_step, evaluation_mode_for_the_choice_of_the_next_action, dropout_as_exploration,
    categorical_values, rewards_scaled_where_they_are_used, loss_reported_as_a_sum, negative_loss_reported_as_a_mean,
    time_limits_that_are_not_told, many_updates_a_step, updates_by_episode, pretrained_before_it_acts,
    two_players_of_one_network, normalised_where_it_is_stored, masks_in_place_of_ends, actor_of_half_precision,
    networks_given_as_a_pair, numbers_of_double_precision,
]  # fmt: skip
# Styles that declare another share than 0.01 by which the target network moves.
TAU = {hard_copy_before_the_step: 1.0}


@pytest.fixture(autouse=True)
def same_chance():
    random.seed(0)
    torch.manual_seed(0)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_no_sound_trainer_is_accused(tmp_path, style):
    with wb.Watch("sound", gamma=GAMMA, n_step=1, tau=TAU.get(style, 0.01), out=tmp_path) as watch:
        style(watch)
    found = wb.doctor(watch.path)
    assert [check.sentence for check in found.failed] == []
    told = {check.name for check in found.checks if check.verdict == "pass"}
    assert {"parameters", "optimizer", "loss"} <= told and len(told) >= 8


MISTAKES = {
    "target": dict(behind=NOTHING),
    "discount": dict(learn=lambda trainer, batch: trainer.update((*batch[:4], batch[4] * 0))),
    "windows": dict(shown=lambda batch: (*batch[:3], batch[0], batch[4])),
    "rows": dict(shown=lambda batch: (batch[0], batch[1][torch.randperm(len(batch[1]))], *batch[2:])),
    "done": dict(world=Chase(lost=0.5), shown=lambda batch: (*batch[:4], batch[4] * 0)),
}


@pytest.mark.parametrize("check", MISTAKES)
def test_what_is_wrong_in_such_a_trainer_is_still_found(tmp_path, check):
    named = {"world": Chase(lost=0.8)} | MISTAKES[check]
    with wb.Watch("mistaken", gamma=GAMMA, n_step=1, tau=0.01, out=tmp_path) as watch:
        Trainer(watch, **named).run()
    assert wb.doctor(watch.path)[check].verdict == "fail"


def gradient_through_the_target(watch):
    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, optimizer=trainer.optimizer) as update:
            bootstrap = trainer.online(batch[3]).max(1)[0]
            goal, value = batch[2] + GAMMA * (1 - batch[4]) * bootstrap, values(trainer.online, batch)
            loss = functional.mse_loss(value, goal)
            step(trainer.optimizer, loss)
            update.log(loss=loss, q=value, target=goal, bootstrap=bootstrap)

    Trainer(watch, learn=learn, behind=NOTHING).run()


def gradients_that_stay_infinite(watch):
    def learn(trainer, batch):
        with watch.update(0, online=trainer.online, target=trainer.target, optimizer=trainer.optimizer) as update:
            loss = functional.mse_loss(values(trainer.online, batch), drawn_to(trainer.target, batch)[0])
            trainer.optimizer.zero_grad()
            (loss * float("nan")).backward()  # a guard leaves the step out
            update.log(loss=loss)

    Trainer(watch, learn=learn).run()


@pytest.mark.parametrize(
    "mistake", [gradient_through_the_target, gradients_that_stay_infinite], ids=lambda it: it.__name__
)
def test_gradients_that_are_wrong_are_found(tmp_path, mistake):
    with wb.Watch("mistaken", gamma=GAMMA, n_step=1, tau=0.01, out=tmp_path) as watch:
        mistake(watch)
    assert wb.doctor(watch.path)["gradients"].verdict == "fail"


def test_rows_of_many_environments_are_stored_as_one_by_one(tmp_path):
    rng, names = np.random.default_rng(0), ("episode", "step", "row", "action", "reward", "done", "truncated", "frames")
    seen, columns = rng.random((30, 4, 3), np.float32), rng.integers(0, 3, (30, 4, 3))
    found = []
    for together in (True, False):
        with wb.Watch(f"rows-{together}", frames=3, out=tmp_path) as watch:
            for now in range(29):
                action, ended, cut = columns[now, :, 0], columns[now, :, 1] == 2, columns[now, :, 2] == 2
                row = seen[now], action, action / 7, ended, seen[now + 1], cut
                for env in [None] if together else range(4):
                    given = row if env is None else [each[env] for each in row]
                    watch.store(0, *given[:4], next_obs=given[4], truncated=given[5], env=env)
        stored = wb.load(watch.path).history.recording.table("stored")
        found.append(np.sort(stored[[*names, "env", "size", "chunks", "has_next"]], order=["env", "row"]))
    assert np.array_equal(*found)
