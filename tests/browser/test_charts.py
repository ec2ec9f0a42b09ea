"""The charts in a real browser, fed by hand: how they look, and how they answer pointer and keys."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from tests.browser import pictures, stub
from tests.browser.lab import wait_until
from tests.browser.test_live_panel import press, wait_for_frames
from tests.unit.test_figures import GENERATED, QUICK, RecordedRun
from workbench.view.panel.charts import CHARTS, Choices
from workbench.view.panel.feed import Feed
from workbench.view.panel.widget import Charts

pytestmark = pytest.mark.browser
PAPERS = {"light": "#ffffff", "dark": "#111111"}
LONG = (
    "the baseline, without any change", "a learning rate ten times larger, with decay", "n-step returns of five",
    "priorities, alpha 0.6", "a-very-long-name-that-nobody-would-choose-but-that-must-not-break-what-stands-beside-it",
)  # fmt: skip


def trained(seed: int, mode: str = "sequential", name: str = "", agents: int = 2, epochs: int = 150) -> Any:
    """A run with made-up, noisy records that are the same every time, and by default a name that nobody chose."""
    config = QUICK.replace(epochs=epochs, **{"world.num_agents": agents, "world.height": 15, "world.width": 15})
    run, rng, each = RecordedRun(mode, 1, config, name or f"{GENERATED}{seed}"), np.random.default_rng(seed), 20
    update, epoch = np.arange(1, epochs * each + 1), np.arange(epochs)
    for agent in range(agents):
        noise, done = rng.random(len(update)), update / len(update)
        run.record(
            "updates", agent=np.full(len(update), agent), update=update, epoch=(update - 1) // each,
            time=100 + update * 0.01, loss=np.exp(-3 * done) * (1 + 0.5 * noise) + 0.05, mean_q=5 * done + 0.1 * seed,
            max_q=9 * done + noise, td_error=noise, grad_norm=20 * noise**2, learning_rate=1e-3 * (1 - done),
            sample_age=update / 30,
        )  # fmt: skip
        run.record(
            "epochs", agent=np.full(epochs, agent), epoch=epoch, time=100 + epoch * each * 0.01,
            agent_steps=(epoch + 1) * config.steps_per_epoch, replay_ratio=each / config.steps_per_epoch,
            reward=30 * np.tanh(3 * epoch / epochs) + rng.normal(size=epochs) * 4,
            epsilon=np.maximum(0.02, 1 - 2 * epoch / epochs), sync_lag_ms=300 * rng.random(epochs),
            sync_lag_versions=rng.integers(0, 3, epochs), sync_lag_updates=rng.integers(0, 60, epochs),
        )  # fmt: skip
        run.record(
            "evaluations", agent=np.full(10, agent), epoch=epochs // 10 * np.arange(10), reward=np.arange(10) * 3
        )
    return run


def two() -> list[Any]:
    return [trained(0), trained(1, "multiprocess", epochs=120)]


def five() -> list[Any]:
    runs = [trained(seed, name=name, epochs=60) for seed, name in enumerate(LONG)]
    runs[1].made = [(100.0, 20, {"learning.learning_rate": 0.1}), (100.0, 21, {"learning.learning_rate": 0.01})]
    return runs


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with stub.browser() as started:
        yield started


@pytest.mark.parametrize("theme", PAPERS)
@pytest.mark.parametrize("width", [1400, 900])
def test_a_panel_looks_as_committed(browser: Browser, tmp_path: Path, theme: str, width: int) -> None:
    page = stub.show(browser, tmp_path, two(), Choices(), width - 250, PAPERS[theme])  # a notebook has margins
    check_legible(page)
    shot = page.locator(".wb-panel").screenshot(animations="disabled")
    pictures.check(shot, f"panel_{theme}_{width}.png", tmp_path)
    page.close()


def test_marks_of_many_runs_leave_the_curves_to_be_seen(browser: Browser, tmp_path: Path) -> None:
    runs = [trained(seed) for seed in range(10)]
    for run in runs:
        more = np.arange(100)
        run.record("evaluations", agent=np.zeros(100), epoch=more, reward=more % 7)
    page = stub.show(browser, tmp_path, runs, Choices(("reward",)), 700, PAPERS["light"])
    chart = "document.querySelector('.wb-chart').chart"
    marks = f"{chart}.shown.filter(line => line.kind === 'marks').flatMap(line => {chart}.marked(line)).length"
    assert 10 <= page.evaluate(marks) <= 200
    page.close()


@pytest.mark.parametrize(("runs", "choices"), [
    (five, Choices(tuple(CHARTS)[:12])),
    (lambda: [trained(0, agents=50, epochs=40)], Choices(agents="each")),
], ids=["five_runs_twelve_charts", "fifty_agents"])  # fmt: skip
def test_much_at_once_has_room(browser: Browser, tmp_path: Path, runs: Any, choices: Choices, request: Any) -> None:
    page = stub.show(browser, tmp_path, runs(), choices, 650, PAPERS["dark"])
    check_legible(page)
    shot = page.locator(".wb-panel").screenshot(animations="disabled")
    pictures.check(shot, f"{request.node.callspec.id}.png", tmp_path)
    page.close()


def check_legible(page: Page) -> None:
    """Text is large enough and stands out; nothing is cut off by the panel's edge."""
    found = page.evaluate("""() => {
        const panel = document.querySelector(".wb-panel"), edge = panel.getBoundingClientRect().right + 1;
        const texts = [...panel.querySelectorAll("button, b, span, label, figcaption, summary, output")]
            .filter(each => each.innerText?.trim() && each.getClientRects().length);
        const numbers = text => text.match(/[.0-9]+/g).slice(0, 3).map(Number);
        const light = colour => colour.map(each => each / 255)
            .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
            .reduce((sum, each, place) => sum + [0.2126, 0.7152, 0.0722][place] * each, 0);
        const paper = light(numbers(getComputedStyle(document.body).backgroundColor));
        const contrast = colour => {
            const [high, low] = [light(numbers(colour)), paper].sort((a, b) => b - a);
            return (high + 0.05) / (low + 0.05);
        };
        return {
            size: Math.min(...texts.map(each => parseFloat(getComputedStyle(each).fontSize))),
            contrast: Math.min(...texts.map(each => contrast(getComputedStyle(each).color))),
            cut: texts.filter(each => each.getBoundingClientRect().right > edge).map(each => each.innerText),
        };
    }""")
    assert found["size"] >= 11 and found["contrast"] >= 4.5 and found["cut"] == []


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    page = stub.show(browser, tmp_path, two(), Choices(), 1150, PAPERS["light"])
    yield page
    page.close()


