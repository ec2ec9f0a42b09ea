"""The world to look at: a game of its own that plays what the weights say, seen as a view and as a film."""

import base64
import io
import threading
import time
import types
import xml.etree.ElementTree
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import workbench as wb
from tests.unit import inprocess
from workbench.cli.main import main
from workbench.core.agents.base import AgentConfig, Chosen
from workbench.core.agents.flat_parameters import ParameterLayout
from workbench.core.envs.treasurehunt import AGENT, GEM, Treasurehunt, TreasurehuntConfig
from workbench.core.seeding import stream
from workbench.runs.folder import RunFolder
from workbench.runs.loaded import padded
from workbench.runs.recovery.checkpoint import CheckpointError
from workbench.view.world.drawing import CHOSEN, COLUMNS, HEIGHT, SIDE, TOP, WIDTH, Shapes, drawing, svg
from workbench.view.world.film import film
from workbench.view.world.game import FRACTIONS, Game, describe
from workbench.view.world.world_view import WorldView

QUICK = wb.preset("tiny")
DEADLINE_S = 120.0


def some_weights(config=QUICK, seed=0):
    """Initial weights of every agent, twice over for online and target."""
    rng = np.random.default_rng(seed)
    size = config.agent.layout(config.spec.agents[0]).size
    return rng.normal(0, 0.3, (config.num_agents, 2 * size)).astype(np.float32)


def kept(tmp_path, name="earlier", config=QUICK, weights=None, given=None, **description):
    """A run that has ended, as its folder."""
    told = {"config": config.to_dict(), "mode": "sequential", "lag": 0, "status": "finished", "error": None}
    folder = RunFolder.create(name, told | description, tmp_path)
    folder.write_array("weights.npy", some_weights(config) if weights is None else weights)
    return wb.load(folder.path, **given or {})


# --- the game --------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    height=st.integers(4, 9), width=st.integers(4, 9), agents=st.integers(1, 4), radius=st.integers(1, 3),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_what_is_told_of_an_agent_is_where_it_stands_and_what_it_sees(height, width, agents, radius, seed):
    config = QUICK.replace(**{
        "world.height": height, "world.width": width, "world.num_agents": agents, "world.vision_radius": radius,
        "world.spawn_prob": 0.2,
    })  # fmt: skip
    game = Game(config, some_weights(config), seed)
    for _ in range(3 * agents):
        cells, sight = game.cells, game.sight
        assert (cells[tuple(game.positions.T)] == AGENT).all() and (cells == AGENT).sum() == agents
        assert game.positions[sight.agent].tolist() == [sight.row, sight.column]
        padded = np.pad(cells, radius, constant_values=2)  # walls beyond the edge
        window = padded[sight.row : sight.row + 2 * radius + 1, sight.column : sight.column + 2 * radius + 1]
        np.testing.assert_array_equal(sight.frame, window)
        game.move()


def test_every_move_is_the_one_with_the_greatest_mean_quantile_of_the_agents_own_network():
    game, weights = Game(QUICK, some_weights(), seed=3), some_weights()
    for _ in range(12):
        sight, before = game.sight, game.positions
        policy = game._policies[sight.agent]
        np.testing.assert_array_equal(policy.weights.numpy(), weights[sight.agent, : policy.layout.size])
        stack = torch.from_numpy(game._replays[sight.agent].newest_stack(sight.turn))
        with torch.no_grad():
            q = policy.network(stack, torch.from_numpy(FRACTIONS)[None])[0].mean(0).numpy()
        np.testing.assert_allclose(sight.q, q, rtol=1e-4, atol=1e-5)
        assert sight.choice == q.argmax()
        low, high = sight.spread()
        assert (low <= high).all() and low.shape == (4,)
        game.move()
        moved = game.positions[sight.agent] - before[sight.agent]
        assert tuple(moved) in ((0, 0), [(-1, 0), (1, 0), (0, -1), (0, 1)][sight.choice])


