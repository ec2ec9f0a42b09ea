"""The settings, and the defects that can be switched on for each agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

DEFECTS = {
    "memory_cleared": "the actor forgets its frames in the middle of an episode, the buffer does not",
    "two_buffers": "the actor stacks frames from a memory of its own, which misses those of random actions",
    "private_buffer": "the learner trains on a buffer of its own that nobody fills",
    "fewer_frames": "the learner blanks the oldest frame, which the actor feeds",
    "windows_across_episodes": "stacks reach back into the episode before",
    "windows_across_head": "rows are drawn without regard to the place that is written next",
    "duplicated_rows": "every row is stored twice",
    "old_rows_only": "the learner samples a copy of the buffer that it made before its first update",
    "done_never": "the end of an episode is never stored",
    "n_step_mismatch": "three steps are declared, rows have one",
    "gamma_n": "rows have one step, the target discounts by gamma to the power of three",
    "sync_never": "the actor never fetches weights",
    "sync_rarely": "the actor fetches weights every tenth epoch only",
    "sync_noop": "the actor copies the weights into a dictionary that is thrown away",
    "sync_other_agent": "the actor fetches the weights of another agent",
    "torn_copy": "weights are copied one by one, without the lock, while the learner publishes",
    "publish_never": "the learner never publishes",
    "publish_rarely": "the learner publishes every thirtieth update only",
    "target_not_published": "the target network is missing from what is published",
    "in_place_training": "the learner trains on the shared weights themselves, while the actor reads them",
    "stale_epsilon": "epsilon is a plain attribute, which processes do not share",
    "not_returned": "the trained weights never reach the caller",
    "double_soft_update": "the target network is moved twice in every update",
    "target_never": "the target network is never moved",
    "target_too_fast": "the target network is moved ten times as far as declared",
    "target_gradients": "the target is computed with gradients, which reach the target network",
    "noise_frozen": "the scales of the noise are not given to the optimiser",
    "eval_mode": "the learner trains in evaluation mode, without noise; the actor acts with it",
    "other_optimizer": "the optimiser was built for a network that has been replaced since",
    "learning_rate_huge": "the loss leaves what a number can hold",
    "loss_not_computed": "the loss that is reported is always 0",
    "replay_ratio_left_to_chance": "the learner updates as often as its processor allows",
    "starved_learner": "one learner gets a fifth of the updates of the others",
    "dead_learner": "a learner dies and nobody notices",
}
ONLY_BETWEEN_PROCESSES = frozenset(
    {"torn_copy", "in_place_training", "stale_epsilon", "replay_ratio_left_to_chance", "dead_learner"}
)


@dataclass(frozen=True)
class Config:
    """Settings of a training.

    Attributes:
        agents: how many.
        epochs: each is one episode of 20 turns.
        updates_per_epoch: of each learner.
        capacity: rows that a buffer holds.
        seed: of everything random.
        defects: names out of DEFECTS by agent; an agent that is not named is sound.
    """

    agents: int = 2
    epochs: int = 40
    updates_per_epoch: int = 4
    capacity: int = 1000
    seed: int = 0
    defects: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    frames = 3
    n_step = 3
    gamma = 0.95
    tau = 0.02
    batch = 32
    learning_rate = 3e-3
    epsilon_decay = 0.99
    epsilon_floor = 0.05
    warmup_epochs = 3

    def __post_init__(self) -> None:
        if unknown := {name for names in self.defects.values() for name in names} - set(DEFECTS):
            raise ValueError(f"defects holds {sorted(unknown)}; it must be of {sorted(DEFECTS)}")

    def has(self, agent: int, defect: str) -> bool:
        """Whether a defect is switched on for an agent."""
        return defect in self.defects.get(agent, ())

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name."""
        return asdict(self)