def changes(page: Page, before: str) -> str:
    """Wait until the charts look different; returns how."""

    def other() -> str:
        (now,) = wait_for_frames(page, 1)
        return now if now != before else ""

    return str(wait_until(other, "the charts look different"))


def test_the_cursor_shows_all_runs_in_all_charts(shown: Page) -> None:
    loss, reward = shown.locator(".wb-chart").nth(0), shown.locator(".wb-chart").nth(2)
    loss.locator(".u-over").hover(position={"x": 100, "y": 60})
    texts = loss.locator(".wb-readout div").all_inner_texts()
    assert len(texts) == 3 and texts[0].startswith("updates of each agent") and "multiprocess" in texts[2]
    assert reward.locator(".wb-readout div").count() == 2, "a chart over epochs shows the same moment"
    shown.mouse.move(2, 2)
    assert shown.locator(".wb-readout:visible").count() == 0


def test_dragging_zooms_in_and_a_double_click_out(shown: Page) -> None:
    (whole,) = wait_for_frames(shown, 1)
    over = shown.locator(".u-over").nth(0)
    box = over.bounding_box()
    assert box is not None
    shown.mouse.move(box["x"] + 40, box["y"] + 50)
    shown.mouse.down()
    shown.mouse.move(box["x"] + 140, box["y"] + 60, steps=4)
    shown.mouse.up()
    near = changes(shown, whole)
    over.dblclick(position={"x": 100, "y": 60})
    assert changes(shown, near) == whole


