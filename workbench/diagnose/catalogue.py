"""The failures that a multiprocess trainer can suffer from, as the seeds name them: one table, one truth for their ids.

*Source* is a document of the seeds (000 to 004) and its own numbering. *Faults* are the names under which a failure can
be switched on in a sound run, *check* is the one that has to notice it then. A claim of the seeds that measuring has
disproved, or is to measure, has a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHECKS = (
    "data", "stack", "shape", "spec", "integrity", "target", "world", "action",
    "sync", "epsilon", "optimizer", "device",
    "learner", "value", "pacing", "supervisor", "learning",
)  # fmt: skip
"""Names of all checks, in the order in which they are shown."""


@dataclass(frozen=True)
class Failure:
    """One row of the catalogue."""

    id: str
    """Letter of the room (D data, W weights and epsilon, L learning step, P processes) and a number."""
    title: str
    source: str
    faults: tuple[str, ...] = ()
    """Names of the faults that switch it on; empty where it is no switch."""
    check: str | None = None
    """Name of the check that must notice, one of :data:`CHECKS`; None where no check of a run can."""
    note: str = ""
    """What measuring says, or where else it is shown."""


CATALOGUE: dict[str, Failure] = {
    failure.id: failure
    for failure in (
        Failure(
            "D1", "every process has its own empty replay; the learner trains on zeros", "002 2.3, 12.3",
            ("replay_not_shared",), "data",
        ),
        Failure(
            "D2", "the actor's frame history is cleared at each epoch, the replay is not", "002 0.1, 6.2; 003 0.1",
            ("actor_history_cleared",), "stack",
            "Disproved as the cause: to clear the history is right, it is the ring that has to keep the break. What is "
            "wrong is num_frames - 1 states in an epoch; the seed's own remedy, to clear nothing, is failure D10.",
        ),
        Failure(
            "D3", "frames are stacked from another buffer than the one trained on", "002 0.2, 6.1; 003 0.2",
            ("separate_history",), "stack",
            "Disproved as the cause: two buffers that hold the same frames give the same stacks. It needs one that has "
            "fallen behind, and the fault's strength says by how many turns.",
        ),
        Failure(
            "D4", "an observation of shape (1, S) is given to a buffer of (S,)", "002 0.4, 1.1; 003 0.4",
            ("unflattened_observation",), "shape",
            "Disproved: NumPy broadcasts (1, S) into (S,) without harm. Here any other shape is refused at the door.",
        ),
        Failure("D5", "actor and learner disagree on the observation's shape", "002 1.2", ("spec_mismatch",), "spec"),
        Failure(
            "D6", "actor and learner disagree on the number of stacked frames", "002 1.3", ("frames_mismatch",), "spec"
        ),
        Failure(
            "D7", "sampling reads a size that changes under it", "002 2.1; 004 4", ("unvalidated_sampling",),
            "integrity",
        ),
        Failure("D8", "rows half written while they are read", "002 2.3", ("unvalidated_sampling",), "integrity"),
        Failure("D9", "wrap-around mixes oldest and newest rows", "002 2.2", ("wraparound_ignored",), "integrity"),
        Failure(
            "D10", "stacks or n-step windows cross an episode's end", "002 6.3, 10.2", ("episode_boundary_ignored",),
            "stack",
        ),
        Failure(
            "D11", "a time limit is treated as a terminal state, or not marked at all", "002 10.2",
            ("truncation_as_terminal",), "target",
        ),
        Failure("D12", "an n-step discount is applied to one-step rewards", "002 7.3", ("nstep_mismatch",), "target"),
        Failure("D13", "shared memory is corrupted", "002 12.3", ("corrupt_rows",), "integrity"),
        Failure(
            "D14", "the learner starts before there is data", "002 5.1, 12.1",
            note="No switch: replay.learning_starts is explicit, and a learner waits for it without using the CPU.",
        ),
        Failure(
            "D15", "the buffer overflows before learning starts; early data is lost", "002 5.2",
            note="No switch: the configuration is refused.",
        ),
        Failure("D16", "actions outside the action space", "002 10.3", ("action_out_of_range",), "action"),
        Failure("D17", "a reset of the world leaves old state behind", "002 10.1", ("stale_reset",), "world"),
        Failure(
            "W1", "weights are copied parameter by parameter: the actor acts with a mixture", "004 1",
            ("torn_weights_per_parameter",), "integrity",
        ),
        Failure(
            "W2", "load_state_dict is taken to be atomic", "004 1; 000 6", ("torn_weights_state_dict",), "integrity",
            "Disproved: load_state_dict is a loop over the parameters and tears as the loop of W1 does.",
        ),
        Failure(
            "W3", "the actor never syncs, or far too rarely", "000 1, 4; 002 3.1", ("sync_never", "sync_rarely"), "sync"
        ),
        Failure(
            "W4", "the learner never publishes, or far too rarely", "000 8; 002 3.1",
            ("publish_never", "publish_rarely"), "sync",
        ),
        Failure("W5", "a sync runs but does not change the weights", "000 2, 6", ("sync_noop",), "sync"),
        Failure("W6", "the sync happens after the action, not before it", "000 7", ("sync_after_action",), "sync"),
        Failure(
            "W7", "the actor explores with a stale epsilon", "000 5; 002 3.2; 004 3", ("stale_epsilon",), "epsilon"
        ),
        Failure(
            "W8", "the target network is missing from what is published", "001 2; 002 3.3", ("target_not_published",),
            "sync",
            "Disproved as a cause: the actor asks no target network; rewards and losses stay the same to the last bit.",
        ),
        Failure(
            "W9", "the optimiser is built before the weights are replaced", "001 1, 4", ("optimizer_before_weights",),
            "optimizer",
            "Disproved for the seed's case: weights copied in place find an optimiser without moments; every update "
            "stays the same to the last bit. It needs an optimiser of other weights, as the fault has.",
        ),
        Failure("W10", "the snapshot is moved to the GPU by accident", "002 8.3", ("snapshot_on_gpu",), "device"),
        Failure(
            "W11", "versions are not tracked: nobody knows how far behind the actor is", "000 3", check="sync",
            note="No switch: every row carries the version that chose its action; method 3 shows the histogram.",
        ),
        Failure(
            "L1", "the target network is updated twice per step", "002 0.3, 4.1, 4.2; 004 5", ("double_target_update",),
            "learner",
        ),
        Failure(
            "L2", "the network is left in evaluation mode, noisy layers are silent", "001", ("eval_mode_training",),
            "learner",
        ),
        Failure("L3", "batch and model lie on different devices", "001; 002 8.1", ("device_mismatch",), "device"),
        Failure("L4", "no gradient clipping", "001", ("no_gradient_clipping",), "learner"),
        Failure(
            "L5", "the learner's step counter is not initialised or not counted", "001 1", ("step_counter_stuck",),
            "learner",
        ),
        Failure(
            "L6", "only small batches, no gradient accumulation", "002 4.3; 004 6",
            note="No switch: learning.accumulate micro-batches equal one large batch.",
        ),
        Failure(
            "L7", "a fixed learning rate", "002 4.4; 001 P3", note="No switch: learning.learning_rate_schedule."
        ),
        Failure("L8", "uniform sampling only", "002 5.3; 004 10", note="No switch: a question of the algorithm."),
        Failure(
            "L9", "off-policy mismatch between actor and learner is a fundamental flaw", "004 2",
            note="Doubtful for one-step targets: a Q-learning target does not ask which policy chose the action.",
        ),
        Failure("L10", "rewards are badly scaled", "002 7.1", ("reward_scale_off",), "value"),
        Failure("L11", "rewards are sparse", "002 7.2", note="No switch: world.spawn_prob sets the density of gems."),
        Failure(
            "L12", "learning rate, batch size, epsilon decay or tau are ill chosen", "002 9.1-9.4",
            note="No switch: a question for a sweep over settings.",
        ),
        Failure(
            "L13", "the learner runs far ahead on the same old data", "002 5.1", ("unpaced_learner",), "pacing"
        ),
        Failure(
            "L14", "whether the loss falls says nothing about learning", "002 11.1, 11.2", check="learning",
            note="No switch: the greedy reward stands beside that of a policy that does not learn.",
        ),
        Failure(
            "L15", "transfers between CPU and GPU on every step", "002 8.2; 004 9",
            note="No switch: a publication is one flat copy.",
        ),
        Failure(
            "P1", "a process dies and nobody notices", "002 12.2; 004 7", ("kill_learner", "kill_actor"), "supervisor"
        ),
        Failure("P2", "a process hangs", "004 7", ("hang_learner",), "supervisor"),
        Failure(
            "P3", "a dead process leaves a lock held; the rest waits for ever", "the design of the processes",
            ("kill_while_writing",), "supervisor",
        ),
        Failure(
            "P4", "shared memory is left behind", "004 7", note="No switch: the blocks have no name; a test looks."
        ),
        Failure("P5", "no checkpoint, no resume", "004 8", note="No switch."),
        Failure("P6", "N agents cost 3N model copies on the GPU", "004 9", note="No switch: a question of memory."),
    )
}  # fmt: skip
"""Every failure by id, in the catalogue's order."""