def test_an_epoch_has_its_turns_and_then_stands_still():
    game, moves = Game(QUICK, some_weights()), 0
    while not game.over:
        game.move()
        moves += 1
    assert moves == QUICK.max_turns * QUICK.num_agents
    cells, rewards = game.cells, game.rewards.copy()
    game.move()
    game.play_to(1)
    np.testing.assert_array_equal(game.cells, cells)
    np.testing.assert_array_equal(game.rewards, rewards)
    assert "end of 20 turns" in describe(game, "x")
    game.begin()
    assert game.turn == 0 and game.rewards.sum() == 0 and (game.cells == GEM).sum() < 10


def test_the_same_seed_plays_the_same_game_and_another_another():
    def cells(seed):
        game = Game(QUICK, some_weights(), seed)
        for _ in range(9):
            game.play_to(0)
        return game.cells.tolist(), game.rewards.tolist()

    assert cells(1) == cells(1) != cells(2)


def test_looking_draws_from_no_stream_of_the_run():
    config = QUICK.replace(epochs=3)
    undisturbed = inprocess.digests(inprocess.run(config, 0))
    parts = inprocess.build(config, 0)
    game = Game(config, some_weights(config), config.seed)
    states = [stream(config.seed, "viewing").bit_generator.state, parts.collector.world.rng.bit_generator.state]
    assert states[0] != states[1]
    for _ in range(5):
        game.play_to(0)
    assert parts.collector.world.rng.bit_generator.state == states[1]
    assert inprocess.digests(inprocess.run(config, 0)) == undisturbed


# --- the view --------------------------------------------------------------------------------------------------------


def words(view):
    """What the view says to those who cannot see it."""
    return xml.etree.ElementTree.fromstring(view.image.value).attrib["aria-label"]


def texts(view):
    """What is written in it."""
    return [each.text for each in xml.etree.ElementTree.fromstring(view.image.value).iter("text")]


def test_the_buttons_step_and_start_again_and_the_list_chooses_the_eyes(tmp_path):
    view = WorldView(kept(tmp_path), agent=1)
    assert view.game.agent == 1 and view.game.turn == 0
    before = view.image.value
    view.step_button.click()
    assert (view.game.agent, view.game.turn) == (1, 1)
    assert view.image.value != before and view.image.value.startswith("<svg ")
    assert "Agent 1 in row" in words(view) and "turn 2 of 20" in words(view)
    view.agent.value = 0
    assert view.game.agent == 0 and "Agent 0 in row" in words(view)
    for _ in range(40):
        view.step()
        if view.game.over:
            break
    assert "end of 20 turns" in words(view)
    view.step_button.click()
    assert view.game.turn == 0
    view.step()
    view.epoch_button.click()
    assert view.game.turn == 0
    still = view.figure()
    assert still.size == (WIDTH, HEIGHT) and still == view.figure()
    view.step()
    assert view.figure() != still


def test_a_notebook_that_is_read_without_a_kernel_has_the_picture(tmp_path):
    alone = QUICK.replace(**{"world.num_agents": 1})
    view = WorldView(kept(tmp_path, config=alone, weights=some_weights(alone)))
    shown, about = view._repr_mimebundle_()
    assert about["image/png"]["alt"] == words(view)
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert Image.open(io.BytesIO(shown["image/png"])).size == (WIDTH, HEIGHT)
    assert " 1 agent. " in words(view)


def test_play_continues_by_itself_until_it_is_paused(tmp_path):
    view = WorldView(kept(tmp_path))
    seen, new = [], threading.Condition()

    def take(change):
        with new:
            seen.append(change["new"])
            new.notify_all()

    view.image.observe(take, "value")
    view.play_button.value = True
    assert view.play_button.description == "Pause"
    with new:
        assert new.wait_for(lambda: len(seen) >= 3, DEADLINE_S)
    view.pause()
    assert view.play_button.description == "Play" and view._player.wait(0)
    assert not [thread for thread in threading.enumerate() if thread.name == "world view"]