def test_a_key_of_the_legend_hides_its_run_in_all_charts(shown: Page) -> None:
    (whole,) = wait_for_frames(shown, 1)
    key = shown.locator(".wb-key").nth(1)
    assert shown.locator(".wb-key").all_inner_texts() == ["sequential", "multiprocess"]
    key.focus()
    shown.keyboard.press("Enter")
    assert key.get_attribute("aria-pressed") == "false"
    without = changes(shown, whole)
    shown.locator(".u-over").nth(0).hover(position={"x": 100, "y": 60})
    assert shown.locator(".wb-readout", has_text="multiprocess").count() == 0
    shown.mouse.move(2, 2)
    key.click()
    assert changes(shown, without) == whole and key.get_attribute("aria-pressed") == "true"


def test_smoothing_and_log_scale_are_drawn_and_told_to_the_kernel(shown: Page) -> None:
    (before,) = wait_for_frames(shown, 1)
    shown.locator("input[type=range]").fill("0")
    shown.locator("output", has_text="off").wait_for()
    before = changes(shown, before)
    press(shown, "Log scale")
    changes(shown, before)
    assert shown.locator("button", has_text="Log scale").get_attribute("aria-pressed") == "true"
    assert shown.evaluate("[values.smoothing, values.log]") == [0, True]
    shown.locator(".wb-chart", has_text="Reward").locator(".wb-note", has_text="some values are 0 or below").wait_for()


def test_a_constant_is_seen_on_a_log_scale(browser: Browser, tmp_path: Path) -> None:
    run, epochs = RecordedRun("sequential", 1, QUICK, GENERATED), np.arange(40)
    for agent in range(QUICK.num_agents):
        run.record(
            "epochs", agent=np.full(40, agent), epoch=epochs, agent_steps=epochs + 1, sync_lag_versions=np.full(40, 1)
        )
    page = stub.show(browser, tmp_path, [run], Choices(("lag_versions",), log=True), 650, PAPERS["light"])
    low, high = page.evaluate("(({ min, max }) => [min, max])(panel.querySelector('figure').chart.u.scales.y)")
    assert low < 1 < high
    page.close()


def test_other_runs_have_their_names_in_the_legend_and_what_is_hidden_stays_so(shown: Page) -> None:
    """As many as before, as where a sweep shows those of its cells that began last."""
    keys, widget = shown.locator(".wb-key"), Charts()
    keys.nth(1).click()
    for names, seen in ((["third", "fourth"], ["true", "true"]), (["fourth", "fifth"], ["false", "true"])):
        widget.show(Feed([trained(place, name=name) for place, name in enumerate(names)], Choices()))
        shown.evaluate("drawing => { values.drawing = drawing; hear('change:drawing'); }", widget.drawing)
        assert keys.all_inner_texts() == names
        assert [key.get_attribute("aria-pressed") for key in keys.all()] == seen
        keys.nth(1).click()


def test_a_run_stays_hidden_when_others_come_that_give_it_a_longer_name(shown: Page) -> None:
    """As where cells of a sweep begin that differ in one more setting."""
    runs, keys, widget = two(), shown.locator(".wb-key"), Charts()
    keys.nth(0).click()
    third = trained(2)
    third.config = third.config.replace(seed=7)
    widget.show(Feed([*runs, third], Choices()))
    shown.evaluate("drawing => { values.drawing = drawing; hear('change:drawing'); }", widget.drawing)
    assert keys.first.inner_text() not in ("", "sequential"), "it is told apart from the third"
    assert [key.get_attribute("aria-pressed") for key in keys.all()[:2]] == ["false", "true"]


