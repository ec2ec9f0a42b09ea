// The panel in the browser. The kernel sends rows of lines as they come; everything that is seen is drawn here, by uPlot
// (axes, cursor, zoom) and by `Chart.draw` (the lines, straight from the rows).

const MARKS = { o: "●", s: "■", "^": "▲", D: "◆", v: "▼", P: "+", X: "×" };
const THEMES = {
  light: { ink: "#222222", grey: "#5f5f5f", faint: "#dddddd", paper: "#ffffff", warning: "#b00020" },
  dark: { ink: "#eeeeee", grey: "#b4b4b4", faint: "#3d3d3d", paper: "#111111", warning: "#ff8a80" },
};
const HEIGHT = 200, FONT = "12px system-ui, sans-serif", LINE = 14, VALUES = 10;
const SLACK = 0.02, MOST_MARKS = 80; // share of a chart in which the cursor finds the end of a line; stretches of marks of all runs

const format = (value) => {
  if (value == null) return ""; // of a tick that gets no label
  const size = Math.abs(value);
  if (size >= 1e7 || (size && size < 1e-3)) return value.toExponential(size >= 1e7 ? 2 : 1);
  return value.toLocaleString("en", size < 1000 ? { maximumSignificantDigits: 4 } : { maximumFractionDigits: 0 });
};

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Lowest and highest of some values; 0 and 1 if there are none.
function extremes(values) {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.length ? [Math.min, Math.max].map((best) => known.reduce((a, b) => best(a, b))) : [0, 1];
}

// A line of a chart: rows of x and value, or of x, lowest, highest and mean where one row stands for many points.
class Line {
  constructor(spec) {
    Object.assign(this, spec, { rows: new Float32Array(0), columns: 2, count: 0, span: 0 });
  }
  splice(keep, count, columns, span, fresh) {
    if (keep > this.count) return; // this page is new: all rows were asked for, and come next
    const rows = new Float32Array((keep + count) * columns);
    rows.set(this.rows.subarray(0, keep * columns));
    rows.set(fresh, keep * columns);
    Object.assign(this, { rows, columns, span, count: keep + count, smoothed: null });
  }
  x(i) { return this.rows[i * this.columns]; }
  low(i) { return this.rows[i * this.columns + 1]; }
  high(i) { return this.rows[i * this.columns + (this.columns >> 1)]; }
  mean(i) { return this.rows[i * this.columns + this.columns - 1]; }
  reaches(x, slack) { return x >= this.x(0) - slack && x <= this.x(this.count - 1) + slack; }
  // Number of the last row that is not above x; 0 if all are. They ascend.
  before(x, what = "x") {
    let i = this.count - 1;
    while (i > 0 && this[what](i) > x) i--;
    return i;
  }
  // Numbers of the rows in view, and of those that lead into it and out of it.
  near([from, to]) { return [...Array(this.count).keys()].slice(this.before(from), this.before(to) + 2); }
  // Those in view, to a thousandth of it, as rows are of single precision.
  within([from, to]) { return this.near([from, to]).filter((i) => Math.abs(2 * this.x(i) - from - to) <= 1.001 * (to - from)); }
  nearest(x) { return this.near([x, x]).reduce((a, b) => (Math.abs(this.x(b) - x) < Math.abs(this.x(a) - x) ? b : a)); }
  // Means over a window that is a share of the run; at both ends the window is cut off.
  average(share) {
    if (this.smoothed?.share === share) return this.smoothed.values;
    const half = Math.floor(Math.round(share * this.span) / 2), values = new Float32Array(this.count);
    for (let i = 0; i < this.count; i++) {
      let sum = 0, n = 0;
      for (let j = Math.max(0, i - half); j <= Math.min(this.count - 1, i + half); j++) {
        if (!Number.isNaN(this.mean(j))) { sum += this.mean(j); n++; }
      }
      values[i] = n ? sum / n : NaN;
    }
    this.smoothed = { share, values };
    return values;
  }
}

