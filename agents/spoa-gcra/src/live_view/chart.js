// The charts: SVG, in pixels of the page, drawn anew with each reading.

const SVG = "http://www.w3.org/2000/svg";
/** Room for the labels of the axes, in px. */
const MARGIN = { left: 44, right: 10, top: 14, bottom: 20 };
/** The axis of times: below and above this nothing is told apart, in seconds. */
const FASTEST = 20e-6;
const SLOWEST = 2;

/** An SVG element with attributes, and what is in it. */
function svg(name, attributes = {}, ...inner) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...inner);
  return element;
}

/** Where things are in a plot of so many pixels, over so many seconds until `now`. */
class Frame {
  constructor(width, height, now, range, margin = MARGIN) {
    Object.assign(this, { width, height, now, range, margin });
    this.right = width - margin.right;
    this.bottom = height - margin.bottom;
  }

  x(at) {
    return this.right - ((this.now - at) / this.range) * (this.right - this.margin.left);
  }

  /** `part`: 0 at the bottom, 1 at the top. */
  y(part) {
    return this.bottom - part * (this.bottom - this.margin.top);
  }

  /** The moment above a pixel. */
  at(x) {
    const part = (this.right - x) / (this.right - this.margin.left);
    return this.now - Math.min(1, Math.max(0, part)) * this.range;
  }
}

/** Points in runs without a gap, those that are to be seen. */
function runs(points, frame) {
  const seen = points.filter((point) => point.at >= frame.now - frame.range - GAP);
  const all = [];
  for (const point of seen) {
    const run = all.at(-1);
    if (run && point.at - run.at(-1).at <= GAP) run.push(point);
    else all.push([point]);
  }
  return all;
}

/** A line through the points' values; where one is `null` it is interrupted. */
function line(run, frame, value) {
  let path = "";
  let drawing = false;
  for (const point of run) {
    const part = value(point);
    if (part !== null) path += `${drawing ? "L" : "M"}${frame.x(point.at).toFixed(1)} ${frame.y(part).toFixed(1)}`;
    drawing = part !== null;
  }
  return path;
}

/** The area between two lines. */
function area(run, frame, upper, lower) {
  if (run.length === 0) return "";
  const back = line([...run].reverse(), frame, lower);
  return `${line(run, frame, upper)}L${back.slice(1)}Z`;
}

/** The end of an axis that holds a value, and in how many parts it divides well. */
function axisFor(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const ends = [[1, 5], [2, 4], [3, 3], [4, 4], [5, 5], [6, 3], [8, 4]];
  const [end, parts] = ends.find(([end]) => end * power >= value * 0.999) ?? [10, 5];
  return { top: end * power, parts };
}

/** Moments and gaps, which are behind the lines of each chart. */
function backdrop(frame, history) {
  const group = svg("g");
  const all = runs(history.points, frame);
  const left = Math.max(frame.margin.left, 0);
  const gap = (from, to) => {
    const x = Math.max(left, frame.x(from));
    const width = Math.min(frame.right, frame.x(to)) - x;
    if (width > 1) {
      const place = { x, y: frame.margin.top, width, height: frame.bottom - frame.margin.top };
      group.append(svg("rect", { ...place, class: "gap" }));
    }
  };
  all.slice(1).forEach((run, index) => gap(all[index].at(-1).at, run[0].at));
  if (all.length > 0 && frame.now - all.at(-1).at(-1).at > GAP) gap(all.at(-1).at(-1).at, frame.now);
  for (const mark of history.marks) {
    const x = frame.x(mark.at);
    if (x < left) continue;
    group.append(svg("line", { class: "restart", x1: x, x2: x, y1: frame.margin.top, y2: frame.bottom }));
    const anchor = x > frame.width / 2 ? "end" : "start";
    const text = svg("text", { class: "mark-text", x: x + (anchor === "end" ? -4 : 4), y: frame.margin.top + 10, "text-anchor": anchor }, mark.kind);
    group.append(text);
  }
  return group;
}

function timeAxis(frame) {
  const group = svg("g", { class: "axis" });
  const step = { 60: 15, 180: 30, 600: 120 }[frame.range];
  for (let ago = 0; ago <= frame.range; ago += step) {
    const x = frame.x(frame.now - ago);
    group.append(svg("line", { x1: x, x2: x, y1: frame.bottom, y2: frame.bottom + 4 }));
    const narrow = frame.width < 480 && (ago / step) % 2 === 1;
    if (narrow) continue;
    const text = ago === 0 ? "now" : `−${Math.floor(ago / 60)}:${String(ago % 60).padStart(2, "0")}`;
    const anchor = ago === 0 ? "end" : "middle";
    group.append(svg("text", { x, y: frame.bottom + 15, "text-anchor": anchor }, text));
  }
  return group;
}