def test_a_zoom_stays_when_other_charts_are_chosen_and_waits_while_the_axis_is_another(shown: Page) -> None:
    widget, ranges = Charts(), []
    shown.evaluate("panel.querySelector('figure').chart.panel.zoom('update', [500, 1500])")
    for choices in (
        Choices(("loss", "epsilon")), Choices(("loss", "epsilon"), over="time"), Choices(("epsilon", "reward")),
        Choices(("loss", "epsilon", "td_error"), agents="each"),
    ):  # fmt: skip
        feed = Feed(two(), choices)
        feed.update()
        widget.show(feed)
        lines, rows = feed.news(everything=True)
        sent = {"drawing": widget.drawing, "head": widget._head(feed, lines), "rows": list(rows)}
        shown.evaluate(
            """({ drawing, head, rows }) => {
            values.drawing = drawing; hear("change:drawing");
            hear("msg:custom", { ...head, version: drawing.version }, [new DataView(new Uint8Array(rows).buffer)]);
        }""",
            sent,
        )
        script = "[...panel.querySelectorAll('figure')].map(({ chart }) => chart.range)"
        ranges.append([[round(x) for x in each] for each in shown.evaluate(script)])
        whole = [[0, round(feed.end(number))] for number in range(len(feed.charts))]
        ranges[-1] = "whole" if ranges[-1] == whole else ranges[-1]
    near, time, epochs, again = ranges
    assert near == [[500, 1500], [24, 74]], "update 500 is in epoch 24"
    assert time == epochs == "whole" and again == [*near, near[0]]


def write_down(page: Page) -> None:
    """Have the page keep what is written into its charts, in ``written``."""
    page.evaluate("""() => {
        window.written = [];
        const write = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
            const { width } = this.measureText(text);
            written.push({ text, x, y, width, align: this.textAlign, size: parseFloat(this.font) });
            write.call(this, text, x, y);
        };
    }""")


def test_a_run_that_is_hidden_takes_its_changes_along(browser: Browser, tmp_path: Path) -> None:
    page = stub.show(browser, tmp_path, five()[:2], Choices(("loss",)), 650, PAPERS["light"])
    write_down(page)
    said = []
    for _ in range(2):
        (before,) = wait_for_frames(page, 1)
        page.evaluate("written = []")
        page.locator(".wb-key").nth(1).click()
        changes(page, before)
        said.append("learning_rate = 0.1" in [each["text"] for each in page.evaluate("written")])
    page.close()
    assert said == [False, True]


def test_evaluations_of_two_runs_are_seen_where_they_are_equal(shown: Page) -> None:
    write_down(shown)
    (before,) = wait_for_frames(shown, 1)
    shown.locator("input[type=range]").fill("0")
    changes(shown, before)
    size = {each["text"]: each["size"] for each in shown.evaluate("written")}
    assert size["●"] > size["■"] + 3, "what is drawn first looks out on all sides"


def test_names_of_the_references_stand_where_fewer_marks_lie(browser: Browser, tmp_path: Path) -> None:
    run, epochs = trained(0), np.arange(141, 150, 2)
    for agent in range(2):  # in the end they earn what the better reference earns
        run.record("evaluations", agent=np.full(5, agent), epoch=epochs, reward=np.full(5, 30.75))
    page = stub.show(browser, tmp_path, [run], Choices(), 1150, PAPERS["light"])
    write_down(page)
    (before,) = wait_for_frames(page, 1)
    page.locator("input[type=range]").fill("0")
    changes(page, before)
    written = page.evaluate("written")
    sides = {
        name: each["align"] for each in written for name in ("random", "scripted") if each["text"].startswith(name)
    }
    page.close()
    assert sides == {"random": "right", "scripted": "left"}


def test_beyond_its_end_a_run_has_no_value(browser: Browser, tmp_path: Path) -> None:
    runs = [trained(0, epochs=50), trained(1, "multiprocess", epochs=200)]
    page = stub.show(browser, tmp_path, runs, Choices(("epsilon",)), 650, PAPERS["light"])
    over, texts = page.locator(".u-over"), page.locator(".wb-readout div")
    width, told = over.evaluate("node => node.clientWidth"), []
    for share in (0.2, 0.8):
        over.hover(position={"x": share * width, "y": 60})
        told.append([each.split()[-1] for each in texts.all_inner_texts()[1:]])
    page.close()
    assert told == [["sequential", "multiprocess"], ["multiprocess"]]