def test_play_right_after_pause_plays_also_while_a_step_is_under_way(tmp_path, monkeypatch):
    view = WorldView(kept(tmp_path))
    inside, free, steps, move = threading.Event(), threading.Event(), threading.Semaphore(0), view.game.play_to

    def slow(agent):
        inside.set()
        assert free.wait(DEADLINE_S)
        move(agent)
        steps.release()

    monkeypatch.setattr(view.game, "play_to", slow)
    view.play_button.value = True
    assert inside.wait(DEADLINE_S)
    view.play_button.value = False
    view.play_button.value = True
    free.set()
    assert all(steps.acquire(timeout=DEADLINE_S) for _ in range(3)), "it says that it plays"
    view.pause()


def test_a_cell_that_is_run_again_leaves_no_view_that_plays(tmp_path, monkeypatch):
    run, asked = kept(tmp_path), {}
    shell = types.SimpleNamespace(get_parent=lambda: asked)
    monkeypatch.setattr("workbench.view.world.world_view.get_ipython", lambda: shell)

    def execute(cell, execution):
        asked.update(metadata={"cellId": cell}, header={"msg_id": execution})
        view = WorldView(run)
        view.play()
        return view

    first, beside, elsewhere = execute("a", "1"), execute("a", "1"), execute("b", "2")
    assert first.play_button.value and beside.play_button.value
    again = execute("a", "3")
    assert not first.play_button.value and not beside.play_button.value
    assert elsewhere.play_button.value and again.play_button.value
    assert first._player.wait(DEADLINE_S) and beside._player.wait(DEADLINE_S)
    elsewhere.close()
    again.close()


def test_it_plays_as_fast_as_one_wants(tmp_path):
    view = WorldView(kept(tmp_path))
    view.speed.value = 10
    assert view._player is None
    view.play()
    slow = view._player
    view.speed.value = 5
    assert view._player is not slow and slow.wait(DEADLINE_S) and view.play_button.value
    view.pause()


def test_what_goes_wrong_is_told_in_the_view(tmp_path, monkeypatch):
    view = WorldView(kept(tmp_path))
    monkeypatch.setattr(view.game, "play_to", lambda agent: 1 / 0)
    view.step_button.click()
    assert "division by zero" in view.message.value
    view.play()
    assert view._player.wait(DEADLINE_S)
    assert "ZeroDivisionError" in view.message.value and not view.play_button.value


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="no runs to look at"):
        WorldView([])
    with pytest.raises(ValueError, match=r"number of runs is 2; .* write wb.WorldView\(pair.multiprocess\)"):
        WorldView([kept(tmp_path), kept(tmp_path, "other")])
    with pytest.raises(ValueError, match="agent is 7; the world has agents 0 to 1"):
        WorldView(wb.load(tmp_path / "earlier"), agent=7)
    empty = RunFolder.create("empty", {"config": QUICK.to_dict(), "mode": "sequential", "lag": 0, "status": "stopped",
                                       "error": None}, tmp_path)  # fmt: skip
    with pytest.raises(wb.RunError, match="no weights on disk"):
        WorldView(wb.load(empty.path))


def test_the_dashed_square_ends_with_the_map():
    game = Game(QUICK, some_weights())
    reaches = []
    for _ in range(20):
        (dashes,) = (part for part in drawing(game, "it") if isinstance(part, Shapes) and part.edge == CHOSEN)
        inside = dashes.corners - (COLUMNS[0], TOP)
        assert (inside >= 0).all() and (inside <= SIDE + 1e-9).all()
        reaches.append(np.ptp(inside, axis=(0, 1)).round(6).tolist())
        game.play_to(0)
    assert any(height != width for height, width in reaches), "none was at the edge"


# --- worlds without a map ---------------------------------------------------------------------------------------------


class Unseen(Treasurehunt):
    """A world that shows its agents no more than it must."""

    positions = property()