function gridLine(frame, part, text) {
  const y = Math.round(frame.y(part)) + 0.5;
  const rule = svg("line", { class: "grid", x1: frame.margin.left, x2: frame.right, y1: y, y2: y });
  const label = svg("text", { x: frame.margin.left - 6, y: y + 4, "text-anchor": "end" }, text);
  return svg("g", { class: "axis" }, rule, label);
}

/** Denied below, allowed above it, so that the upper edge is all of them; fallback and shadow
 * are parts of these, as lines. */
function drawRates(plot, frame, history) {
  const all = runs(history.points, frame);
  const { top, parts } = axisFor(Math.max(5, ...all.flat().map((point) => point.allowed + point.denied)));
  plot.replaceChildren(backdrop(frame, history), timeAxis(frame));
  for (let part = 0; part <= parts; part++) {
    plot.append(gridLine(frame, part / parts, perSecond((top * part) / parts).replace(".0", "")));
  }
  const denied = (point) => point.denied / top;
  const both = (point) => (point.allowed + point.denied) / top;
  for (const run of all) {
    plot.append(
      svg("path", { class: "area allowed", d: area(run, frame, both, denied) }),
      svg("path", { class: "area denied", d: area(run, frame, denied, () => 0) }),
      svg("path", { class: "line allowed", d: line(run, frame, both) }),
      svg("path", { class: "line denied", d: line(run, frame, denied) }),
    );
    for (const name of ["fallback", "shadow"]) {
      // At 0 all the time it would only be in the way.
      if (run.some((point) => point[name] > 0)) {
        plot.append(svg("path", { class: `line ${name}`, d: line(run, frame, (point) => point[name] / top) }));
      }
    }
  }
  endMarks(plot, frame, all, { allowed: both, denied, fallback: (p) => p.fallback / top, shadow: (p) => p.shadow / top });
}

/** Each line's own mark at its end. */
function endMarks(plot, frame, all, values) {
  const last = all.at(-1)?.at(-1);
  if (!last || frame.now - last.at > GAP) return;
  for (const [name, value] of Object.entries(values)) {
    if (last[name] > 0) {
      const place = { x: frame.x(last.at) - 5, y: frame.y(value(last)) - 5, width: 10, height: 10 };
      plot.append(svg("use", { class: `end ${name}`, href: `#mark-${name}`, ...place }));
    }
  }
}

/** Times on a logarithmic axis. */
function drawLatency(plot, frame, history) {
  const scale = (seconds) => {
    const bounded = Math.min(SLOWEST, Math.max(FASTEST, seconds));
    return Math.log(bounded / FASTEST) / Math.log(SLOWEST / FASTEST);
  };
  plot.replaceChildren(backdrop(frame, history), timeAxis(frame));
  for (const seconds of [1e-4, 1e-3, 1e-2, 1e-1, 1]) {
    plot.append(gridLine(frame, scale(seconds), duration(seconds).replace(".0", "")));
  }
  for (const run of runs(history.points, frame)) {
    const at = (name) => (point) => (point[name] === null ? null : scale(point[name]));
    for (const name of ["p50", "p90", "p99"]) {
      plot.append(svg("path", { class: `line ${name}`, d: line(run, frame, at(name)) }));
    }
  }
}

/** A policy's own chart, as small as a word. */
function drawSpark(plot, history, policy, now, range) {
  const frame = new Frame(plot.clientWidth || 120, 26, now, range, { left: 0, right: 0, top: 2, bottom: 1 });
  plot.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  const of = (point) => point.policies.get(policy) ?? { allowed: 0, denied: 0 };
  const all = runs(history.points, frame);
  const top = Math.max(1, ...all.flat().map((point) => of(point).allowed + of(point).denied));
  const denied = (point) => of(point).denied / top;
  const both = (point) => (of(point).allowed + of(point).denied) / top;
  plot.replaceChildren();
  for (const run of all) {
    plot.append(
      svg("path", { class: "area allowed", d: area(run, frame, both, denied) }),
      svg("path", { class: "area denied", d: area(run, frame, denied, () => 0) }),
      svg("path", { class: "line allowed", d: line(run, frame, both) }),
    );
    if (run.some((point) => denied(point) > 0)) {
      plot.append(svg("path", { class: "line denied", d: line(run, frame, denied) }));
    }
  }
}