def test_many_evaluations_leave_the_curve_to_be_seen(browser: Browser, tmp_path: Path) -> None:
    run, epochs = trained(0, epochs=900), np.arange(50, 890)
    for agent in range(2):
        run.record("evaluations", agent=np.full(840, agent), epoch=epochs, reward=epochs % 7 + 9 * (epochs == 400))
    page = stub.show(browser, tmp_path, [run], Choices(("reward",)), 650, PAPERS["light"])
    write_down(page)
    seen = []
    for start, end in ((0, 899), (395, 405)):
        (before,) = wait_for_frames(page, 1)
        page.evaluate(f"written = []; panel.querySelector('figure').chart.panel.zoom('epoch', [{start}, {end}])")
        changes(page, before)
        seen.append([each["y"] for each in page.evaluate("written") if each["text"] == "●"])
    page.close()
    whole, near = seen
    assert 40 <= len(whole) <= 80 and len(near) == 11, "all of them are there where one looks closer"
    assert min(whole) < sorted(whole)[1] - 10, "the best one is among them"


def test_an_evaluation_at_the_edge_is_drawn_whole(browser: Browser, tmp_path: Path) -> None:
    page = stub.show(browser, tmp_path, [trained(0)], Choices(("reward",)), 650, PAPERS["light"])
    (before,) = wait_for_frames(page, 1)
    page.evaluate("panel.querySelector('figure').chart.panel.zoom('epoch', [0, 135])")
    changes(page, before)
    beyond = page.evaluate("""() => {
        const { bbox, ctx } = panel.querySelector("figure").chart.u;
        return [...ctx.getImageData(bbox.left + bbox.width + 2, bbox.top, 8, bbox.height).data];
    }""")
    page.close()
    assert any(0 < level < 255 for level in beyond), "its right half is there"


def test_where_a_value_is_not_finite_readout_words_and_saved_picture_say_so(browser: Browser, tmp_path: Path) -> None:
    run = RecordedRun(config=QUICK.replace(**{"world.num_agents": 1}))
    run.learn(40, loss=np.where(np.arange(40) < 20, 1.0, np.nan))
    page = stub.show(browser, tmp_path, [run], Choices(("loss",), smoothing=0), 650, PAPERS["light"])
    over = page.locator(".u-over")
    over.hover(position={"x": 0.8 * over.evaluate("node => node.clientWidth"), "y": 60})
    assert page.locator(".wb-readout div").last.inner_text().split() == ["NaN", "sequential,", "lag", "1"]
    assert page.locator("figure").get_attribute("aria-label") == "Loss. sequential, lag 1: NaN"
    write_down(page)
    with page.expect_download():
        press(page.locator(".wb-panel"), "PNG")
    assert "Loss 20 values are not finite" in {each["text"] for each in page.evaluate("written")}
    page.close()


def test_labels_of_the_y_axis_are_whole_and_apart(browser: Browser, tmp_path: Path) -> None:
    run, number = RecordedRun(config=QUICK.replace(**{"world.num_agents": 1})), np.arange(60)
    run.learn(60, loss=10.0 ** (number / 5 - 6))
    other = RecordedRun("multiprocess", config=run.config.replace(agent="dqn")).learn(60)
    page = stub.show(browser, tmp_path, [run, other], Choices(("loss",), log=True, smoothing=0), 650, PAPERS["light"])
    write_down(page)
    page.evaluate("const { chart } = panel.querySelector('figure'); chart.u.destroy(); chart.u = null; chart.refresh()")
    wait_until(lambda: page.evaluate("written.length"), "the chart was drawn again")
    written = page.evaluate("written")
    page.close()
    (unit,) = (each for each in written if each["text"] == "quantile Huber loss or Huber loss")
    assert unit["width"] < 160, "the chart is 200 high, and its middle lies above that of its letters"
    decades = sorted(each["y"] for each in written if each["text"] in ("1,000,000", "10,000", "100", "1", "0.01"))
    assert len(decades) == 5 and not {"100,000", "1,000", "0.1"} & {each["text"] for each in written}
    assert np.diff(decades).min() > 12, "as high as a letter"


def test_a_value_between_two_that_are_not_finite_is_drawn(browser: Browser, tmp_path: Path) -> None:
    run, number = RecordedRun(config=QUICK.replace(**{"world.num_agents": 1})), np.arange(40)
    run.learn(40, loss=np.where(np.isin(number, (3, 20, 21, 39)), 1.0 + number, np.nan))
    page = stub.show(browser, tmp_path, [run], Choices(("loss",), smoothing=0), 650, PAPERS["light"])
    write_down(page)
    page.evaluate("panel.querySelector('figure').chart.refresh()")
    wait_until(lambda: page.evaluate("written.length"), "the chart was drawn again")
    assert sum(each["text"] == "●" for each in page.evaluate("written")) == 2, "20 and 21 are a line"
    page.close()


