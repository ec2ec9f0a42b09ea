"""What a run measures: the core's metrics, each with its definition, and the meaning of the other columns."""

from __future__ import annotations

import numpy as np

from workbench.core import records
from workbench.core.did_you_mean import did_you_mean
from workbench.core.records import Metric
from workbench.diagnose.measurements import PROBE_TABLES
from workbench.view.timeline.span_kinds import SPAN_TABLES

TABLES: dict[str, np.dtype[np.void]] = {
    name: table.dtype for name, table in records.tables_with([PROBE_TABLES, SPAN_TABLES]).items()
}

AXES = {name: table.axis for name, table in records.TABLES.items() if table.axis}
"""The column of a table that its metrics are drawn over."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "losses/quantile_huber", "updates", "loss", "scaled reward",
            "Quantile Huber loss of the update, before the step: summed over the online fractions, averaged over the "
            "target fractions and the batch (Dabney et al. 2018, equation 3).",
        ),
        Metric(
            "losses/td_error", "updates", "td_error", "scaled reward",
            "Mean of |target - value| over the batch and all pairs of online and target fractions.",
        ),
        Metric(
            "values/mean_q", "updates", "mean_q", "scaled reward",
            "Mean over the batch of the online Q(s_tm1, a_tm1), before the step.",
        ),
        Metric(
            "values/max_q", "updates", "max_q", "scaled reward",
            "Greatest online Q(s_tm1, a_tm1) of the batch, before the step.",
        ),
        Metric(
            "learning/grad_norm", "updates", "grad_norm", "1",
            "Euclidean norm of the gradient over all parameters of the agent, before clipping.",
        ),
        Metric("learning/learning_rate", "updates", "learning_rate", "1", "Step size of the optimiser in the update."),
        Metric(
            "learning/target_updates", "updates", "target_updates", "target updates",
            "Target updates of this agent so far, this update's included.",
        ),
        Metric(
            "replay/sample_age", "updates", "sample_age", "versions",
            "Mean over the batch of the newest published version minus the version that chose the row's action. Rows "
            "live long in a replay, so this is large by nature; it is no sync lag.",
        ),
        Metric("replay/fill", "updates", "replay_fill", "rows", "Rows that the update could have sampled."),
        Metric(
            "charts/reward", "epochs", "reward", "reward per epoch",
            "Unscaled reward of this agent, summed over the epoch's turns, mean over the worlds, while it explores.",
            over_agents="sum",
        ),
        Metric("charts/epsilon", "epochs", "epsilon", "probability", "Epsilon that the actor used in the epoch."),
        Metric(
            "charts/replay_ratio", "epochs", "replay_ratio", "updates per agent step",
            "Updates of this agent so far divided by its agent steps so far.",
        ),
        Metric(
            "sync/policy_version", "epochs", "policy_version", "versions",
            "Version that chose the epoch's last action; 0 is the initial weights.",
        ),
        Metric(
            "sync/policy_updates", "epochs", "policy_updates", "updates",
            "Updates behind the policy that chose the epoch's last action.",
        ),
        Metric(
            "sync/lag_versions", "epochs", "sync_lag_versions", "versions",
            "Newest published version minus the version in use, at the epoch's last action.",
        ),
        Metric(
            "sync/lag_updates", "epochs", "sync_lag_updates", "updates",
            "Updates that the learner has done minus the updates behind the policy in use, at the epoch's last action.",
        ),
        Metric(
            "sync/lag_ms", "epochs", "sync_lag_ms", "ms",
            "Publication time of the newest version minus that of the version in use, at the epoch's last action.",
        ),
        Metric(
            "charts/greedy_reward", "evaluations", "reward", "reward per epoch",
            "Unscaled reward of this agent per greedy epoch, mean over worlds that only the evaluation uses.",
            over_agents="sum",
        ),
    )
}  # fmt: skip

COLUMNS: dict[str, str] = {
    "time": "When the record was made: seconds since 1970, UTC.",
    "agent": "Index of the agent; -1 for all or none of them.",
    "epoch": ("Index of the epoch, counted from 0; in an event, the first epoch that the version can be used in."),
    "update": "Updates of this agent so far, the recorded one included; in an event, those behind the version.",
    "agent_steps": "Agent steps of this agent so far, this epoch's included.",
    "kind": "What happened: an EventKind.",
    "version_before": "The version that was replaced.",
    "version": "The version that was published, taken over or evaluated; 0 is the initial weights.",
    "epsilon": "Epsilon that goes with the version.",
    "worlds": "Greedy epochs behind the mean, run side by side as worlds.",
    "final": "1 for the evaluation after the last update, else 0.",
}
"""Fields that say when, where and under what a record was made."""


def metric(name: str) -> Metric:
    """The metric of that public name.

    Raises:
        KeyError: there is none; the nearest names are given.
    """
    if name in METRICS:
        return METRICS[name]
    aliases = {alias: each.name for each in METRICS.values() for alias in (each.name.split("/")[1], each.field)}
    raise KeyError(f"there is no metric {name!r}; {did_you_mean(name, METRICS, aliases)}")