class Chart {
  constructor(panel, number, spec) {
    Object.assign(this, { panel, spec, end: 1, note: "", changes: [], dirty: true, visible: true });
    this.lines = panel.lines.filter((line) => line.chart === number);
    this.readout = element("div", { className: "wb-readout", hidden: true });
    this.plot = element("div", { className: "wb-plot" }, this.readout);
    this.remark = element("span", { className: "wb-note" });
    const title = element("figcaption", {}, element("b", {}, spec.title), " ", this.remark);
    this.node = element("figure", { tabIndex: 0, role: "group", className: "wb-chart",
      onkeydown: (event) => this.key(event), onblur: () => panel.point(null) }, title, this.plot);
    this.node.chart = this;
  }
  get shown() { return this.lines.filter((line) => this.panel.seen.includes(line.run) && line.count); }
  get log() { return this.panel.log && this.extremes[0] > 0; }
  get changed() { return this.changes.filter(([, , run]) => this.panel.seen.includes(run)); }
  get range() { return this.panel.zoomed(this.spec.axis) ?? [0, this.end]; }
  averaged(line) { return line.kind === "curve" && line.noisy && this.panel.smoothing > 0; }
  value(line, i) { return this.averaged(line) ? line.average(this.panel.smoothing)[i] : line.mean(i); }
  bare(line) { return this.averaged(line) && this.panel.each; } // no recorded values behind the average