def test_a_new_page_invents_no_rows_for_those_that_it_has_still_to_be_sent(shown: Page) -> None:
    counts = shown.evaluate("""() => {
        hear("change:drawing");
        const { lines, charts } = panel.querySelector("figure").chart.panel, rows = new Float32Array([2001, 0.1]);
        const news = { version: values.drawing.version, lines: [[0, 2000, 1, 2, 100]],
            charts: charts.map(() => ({ end: 3000, note: "", changes: [] })) };
        hear("msg:custom", news, [new DataView(rows.buffer)]);
        return lines.map(line => line.count);
    }""")
    assert set(counts) == {0}


def test_what_was_typed_stays_when_other_charts_are_chosen(shown: Page) -> None:
    shown.locator("summary", has_text="Change").click()
    rate = shown.locator("label", has_text="learning_rate").locator("input")
    rate.fill("5e-4")
    shown.evaluate("hear('change:drawing')")
    assert rate.input_value() == "5e-4"
    press(shown, "Apply")
    assert {"change": {"learning.learning_rate": "5e-4"}} in shown.evaluate("said")


def test_a_keyboard_stays_where_it_was_when_other_charts_are_chosen(shown: Page) -> None:
    shown.locator("summary", has_text="Curves").click()
    shown.locator("label", has_text="TD error").locator("input").focus()
    shown.keyboard.press("Space")
    shown.evaluate("hear('change:drawing')")
    assert shown.evaluate("document.activeElement.value") == "td_error"
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.value") == "learning_rate"


def test_what_a_reader_has_opened_in_a_page_stays_open_when_the_page_is_written_again(shown: Page) -> None:
    opened = []
    for words in ("a figure", "another figure"):
        page = f"<p>{words}</p><details><summary>Stages</summary>all of them</details>"
        shown.evaluate("page => { values.pages = { ...values.pages, Doctor: page }; hear('change:pages'); }", page)
        if not opened:
            shown.locator("summary", has_text="Doctor").click()
            shown.locator("summary", has_text="Stages").click()
        opened.append(shown.locator("details details").evaluate("each => each.open"))
    assert opened == [True, True]


def test_keys_move_the_cursor_and_zoom(shown: Page) -> None:
    loss = shown.locator(".wb-chart").nth(0)
    (whole,) = wait_for_frames(shown, 1)
    loss.focus()
    for _ in range(9):
        shown.keyboard.press("ArrowLeft")
    loss.locator(".wb-readout", has_text="sequential").wait_for()
    assert "sequential" in shown.locator(".wb-hidden").inner_text()
    left = int(re.search(r"updates of each agent ([\d,]+)", loss.inner_text())[1].replace(",", ""))
    assert left < 2700, "they begin where the values end"
    shown.keyboard.press("+")
    near = changes(shown, whole)
    shown.keyboard.press("-")
    assert changes(shown, near) == whole
    assert loss.get_attribute("aria-label").startswith("Loss. sequential: 0.")


def test_a_saved_state_is_drawn_and_answers_without_a_kernel(shown: Page, browser: Browser, tmp_path: Path) -> None:
    (live,) = wait_for_frames(shown, 1)
    page = stub.show(browser, tmp_path, two(), Choices(), 1150, PAPERS["light"], kept=True)
    (kept,) = wait_for_frames(page, 1)
    assert kept == live
    page.locator(".u-over").nth(0).hover(position={"x": 100, "y": 60})
    assert "multiprocess" in page.locator(".wb-readout").nth(0).inner_text()
    page.mouse.move(2, 2)
    page.locator(".wb-key").nth(1).click()
    changes(page, kept)
    page.close()


def test_the_widget_is_one_module_that_needs_nothing_else() -> None:
    """So it is loaded alike by JupyterLab, Notebook, VS Code and Colab: no import, no require, no address."""
    for text in (Charts._esm, Charts._css):
        text = re.sub(r"/\*!.*?\*/", "", text)  # whose library it is
        assert not re.search(r"https?://(?!www\.w3\.org)|\bfetch\(|XMLHttpRequest|WebSocket|@import|\burl\(", text)
    assert not re.search(r"^\s*import\b|\bimport\(|\brequire(js)?\b", Charts._esm, re.MULTILINE)
    assert Charts._esm.count("export default") == 1