class Blind(TreasurehuntConfig):
    """Its arguments."""

    def make(self, rng):
        return Unseen(self, rng)


OWN = "tests.unit.own_environments"


def of(world, **arguments):
    """A configuration of a world of another library."""
    pytest.importorskip("gymnasium")
    pytest.importorskip("pettingzoo")
    return QUICK.replace(world=world, **{"world.max_turns": 6, "agent.width": 8, **arguments})


def weights_of(config):
    """Weights of agents that differ, as a run keeps them."""
    rng = np.random.default_rng(1)
    sizes = [2 * config.agent.layout(spec).size for spec in config.spec.agents]
    return padded([rng.normal(0, 0.3, size).astype(np.float32) for size in sizes])


@pytest.mark.parametrize("agent", ["iqn", "dqn"])
def test_a_world_that_draws_itself_is_seen_beside_the_values(tmp_path, agent):
    config = of(f"gymnasium:{OWN}:Drawing", agent=agent)
    game = Game(config, weights_of(config))
    for step in range(5):
        assert (game.picture == np.array([step, 0, 0])).all() and game.picture.shape == (20, 30, 3)
        game.move()
    run = kept(tmp_path, "drawing", config, weights_of(config))
    view = WorldView(run)
    for shade in (0, 1):
        source = view.image.value.partition("data:image/png;base64,")[2].partition('"')[0]
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))).max() == shade
        view.step()
    assert [each for each in texts(view) if each.startswith("action")] == ["action 0", "action 1", "action 2"]
    assert "Agent 0 values its moves action 0 " in words(view) and "No picture" not in words(view)
    made = film(run)
    assert len(made) == 7 and len({frame.convert("RGB").tobytes() for frame in made.frames}) == 7
    assert made.gif() == film(run).gif()


class Preferences:
    """A policy that is none of the package's: it has no network, and prefers some actions wherever it is."""

    device = torch.device("cpu")

    def __init__(self, config, index, *others, **named):
        self.vector_size = 2 * config.agent.layout(config.spec.agents[index]).size

    def load(self, vector):
        self.preferred = vector[:4].copy()

    def act(self, stack, epsilon):
        q = np.tile(self.preferred, (len(stack), 1))
        return Chosen(q.argmax(1), q.argmax(1), np.ones(len(stack), np.float32), q)


@dataclass(frozen=True)
class PreferencesConfig(AgentConfig):
    """What it acts by is four numbers."""

    policy_class = Preferences

    def layout(self, spec):
        return ParameterLayout.of(torch.nn.Linear(1, spec.num_actions, bias=False))


def test_a_policy_without_a_network_is_seen_with_the_values_that_it_gives():
    config = QUICK.replace(agent=PreferencesConfig)
    weights = some_weights(config)
    weights[1, :4] = 0.5, 2.0, -1.0, 0.0
    game = Game(config, weights)
    game.move()
    assert game.sight.q.tolist() == [0.5, 2.0, -1.0, 0.0] and game.sight.choice == 1
    assert "0.50" in describe(game, "mine") and drawing(game, "mine")


def test_environments_that_are_trained_in_are_not_made_to_draw():
    config = of(f"gymnasium:{OWN}:Drawing")
    trained, drawn = (each.make(stream(0, "world")) for each in (config.world, config.world.drawn))
    assert [world._environments[0].environment.unwrapped.render_mode for world in (trained, drawn)] == [
        None, "rgb_array",
    ]  # fmt: skip


@pytest.mark.parametrize(("world", "shape"), [
    ("gymnasium:CartPole-v1", (400, 600, 3)), ("pettingzoo:mpe2.simple_spread_v3", (700, 700, 3)),
])  # fmt: skip
def test_environments_of_other_libraries_are_seen(world, shape):
    pytest.importorskip("pygame")
    config = of(world)
    game = Game(config, weights_of(config))
    first = game.picture
    assert first.shape == shape and first.std() > 0
    for _ in range(3):
        game.play_to(0)
    assert (game.picture != first).any() and not game.unseen