def ids_of_check(check: str) -> tuple[str, ...]:
    """Ids of the failures that a check speaks for."""
    return tuple(failure.id for failure in CATALOGUE.values() if failure.check == check)


def ids_of_fault(fault: str) -> tuple[str, ...]:
    """Ids of the failures that a fault switches on; empty for an unknown name."""
    return tuple(failure.id for failure in CATALOGUE.values() if fault in failure.faults)


def check_of_fault(fault: str) -> str:
    """Name of the check that must notice a fault.

    Raises:
        KeyError: there is no fault of that name.
    """
    for failure in CATALOGUE.values():
        if fault in failure.faults and failure.check is not None:
            return failure.check
    raise KeyError(f"there is no fault {fault!r}; the catalogue has {', '.join(fault_names())}")


def fault_names() -> tuple[str, ...]:
    """Names of all faults, in the catalogue's order."""
    return tuple(dict.fromkeys(fault for failure in CATALOGUE.values() for fault in failure.faults))


def effect_text(line: Mapping[str, Any]) -> str:
    """What a fault does to the reward: effect, interval, and whether it can be told from none.

    Args:
        line: of the fault, in ``faults`` of the fault matrix.
    """
    if line["effect"] is None:
        return line["outcome"] if line["outcome"] != "finished" else "-"
    if line["effect_interval"] is None:
        return f"{line['effect']:+.1f}"
    low, high = line["effect_interval"]
    return f"{line['effect']:+.1f} [{low:+.1f}, {high:+.1f}]" + ("" if line["measurable"] else " not measurable")
