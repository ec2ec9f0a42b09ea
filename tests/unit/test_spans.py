"""Which span lies in which, and what the kinds add up to, against painting every nanosecond by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.view.timeline.spans import NUM_KINDS, SPANS, SpanKind, depths, of_process, time_of_kinds, time_on_core

LENGTH = 40
KINDS = st.sampled_from(list(SpanKind))


@st.composite
def nested(draw, start=0, end=LENGTH, level=0):
    """Spans as one process writes them, the inner before the outer: (start, end, kind, level)."""
    spans = []
    while start < end and (level or len(spans) < 12):
        first = draw(st.integers(start, end))
        last = draw(st.integers(first, end))
        if level < 2 and last > first and draw(st.booleans()):
            spans += draw(nested(first, last, level + 1))
        spans.append((first, last, draw(KINDS), level))
        start = last if last > first else last + 1
    return spans


def recorded(spans, process=0):
    records = np.zeros(len(spans), SPANS)
    for record, (start, end, kind, _) in zip(records, spans, strict=True):
        record["start"], record["duration"], record["kind"], record["process"] = start, end - start, kind, process
    return records


@given(spans=nested())
def test_the_innermost_span_owns_a_moment(spans):
    painted = np.zeros(LENGTH, int)
    for start, end, kind, _ in sorted(spans, key=lambda span: span[3]):
        painted[start:end] = kind
    records = recorded(spans)
    found = time_of_kinds(of_process(records, 0), np.arange(LENGTH + 1))
    expected = np.zeros((NUM_KINDS, LENGTH))
    expected[painted, np.arange(LENGTH)] = painted > 0
    np.testing.assert_allclose(found, expected, atol=1e-9)
    whole = time_of_kinds(of_process(records, 0), [0, LENGTH])
    np.testing.assert_allclose(whole[:, 0], expected.sum(axis=1), atol=1e-9)


@given(spans=nested())
def test_a_span_has_the_depth_at_which_it_was_made(spans):
    lasting = [span for span in spans if span[1] > span[0]]
    outer_first = [level for *_, level in sorted(reversed(lasting), key=lambda span: (span[0], -span[1]))]
    assert depths(of_process(recorded(lasting), 0)).tolist() == outer_first


def test_processes_are_told_apart():
    both = np.concatenate([recorded([(0, 9, SpanKind.ACTING, 0)], 0), recorded([(2, 5, SpanKind.WAITING, 0)], 1)])
    assert of_process(both, 1)["start"].tolist() == [2]
    assert len(of_process(both, 2)) == 0
    assert time_of_kinds(of_process(both, 2), [0, 9]).sum() == 0


def test_time_on_a_core_counts_the_outermost_work_and_the_part_of_a_span_that_lies_inside():
    records = recorded([
        (0, 100, SpanKind.ACTING, 0), (10, 40, SpanKind.SYNCING, 1), (100, 200, SpanKind.WAITING, 0),
        (200, 300, SpanKind.LEARNING, 0), (300, 300, SpanKind.LEARNING, 0),
    ])  # fmt: skip
    records["on_core"] = [50, 30, 7, 80, 0]
    assert time_on_core(records, 0, 300, [SpanKind.WAITING]) == 130
    assert time_on_core(records, 50, 225, [SpanKind.WAITING]) == 25 + 20
    assert time_on_core(records, 50, 225, []) == 25 + 7 + 20