@pytest.mark.parametrize(("config", "reason"), [
    (lambda: QUICK.replace(world=Blind), "a world of 7 x 7 cells offers neither a map"),
    (lambda: of(f"gymnasium:{OWN}:Walk"), f"gymnasium:{OWN}:Walk has no render mode 'rgb_array'"),
    (lambda: of(f"gymnasium:{OWN}:Drawing", **{"world.env_args": {"broken": True}}),
     "no brush is installed, run `pip install brush`"),
])  # fmt: skip
def test_without_a_picture_the_values_are_shown_alone_and_one_line_says_why(tmp_path, config, reason):
    config = config()
    own = {"world": Blind} if isinstance(config.world, Blind) else None
    run = kept(tmp_path, "unseen", config, weights_of(config), given=own)
    view = WorldView(run)
    assert f"No picture: {reason}" in words(view) and " values its moves " in words(view)
    assert f"no picture: {reason}"[:110] in texts(view)[-1] and "<image" not in view.image.value
    before = view.image.value
    view.step()
    assert view.image.value != before
    assert len(film(run)) == config.max_turns + 1


def test_each_agent_has_moves_of_its_own(tmp_path):
    config = of(f"pettingzoo:{OWN}")
    view = WorldView(kept(tmp_path, "leaving", config, weights_of(config)))
    for agent in range(3):
        view.look_through(agent)
        assert sum(each.startswith("action") for each in texts(view)) == len(view.game.moves) == 2 + agent
        assert f"Agent {agent} values its moves" in words(view)


def test_of_many_moves_the_best_are_shown():
    config = of(f"gymnasium:{OWN}:Jumping")
    game = Game(config, weights_of(config))
    shown = [each.text for each in xml.etree.ElementTree.fromstring(svg(game, "a run")).iter("text")]
    best = [f"action {move}" for move in sorted(np.argsort(-game.sight.q)[:12])]
    assert [each for each in shown if each.startswith("action")] == best
    assert "Value of the best 12 of 40 moves" in shown


def test_a_live_run_is_looked_at_through_its_weight_store(tmp_path):
    with wb.launch(QUICK.replace(epochs=1_000_000), mode="sequential", lag=0, out=tmp_path, start=False) as run:
        with pytest.raises(wb.RunError, match="no weights yet; start it, or wait"):
            WorldView(run)
        run.start()
        deadline = time.monotonic() + DEADLINE_S
        while not run.progress["updates"]:
            assert time.monotonic() < deadline
        view = WorldView(run)
        first = run.newest_weights
        assert first.shape == (2, 2 * QUICK.agent.layout(QUICK.spec.agents[0]).size) and np.isfinite(first).all()
        view.new_epoch()
        assert view.image.value.startswith("<svg ")
    np.testing.assert_array_equal(run.newest_weights, run.weights)


# --- the film --------------------------------------------------------------------------------------------------------


def test_a_film_shows_every_turn_of_all_runs_and_is_always_the_same(tmp_path):
    runs = [kept(tmp_path, "one"), kept(tmp_path, "two", QUICK.replace(seed=1), some_weights(seed=5))]
    made = film(runs, seed=4)
    assert len(made) == QUICK.max_turns + 1
    assert "seed 4" in made.alt and "reward of one: " in made.alt and "two: " in made.alt
    path = made.save(tmp_path / "film.gif")
    assert path.read_bytes() == film(runs, seed=4).gif() != film(runs, seed=5).gif()
    with Image.open(path) as picture:
        assert picture.n_frames > 10 and picture.info["loop"] == 0
        one = picture.size
    with Image.open(io.BytesIO(film(runs[0]).gif())) as picture:
        assert picture.size[0] == pytest.approx(one[0] / 2, abs=1)
    data, metadata = made._repr_mimebundle_()
    assert set(data) == {"image/gif", "text/plain"} and metadata["image/gif"]["alt"] == made.alt