def test_what_is_chosen_pressed_and_opened_is_told_to_the_kernel(shown: Page) -> None:
    press(shown, "Stop")
    shown.locator("summary", has_text="Curves").click()
    shown.locator("label", has_text="TD error").locator("input").click()
    shown.locator("label", has_text="x axis").locator("select").select_option("wall time, s")
    shown.locator("summary", has_text="Change").click()
    shown.locator("label", has_text="learning_rate").locator("input").fill("5e-4")
    press(shown, "Apply")
    said = shown.evaluate("said")
    charts = ["loss", "q", "reward", "epsilon", "lag_versions", "lag_ms", "td_error"]
    wanted = (
        {"hello": True}, {"press": "stop"}, {"open": "Curves", "shown": True}, {"choose": {"charts": charts}},
        {"choose": {"over": "time"}}, {"change": {"learning.learning_rate": "5e-4"}},
    )  # fmt: skip
    assert [each for each in wanted if each not in said] == []
    assert shown.locator("button:disabled", has_text="Start").count() == 1


def test_what_is_shown_can_be_saved(shown: Page, tmp_path: Path) -> None:
    saved = {}
    panel: Locator = shown.locator(".wb-panel")
    for name in ("PNG", "CSV"):
        with shown.expect_download() as download:
            press(panel, name)
        saved[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[name])
    with Image.open(saved["PNG"]) as picture:
        assert picture.width > 1000 and len(np.unique(np.asarray(picture.convert("L")))) > 10
    head, *rows = saved["CSV"].read_text().splitlines()
    assert head == "chart,run,agent,line,x axis,x,lowest,highest,mean,shown"
    for line in ('"Reward while exploring","sequential","all","charts/reward"',
                 '"Epsilon in use; due: dotted","sequential","all","charts/epsilon"',
                 '"Epsilon in use; due: dotted","sequential","all","charts/epsilon, due"'):  # fmt: skip
        assert sum(row.startswith(f'{line},"epoch",') for row in rows) == 150


def test_a_saved_picture_shows_charts_out_of_sight_as_they_are_now(browser: Browser, tmp_path: Path) -> None:
    page = stub.show(browser, tmp_path, two(), Choices(tuple(CHARTS)[:12]), 650, PAPERS["light"])
    key, saved = page.locator(".wb-key").nth(0), []
    for height in (1600, 300):  # all charts are in sight; those at the end are not
        page.set_viewport_size({"width": 650, "height": height})
        page.wait_for_function("panel.querySelectorAll('figure')[11].chart.visible === (innerHeight > 1000)")
        key.click()
        with page.expect_download() as download:
            press(page.locator(".wb-panel"), "PNG")
        download.value.save_as(tmp_path / "panel.png")
        with Image.open(tmp_path / "panel.png") as picture:
            saved.append(np.asarray(picture.convert("RGB")))
        (without,) = wait_for_frames(page, 1)
        key.click()
        changes(page, without)
    page.close()
    assert np.array_equal(*saved)


@pytest.mark.parametrize("ratio", [1, 1.5, 2])
def test_charts_are_as_sharp_as_the_screen(browser: Browser, tmp_path: Path, ratio: float) -> None:
    page = stub.show(browser, tmp_path, two(), Choices(), 1150, PAPERS["light"], ratio=ratio)
    sizes = page.evaluate(
        "[...document.querySelectorAll('.wb-plot canvas')]"
        ".map(each => [each.width, each.getBoundingClientRect().width])"
    )
    assert sizes and all(abs(pixels - ratio * shown) <= 1 for pixels, shown in sizes), sizes
    page.close()


def test_the_theme_is_followed(shown: Page) -> None:
    (light,) = wait_for_frames(shown, 1)
    shown.evaluate("document.body.style.background = '#111111'; document.body.dataset.theme = 'dark'")
    changes(shown, light)
    check_legible(shown)