  // Find the lowest and the highest value in view.
  measure() {
    const values = this.shown.flatMap((line) => line.near(this.range).flatMap((i) =>
      this.bare(line) ? [this.value(line, i)] : [line.low(i), line.high(i)]));
    this.extremes = extremes([...values, ...this.spec.references.map(([mean]) => mean)]);
  }
  build() {
    const { colours } = this.panel, tick = { stroke: colours.grey, size: 4, width: 1 };
    const axis = { stroke: colours.grey, font: FONT, labelFont: FONT, ticks: tick, labelGap: 0, labelSize: 18,
      grid: { stroke: colours.faint, width: 1 }, values: (_, splits) => splits.map(format) };
    const wide = (u, values) => 14 + Math.max(24, ...(values ?? []).map((text) => 7 * text.length));
    const sparse = (known) => (value) => (known.indexOf(value) % Math.ceil(known.length / 10) ? "" : format(value)); // of many decades
    const whole = [1, 2, 5].flatMap((n) => [...Array(10).keys()].map((e) => n * 10 ** e)).sort((a, b) => a - b);
    this.u?.destroy();
    this.u = new uPlot({
      width: this.plot.clientWidth || 300, height: HEIGHT, legend: { show: false }, padding: [8, 26, 0, 0],
      series: [{}, { paths: () => null, points: { show: false } }],
      scales: { x: { time: false, range: () => this.range },
        y: { distr: this.log ? 3 : 1, range: () =>
          (this.log ? uPlot.rangeLog(...this.extremes, 10, false) : uPlot.rangeNum(...this.extremes, 0.08, true)) } },
      axes: [{ ...axis, label: this.spec.label, size: 28, incrs: whole, space: 60 },
        { ...axis, label: this.spec.unit, labelFont: FONT.replace("12", Math.min(12, Math.floor(320 / this.spec.unit.length))),
          values: (_, splits) => splits.map(sparse(splits.filter((value) => value !== null))), size: wide, space: 34 }],
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => this.panel.zoom(null) } },
      hooks: { draw: [(u) => this.draw(u)], setCursor: [(u) => this.moved(u)], setSelect: [(u) => this.select(u)] },
    }, [this.range, [1, 1]], this.plot);
    this.built = this.log;
  }
  refresh() {
    this.dirty = false;
    this.measure();
    if (!this.u || this.built !== this.log) this.build();
    else this.u.setData([this.range, [1, 1]]);
    const linear = this.panel.log && !this.log && this.shown.length ? "linear: some values are 0 or below" : "";
    this.remark.textContent = this.note || linear;
    this.remark.classList.toggle("wb-warning", this.note !== "" && this.shown.length > 0);
    this.node.setAttribute("aria-label", `${this.spec.title}. ${this.words() || this.note}`);
    this.panel.node.dataset.redraws = 1 + Number(this.panel.node.dataset.redraws ?? 0);
  }
  words() {
    const shown = this.shown.filter((line) => line.kind === "curve").slice(0, VALUES);
    return shown.map((line) => `${this.name(line)}: ${format(this.value(line, line.count - 1))}`).join("; ");
  }
  name({ run, agent }) { return this.panel.runs[run].name + (agent === null ? "" : `, agent ${agent}`); }

  draw(u) {
    const { ctx } = u, { left, top, width, height } = u.bbox, ratio = uPlot.pxRatio, { colours, runs } = this.panel;
    const X = (x) => u.valToPos(x, "x", true), Y = (y) => u.valToPos(y, "y", true), marks = [];
    const path = (points, colour, line, dash = [], alpha = 1) => {
      Object.assign(ctx, { strokeStyle: colour, lineWidth: line * ratio, globalAlpha: alpha, lineJoin: "round" });
      ctx.setLineDash(dash.map((part) => part * line * ratio));
      ctx.beginPath();
      let gap = true;
      for (const [x, y] of points) {
        if (!Number.isNaN(y)) ctx[gap ? "moveTo" : "lineTo"](x, y);
        gap = Number.isNaN(y);
      }
      ctx.stroke();
      ctx.globalAlpha = 1;
    };
    const write = (text, x, y, colour, align = "left", outline = colours.paper, size = 12) => {
      Object.assign(ctx, { font: `${size * ratio}px system-ui, sans-serif`, textAlign: align, textBaseline: "middle" });
      Object.assign(ctx, { strokeStyle: outline, lineWidth: 3 * ratio, fillStyle: colour });
      ctx.setLineDash([]);
      ctx.strokeText(text, x, y);
      ctx.fillText(text, x, y);
    };
    const frame = new Path2D(`M${left} ${top}h${width}v${height}h${-width}Z`);
    const curves = this.shown.filter((line) => line.kind !== "marks");
    ctx.save();
    ctx.save();
    ctx.clip(frame);
    for (const [mean] of this.spec.references) path([[left, Y(mean)], [left + width, Y(mean)]], colours.grey, 1, [2, 3]);
    for (const [x, , run] of this.changed) path([[X(x), top], [X(x), top + height]], this.panel.colour(run), 1, [6, 2]);
    const faint = curves.filter((line) => this.averaged(line) && !this.bare(line));
    for (const [line, smooth] of [...faint.map((line) => [line, false]), ...curves.map((line) => [line, true])]) {
      const averaged = smooth && this.averaged(line), wide = !averaged && line.columns > 2, run = runs[line.run];
      const values = (i) => (wide ? [line.low(i), line.high(i)] : [averaged ? this.value(line, i) : line.mean(i)]);
      const near = line.near(this.range), known = (i) => Number.isFinite(this.value(line, i));
      const points = near.flatMap((i) => values(i).map((value) => [X(line.x(i)), Y(value)]));
      const colour = this.panel.colour(line.run), width = this.panel.each ? 1.2 : run.width * line.weight;
      if (line.kind === "due") path(points, colours.ink, 1.2, [1, 2.2]);
      else if (!smooth) path(points, colour, line.weight, [], 0.6 / (1 + runs.length));
      else path(points, colour, width, run.dashes, this.panel.each ? 0.7 : 1);
      const alone = near.filter((i) => smooth && line.kind === "curve" && known(i) && !known(i - 1) && !known(i + 1));
      for (const i of alone) write("●", X(line.x(i)), Y(this.value(line, i)), colour, "center");
    }
    ctx.restore();
    for (const line of this.shown.filter((each) => each.kind === "marks")) { // whole at the edges, too
      const size = runs.length > 5 ? 8 : runs.length > 1 && !line.run ? 16 : 12, colour = this.panel.colour(line.run); // of equal ones both are seen
      const points = this.marked(line).map(([x, y]) => [X(x), Y(y)]);
      for (const [x, y] of points) write(MARKS[runs[line.run].marker], x, y, colours.paper, "center", colour, size);
      marks.push(...points);
    }
    ctx.clip(frame);
    let place = top - 6 * ratio; // names of the references, each above its line if there is room, where fewer marks lie
    for (const [mean, text] of [...this.spec.references].reverse()) {
      const above = Y(mean) - 8 * ratio, free = place + LINE * ratio;
      place = above > free ? above : Math.max(Y(mean) + 8 * ratio, free);
      const near = marks.filter(([, y]) => Math.abs(y - place) < LINE * ratio).map(([x]) => x > left + width / 2);
      const [align, edge] = near.filter(Boolean).length * 2 > near.length ? ["left", left] : ["right", left + width - 8 * ratio];
      write(`${text}, ${format(Math.round(mean))}`, edge + 4 * ratio, place, colours.grey, align);
    }
    this.label(u, write, X, Y);
    ctx.restore();
  }
  // Places of marks: of many in view the lowest and the highest of each stretch, as more would hide the curves.
  marked(line) {
    const seen = line.within(this.range).filter((i) => !Number.isNaN(line.mean(i)));
    const most = MOST_MARKS / Math.max(2, this.panel.seen.length);
    const size = 2 ** Math.max(0, Math.ceil(Math.log2(seen.length / most)));
    return [...Map.groupBy(seen, (i) => Math.floor(i / size)).values()].flatMap((some) =>
      [...new Set(extremes(some.flatMap((i) => [line.low(i), line.high(i)])))].map((y) => [line.x(some[0]), y]));
  }
  // Numbers of agents at the ends of their lines, and what was changed, as far as there is room.
  label(u, write, X, Y) {
    const { ctx } = u, ratio = uPlot.pxRatio, taken = [];
    if (this.panel.each) {
      for (const line of this.shown.filter((each) => each.kind === "curve")) {
        const i = line.before(this.range[1]), { top, height } = u.bbox, half = (LINE / 2) * ratio;
        const y = Math.min(Math.max(Y(this.value(line, i)), top + half), top + height - half);
        if (taken.some((other) => Math.abs(other - y) < LINE * ratio)) continue;
        taken.push(y);
        write(line.agent, Math.min(X(line.x(i)), u.bbox.left + u.bbox.width - 2 * ratio), y, this.panel.colours.ink, "right");
      }
    }
    if (this.spec.references.length && this.panel.charts.length > 1) return; // their names have no room beside these
    let free = -Infinity;
    for (const [x, text] of this.changed.sort((a, b) => a[0] - b[0])) {
      if (X(x) < free) continue;
      free = X(x) + LINE * ratio;
      ctx.save();
      ctx.translate(X(x) + 8 * ratio, u.bbox.top + 4 * ratio);
      ctx.rotate(Math.PI / 2);
      write(text, 0, 0, this.panel.colours.ink);
      ctx.restore();
    }
  }

  moved(u) {
    if (u.cursor.left >= 0) this.panel.point({ chart: this, axis: this.spec.axis, x: u.posToVal(u.cursor.left, "x") });
    else if (this.panel.cursor?.chart === this) this.panel.point(null);
  }
  select(u) {
    const { left, width } = u.select;
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (width > 4) this.panel.zoom(this.spec.axis, [u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
  }
  // The cursor is at x: show it, and the values of all runs there; in the chart under the pointer with their names.
  point(x, named, pointed) {
    if (!this.u) return;
    const [from, to] = this.range, seen = x !== null && x >= from && x <= to;
    const left = seen ? this.u.valToPos(x, "x") : -10;
    if (!pointed || !seen) this.u.setCursor({ left, top: seen ? 0 : -10 }, false);
    const curves = this.shown.filter((line) => seen && line.kind === "curve" && line.reaches(x, SLACK * (to - from)));
    const rows = Map.groupBy(curves, (line) => this.name(line));
    const list = [...rows].slice(0, VALUES).map(([name, lines]) => element("div", {}, this.panel.swatch(lines[0].run),
      lines.map((line) => format(this.value(line, line.nearest(x)))).join(" / "), named ? ` ${name}` : ""));
    if (rows.size > VALUES) list.push(element("div", {}, "and more"));
    if (seen && named) list.unshift(element("div", {}, `${this.spec.label} ${format(x)}`));
    this.readout.replaceChildren(...list);
    this.readout.hidden = !list.length;
    this.readout.classList.toggle("wb-left", left > this.u.over.clientWidth / 2);
  }
  key(event) {
    const [from, to] = this.range, span = to - from, { cursor } = this.panel;
    const reached = Math.max(from, ...this.shown.map((line) => line.x(line.count - 1)));
    const x = cursor?.axis === this.spec.axis ? cursor.x : Math.min(to, reached);
    const moves = { ArrowLeft: -0.02, ArrowRight: 0.02 }, zooms = { "+": 0.5, "-": 2 };
    if (event.key in moves) {
      const to_ = Math.min(to, Math.max(from, x + moves[event.key] * span));
      this.panel.point({ chart: this, axis: this.spec.axis, x: to_, keys: true });
    } else if (event.key in zooms) {
      const wide = zooms[event.key] * span, start = Math.max(0, Math.min(x - wide / 2, this.end - wide));
      this.panel.zoom(wide < 0.99 * this.end ? this.spec.axis : null, [start, start + wide]);
    } else if (event.key === "Escape") this.panel.zoom(null);
    else return;
    event.preventDefault();
  }
}

class Panel {
  constructor(model, node) {
    Object.assign(this, { model, node, hidden: new Set(), charts: [], lines: [], edited: {} });
    this.buttons = Object.entries(model.get("drawing").offered.buttons).map(([name, [text, title]]) =>
      this.button(text, title, () => model.send({ press: name }), { name }));
    for (const part of ["message", "incidents", "failures", "blocks"]) this[part] = element("div");
    const actions = element("div", { className: "wb-row" }, ...this.buttons, this.message);
    this.keys = element("div", { className: "wb-keys", role: "group", "aria-label": "Runs" });
    this.grid = element("div", { className: "wb-charts" });
    this.told = element("p", { className: "wb-hidden", role: "status", "aria-live": "polite" });
    node.classList.add("wb-panel");
    node.append(actions, this.keys, this.incidents, this.tools(), this.grid, this.told, this.failures, this.blocks);
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.grid);
    this.sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) target.chart.visible = isIntersecting;
      this.paint();
    }, { rootMargin: "300px" });
    this.looks = new MutationObserver(() => this.fit());
    this.looks.observe(document.body, { attributes: true });
    const events = { "msg:custom": (head, buffers) => this.take(head, buffers[0]),
      "change:drawing": () => this.rebuild(), "change:state": () => this.tell(), "change:pages": () => this.tell(),
      "change:smoothing": () => this.restyle(), "change:log": () => this.restyle() };
    for (const [name, act] of Object.entries(events)) model.on(name, act);
    this.leave = () => {
      for (const [name, act] of Object.entries(events)) model.off(name, act);
      [this.sizes, this.sight, this.looks].forEach((each) => each.disconnect());
      this.charts.forEach((chart) => chart.u?.destroy());
      clearInterval(this.speaking);
    };
    this.speaking = setInterval(() => this.speak(), 10000);
    this.dress();
    this.rebuild();
    this.tell();
    model.send({ hello: true });
  }
  get smoothing() { return this.model.get("smoothing"); }
  get log() { return this.model.get("log"); }
  get seen() { return [...this.runs.keys()].filter((run) => !this.hidden.has(this.runs[run].folder)); }
  get each() { return this.layout.choices.agents === "each"; }

  button(text, title, act, properties = {}, ...more) {
    return element("button", { type: "button", className: "jupyter-button wb-button", title, onclick: act,
      ...properties }, text, ...more);
  }
  tools() {
    const shares = element("input", { type: "range", min: 0, max: 25, step: 1, "aria-label": "smoothing, % of the run" });
    const said = element("output", {});
    const set = (name, value) => {
      this.model.set(name, value); // which is heard, and drawn
      this.model.save_changes();
    };
    const log = this.button("Log scale", "Logarithmic y axis where all values are above 0", () => set("log", !this.log));
    shares.oninput = () => set("smoothing", shares.value / 100);
    this.settings = () => {
      log.setAttribute("aria-pressed", this.log);
      shares.value = 100 * this.smoothing;
      said.textContent = this.smoothing ? `${format(100 * this.smoothing)} %` : "off";
    };
    return element("div", { className: "wb-row wb-tools" }, element("label", {}, "Smoothing ", shares), said, log,
      this.button("Reset zoom", "Show the whole runs (double-click a chart)", () => this.zoom(null)),
      this.button("PNG", "Save a picture of what is shown", () => this.savePicture()),
      this.button("CSV", "Save the values that are shown", () => this.saveValues()));
  }

  // --- looks

  dress() {
    let node = this.node, paper = "";
    while (node && (!paper || paper === "rgba(0, 0, 0, 0)" || paper === "transparent")) {
      paper = getComputedStyle(node).backgroundColor;
      node = node.parentElement;
    }
    const [red, green, blue, alpha = 1] = (paper.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
    const dark = alpha > 0 && 0.299 * red + 0.587 * green + 0.114 * blue < 128;
    if (this.colours && (this.dark === dark || !paper || !alpha)) return; // a page that changes its theme has none for a moment
    this.dark = dark;
    this.colours = { ...THEMES[dark ? "dark" : "light"], ...(paper && alpha ? { paper } : {}) };
    this.node.style.colorScheme = dark ? "dark" : "light";
    for (const [name, colour] of Object.entries(this.colours)) this.node.style.setProperty(`--wb-${name}`, colour);
    if (this.layout) this.restyle(true);
  }
  colour(run) {
    const { colour } = this.runs[run];
    return this.dark && colour === "#000000" ? "#ffffff" : colour;
  }
  swatch(run) {
    const { width, dashes } = this.runs[run], dash = dashes.map((part) => part * width).join(" ");
    const line = `<path d="M0 5H26" stroke="${this.colour(run)}" stroke-width="${width}" stroke-dasharray="${dash}"/>`;
    return element("div", { innerHTML: `<svg width="26" height="10" style="flex: none" aria-hidden="true">${line}</svg>` }).firstChild;
  }
  restyle(whole = false) {
    this.settings();
    if (whole) for (const chart of this.charts) { chart.u?.destroy(); chart.u = null; }
    this.tell();
    this.soil(this.charts);
  }
  fit() { // a page that changes its theme hides all for a moment: what has no width then is drawn afterwards
    this.dress();
    for (const { u, plot } of this.charts) {
      if (u && plot.clientWidth && plot.clientWidth !== u.width) u.setSize({ width: plot.clientWidth, height: HEIGHT });
    }
    this.soil([]);
  }

  // --- data

  rebuild() {
    const layout = this.model.get("drawing"), { version, kept } = this.model.get("last") ?? {};
    this.charts.forEach((chart) => chart.u?.destroy());
    Object.assign(this, { layout, runs: layout.runs, cursor: null, pages: null });
    this.lines = layout.lines.map((spec) => new Line(spec));
    this.charts = layout.charts.map((spec, number) => new Chart(this, number, spec));
    Object.assign(this.node, { role: "group", ariaLabel: `Panel of ${this.runs.map((run) => run.name).join("; ")}` });
    const count = this.charts.length;
    this.grid.style.setProperty("--wb-columns", count <= 3 ? count : count === 4 ? 2 : count <= 9 ? 3 : 4);
    this.keys.replaceChildren(); // other runs may have come
    this.grid.replaceChildren(...this.charts.map((chart) => chart.node));
    this.sight.disconnect();
    this.charts.forEach((chart) => this.sight.observe(chart.node));
    if (kept && version === layout.version) this.take(kept, this.model.get("last").rows);
    this.restyle();
  }
  take(head, buffer) {
    if (head.version !== this.layout.version) return;
    const rows = new Float32Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength));
    let from = 0;
    for (const [number, keep, count, columns, span] of head.lines) {
      this.lines[number].splice(keep, count, columns, span, rows.subarray(from, from + count * columns));
      from += count * columns;
    }
    head.charts.forEach((news, number) => Object.assign(this.charts[number], news));
    this.soil(head.lines.map(([number]) => this.charts[this.lines[number].chart]).filter(Boolean));
  }
  soil(charts) {
    charts.forEach((chart) => { chart.dirty = true; });
    this.painting ??= requestAnimationFrame(() => this.paint());
  }
  paint() {
    this.painting = null;
    for (const chart of this.charts) if (chart.dirty && chart.visible && chart.plot.clientWidth) chart.refresh();
    if (this.cursor) this.point(this.cursor);
  }

  // --- cursor and zoom; what one chart shows over epochs, another shows over updates

  convert(x, from, to) {
    if (from === to) return x;
    const known = this.lines.find((line) => line.kind === "updates" && line.count && this.seen.includes(line.run));
    if (!known || !["epoch", "update"].includes(from)) return null; // another axis was chosen since
    const [source, target] = to === "update" ? ["x", "mean"] : ["mean", "x"];
    const i = Math.min(known.before(x, source), Math.max(known.count - 2, 0)), j = Math.min(i + 1, known.count - 1);
    const share = (x - known[source](i)) / (known[source](j) - known[source](i) || 1);
    return known[target](i) + share * (known[target](j) - known[target](i));
  }
  point(cursor) {
    this.cursor = cursor;
    for (const chart of this.charts) {
      const x = cursor && this.convert(cursor.x, cursor.axis, chart.spec.axis), named = chart === cursor?.chart;
      chart.point(x, named, named && !cursor.keys);
      if (named && cursor.keys) this.told.textContent = chart.readout.innerText;
    }
  }
  zoom(axis, range) {
    this.view = axis && { axis, range };
    this.soil(this.charts);
  }
  zoomed(axis) {
    const range = this.view?.range.map((x) => this.convert(x, this.view.axis, axis));
    return range && range[1] > range[0] ? range : null;
  }

  // --- words

  tell() {
    const state = this.model.get("state"), pages = this.model.get("pages");
    for (const button of this.buttons) button.disabled = !state.able.includes(button.name);
    for (const part of ["message", "incidents", "failures"]) this[part].innerHTML = state[part];
    if (this.keys.children.length !== this.runs.length || this.keys.dataset.dark !== String(this.dark)) {
      this.keys.dataset.dark = this.dark;
      this.keys.replaceChildren(...this.runs.map(({ name, folder }, run) => element("div", { className: "wb-row" },
        this.button("", "Show or hide this run in all charts", () => this.toggle(folder), { className: "wb-key" },
          this.swatch(run), element("b", { "data-run": run }, name)),
        element("progress", { max: 1, value: 0, "aria-label": name }), element("span", { className: "wb-facts" }))));
    }
    state.runs.slice(0, this.runs.length).forEach(({ share, facts }, run) => {
      const [key, progress, words] = this.keys.children[run].children;
      key.setAttribute("aria-pressed", this.seen.includes(run));
      progress.value = share;
      words.textContent = facts;
    });
    if (this.pages === null || Object.keys(pages).join() !== Object.keys(this.pages).join()) this.open(pages);
    for (const [title, page] of Object.entries(pages).filter(([title, page]) => this.pages[title].said !== page)) {
      const { body } = this.pages[title], before = body.querySelectorAll("details");
      body.innerHTML = this.pages[title].said = page;
      body.querySelectorAll("details").forEach((each, place) => { each.open ||= before[place]?.open; });
    }
    this.offer(state);
  }
  toggle(folder) {
    if (!this.hidden.delete(folder)) this.hidden.add(folder); // its place and its name may change
    this.restyle();
  }
  // The blocks that open: choices, changes, and pages that the kernel writes.
  open(pages) {
    const focused = [...this.blocks.querySelectorAll(".wb-choices *")].indexOf(document.activeElement);
    const opened = new Set([...this.blocks.querySelectorAll("details[open]")].map((each) => each.dataset.title));
    const block = (title, ...parts) => element("details", { "data-title": title, open: opened.has(title),
      ontoggle: (event) => this.model.send({ open: title, shown: event.target.open }) },
      element("summary", {}, title), ...parts);
    Object.assign(this, { pages: {}, fields: {}, form: element("div", { className: "wb-form" }) });
    this.apply = this.button("Apply", "Make the changes; the runs continue", () => this.model.send({ change: this.edited }));
    this.blocks.replaceChildren(block("Curves", this.choices()));
    for (const title of Object.keys(pages)) {
      const body = element("div", {}), parts = title.startsWith("Change") ? [this.form, this.apply, body] : [body];
      this.pages[title] = { body };
      this.blocks.append(block(title, ...parts));
    }
    this.blocks.querySelectorAll(".wb-choices *")[focused]?.focus({ preventScroll: true }); // for the next key
  }
  choices() {
    const { choices, offered } = this.layout, choose = (what) => this.model.send({ choose: what });
    const boxes = Object.entries(offered.charts).map(([name, text]) => {
      const box = element("input", { type: "checkbox", checked: choices.charts.includes(name), value: name });
      box.onchange = () => {
        const rest = choices.charts.filter((each) => each !== name);
        box.checked = choices.charts.includes(name); // until the kernel agrees
        choose({ charts: rest.length < choices.charts.length ? rest : [...rest, name] });
      };
      return element("label", {}, box, text);
    });
    const list = (text, name, options) => {
      const made = element("select", { onchange: (event) => choose({ [name]: options[event.target.selectedIndex][0] }) },
        ...options.map(([value, words]) => element("option", { selected: value === choices[name] }, words)));
      return element("label", {}, `${text} `, made);
    };
    return element("div", { className: "wb-row wb-choices" }, ...boxes, list("x axis", "over", offered.over),
      list("agents", "agents", offered.agents),
      this.button("Standard charts", "The charts that are shown at first", () => choose({ charts: offered.standard })));
  }
  offer({ fields, changeable, applied }) {
    this.apply.disabled = !changeable;
    if (applied !== this.applied) this.edited = {};
    this.applied = applied;
    for (const [name, value] of Object.entries(fields)) {
      if (!this.fields[name]) {
        this.fields[name] = element("input", { oninput: ({ target }) => { this.edited[name] = target.value; } });
        this.form.append(element("label", {}, element("span", {}, name), this.fields[name]));
      }
      if (this.edited[name] === value) delete this.edited[name];
      this.fields[name].value = this.edited[name] ?? value;
    }
  }
  speak() {
    const runs = this.model.get("state").runs.map(({ facts }, run) => `${this.runs[run].name}: ${facts}`);
    const values = this.charts.slice(0, 3).map((chart) => `${chart.spec.title}: ${chart.words()}`);
    const words = [...runs, ...values].join(". ");
    if (this.told.textContent !== words) this.told.textContent = words;
  }

  // --- files

  save(name, content) {
    const link = element("a", { href: URL.createObjectURL(content), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  async savePicture() {
    this.charts.filter((chart) => chart.dirty).forEach((chart) => chart.refresh());
    await null; // uPlot draws a moment later
    const ratio = uPlot.pxRatio, all = this.grid.getBoundingClientRect();
    const shown = this.seen, top = 20 * shown.length;
    const picture = element("canvas", { width: all.width * ratio, height: (top + all.height) * ratio });
    const ctx = picture.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.fillStyle = this.colours.paper;
    ctx.fillRect(0, 0, all.width, top + all.height);
    Object.assign(ctx, { font: "bold 13px system-ui, sans-serif", textBaseline: "middle", fillStyle: this.colours.ink });
    shown.forEach((run, place) => {
      const { name, width, dashes } = this.runs[run], y = 20 * place + 10;
      Object.assign(ctx, { strokeStyle: this.colour(run), lineWidth: width });
      ctx.setLineDash(dashes.map((part) => part * width));
      ctx.stroke(new Path2D(`M4 ${y}H30`));
      ctx.fillText(name, 38, y, all.width - 38);
    });
    for (const { u, spec, remark } of this.charts) {
      const own = u.ctx.canvas.getBoundingClientRect();
      const [x, y] = [own.left - all.left, own.top - all.top + top].map((each) => Math.round(each * ratio) / ratio);
      ctx.fillText(`${spec.title} ${remark.textContent}`, x, y - 12, own.width);
      ctx.drawImage(u.ctx.canvas, x, y, own.width, own.height);
    }
    picture.toBlob((blob) => this.save("panel.png", blob));
  }
  saveValues() {
    const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
    const rows = ["chart,run,agent,line,x axis,x,lowest,highest,mean,shown"];
    for (const chart of this.charts) {
      const { title, unit, label } = chart.spec;
      for (const line of chart.shown) {
        const what = line.rate ? unit : line.metric + (line.kind === "due" ? ", due" : "");
        const head = [title, this.runs[line.run].name, line.agent ?? "all", what, label].map(quote).join();
        for (const i of line.within(chart.range)) {
          rows.push([head, line.x(i), line.low(i), line.high(i), line.mean(i), chart.value(line, i)].join());
        }
      }
    }
    this.save("panel.csv", new Blob([`${rows.join("\n")}\n`], { type: "text/csv" }));
  }
}

export default { render: ({ model, el }) => new Panel(model, el).leave };