def test_defaults_that_the_caller_has_given_torch_change_no_film(tmp_path):
    run = kept(tmp_path, "one")
    plain = film(run).gif()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        assert film(run).gif() == plain
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_a_film_of_a_checkpoint_plays_with_the_weights_of_its_epoch(tmp_path):
    """Those with which a run ends that has no more epochs than that, and no others.

    One checkpoint on the way: a second is left out if it falls due while the first is being written.
    """
    config = QUICK.replace(**{
        "learning.learning_rate_schedule": "constant", "checkpoint.interval": 8, "checkpoint.keep": 9,
        "world.max_turns": 6,
    })  # fmt: skip
    whole = [wb.launch(config, mode, 1, out=tmp_path) for mode in ("sequential", "multiprocess")]
    short = wb.launch(config.replace(epochs=8), "sequential", 1, out=tmp_path)
    for run in (*whole, short):
        run.wait(DEADLINE_S)
    loaded = [wb.load(run.folder.path) for run in whole]
    for run in (*whole, *loaded):
        assert 8 in run.checkpoints and run.checkpoints[-1] == 12
        np.testing.assert_array_equal(run.weights_at(8), short.weights)
        np.testing.assert_array_equal(run.weights_at("newest"), run.weights)
        assert (run.weights_at(8) != run.weights).any()
    one, two = Game(config, loaded[0].weights_at(8), seed=4), Game(config, short.weights, seed=4)
    while not one.over:
        assert one.sight.choice == two.sight.choice
        one.move(), two.move()
    both = film(loaded, seed=4, checkpoint=8)
    assert "weights of the checkpoint of epoch 8" in both.alt and "multiprocess" in both.alt
    early, end = (film(loaded[0], seed=4, checkpoint=epoch) for epoch in (8, "newest"))
    earned = [made.alt.partition("reward of ")[2] for made in (early, film(wb.load(short.folder.path), seed=4))]
    assert earned[0] == earned[1] and early.frames != end.frames
    assert end.alt.partition("reward of ")[2] == film(loaded[0], seed=4).alt.partition("reward of ")[2]
    with pytest.raises(CheckpointError, match=r"no checkpoint of epoch 7 in .*; those of epochs .*8, 12 are kept"):
        film(loaded, checkpoint=7)
    named = [str(run.folder.path) for run in loaded]
    assert main(["film", *named, "--checkpoint", "8", "--out", str(tmp_path / "film.gif")]) == 0
    assert (tmp_path / "film.gif").read_bytes() == film(loaded, checkpoint=8).gif()
    assert main(["film", *named, "--checkpoint", "newest", "--out", str(tmp_path / "newest.gif")]) == 0


def test_a_film_of_a_checkpoint_needs_one(tmp_path, capsys):
    run = kept(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"no checkpoint of epoch 4 in .*; none is kept. checkpoint.interval and "
    ):
        film(run, checkpoint=4)
    assert main(["film", str(run.folder.path), "--checkpoint", "4", "--out", str(tmp_path / "film.gif")]) == 2
    assert "none is kept" in capsys.readouterr().err


def test_a_film_that_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.gif"):
        film(kept(tmp_path, "again")).save(tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="no runs to film"):
        film([])


def test_the_command_films_runs_by_name_or_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    one, _ = kept(tmp_path / "runs", "one"), kept(tmp_path / "runs", "two")
    out = tmp_path / "new" / "film.gif"
    assert main(["film", "two", str(one.folder.path), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"GIF89a")
    told = capsys.readouterr().out
    assert str(out) in told and "reward of two: " in told and "one: " in told
    assert main(["film", "two", "--out", str(tmp_path / "film.mp4")]) == 2
    assert main(["film", "three", "--out", str(out)]) == 2
    assert main(["film", "--out", str(out)]) == 2
    assert "must end in .gif" in capsys.readouterr().err


def test_moves_are_named_in_the_order_of_the_world():
    assert Game(QUICK, some_weights()).moves == ("up", "down", "left", "right")
