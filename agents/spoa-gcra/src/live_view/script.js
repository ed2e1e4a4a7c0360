// Reads the agent's documents once a second and shows them, for as long as somebody looks.

/** Between two readings, and the longest wait for one, in ms. */
const PERIOD = 1000;
const PATIENCE = 3000;

const history = new History();
let described = [];
let top = null;
let range = Number(recall("range")) || 180;
let paused = false;
let cursor = 0;
/** Whether the moment was chosen by a mouse: it goes with it. */
let hovered = false;
/** While there is no answer: since when, and why. */
let silent = null;
let timer = null;
let reading = false;

/** Seconds of a clock that nobody sets. */
const clock = () => performance.now() / 1000;
const timeOfDay = (at) => new Date(Date.now() - (clock() - at) * 1000).toLocaleTimeString("en-GB");

/** What was chosen before, where the browser keeps it. */
function recall(name) {
  try {
    return localStorage.getItem(`spoa-gcra ${name}`);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(`spoa-gcra ${name}`, value);
  } catch {
    // It is forgotten, then.
  }
}

async function get(path) {
  return fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
}

/** A JSON document; `null`: this agent has none. */
async function json(path) {
  if (absent.has(path)) return null;
  const answer = await get(path);
  if (answer.status === 404) absent.add(path);
  return answer.ok ? answer.json() : null;
}

/** What another process answered with 404 is not asked for again. */
const absent = new Set();

async function read() {
  const metrics = await get("/metrics");
  if (!metrics.ok) throw new Error(`it answers with ${metrics.status}`);
  const latest = new Reading(await metrics.text(), clock());
  if (latest.started === 0) throw new Error("what answers is no spoa-gcra");
  const [policies, most, ready] = await Promise.all([json("/policies"), json("/top"), get("/readyz")]);
  described = policies?.policies ?? [];
  top = most;
  const restarted = history.add(latest);
  if (restarted) absent.clear();
  const now = Date.parse(metrics.headers.get("date")) / 1000;
  write(byId("uptime"), lasted(Math.max(0, now - latest.started)));
  write(byId("version"), latest.values("build_info", "version")[0] ?? "–");
  write(byId("ready"), ready.ok ? "ready" : "not ready");
  byId("ready").classList.toggle("bad", !ready.ok);
  showTroubles(latest, restarted);
}

async function tick() {
  timer = null;
  if (paused || document.hidden || reading) return;
  reading = true;
  const began = performance.now();
  try {
    await read();
    silent = null;
  } catch (error) {
    silent ??= { at: clock() };
    const refused = error instanceof TypeError;
    silent.why = error.name === "TimeoutError" ? `no answer within ${PATIENCE / 1000} s` : refused ? "it cannot be reached" : error.message;
  }
  reading = false;
  draw();
  schedule(PERIOD - (performance.now() - began));
}

function schedule(wait) {
  clearTimeout(timer);
  timer = paused || document.hidden ? null : setTimeout(tick, Math.max(50, wait));
}

function showConnection() {
  const latest = history.latest;
  const state = paused ? "paused" : silent ? "no answer" : latest ? "live" : "connecting";
  const pill = byId("state");
  pill.dataset.state = state;
  write(pill, state);
  document.body.classList.toggle("stale", silent !== null);
  const banner = byId("banner");
  if (silent) {
    const shown = latest ? `What is shown is of ${timeOfDay(latest.at)}.` : "Nothing was seen yet.";
    // The same text for as long as it lasts: it is read out when it changes.
    write(banner, `The agent has not answered since ${timeOfDay(silent.at)}: ${silent.why}. ${shown} Asking every second.`);
  }
  banner.hidden = silent === null;
}

function showEmpty(latest) {
  const decided = latest.total("allowed") + latest.total("denied");
  const empty = byId("no-decision");
  empty.hidden = decided > 0;
  if (decided > 0) return;
  const connected = latest.sum("spop_connections") > 0;
  write(empty, connected
    ? "No decision yet: HAProxy is connected and has not asked. Does a request reach a frontend with the filter, and does the SPOE message name its event?"
    : "No decision yet: no HAProxy is connected. Is this agent a server of its SPOE backend, and has the frontend its “filter spoe”? Try it by hand: spop notify ADDRESS check-rate ip_src=192.0.2.7");
}

/** The right end of the charts. */
const moment = () => (silent || !history.latest ? clock() : history.latest.at);

function draw() {
  showConnection();
  const { latest, recent } = history;
  if (!latest) return;
  const now = moment();
  showTiles(latest, recent);
  showHaproxy(latest, recent);
  showSources(latest, recent);
  showPolicies(latest, recent, described, history, now, range);
  showState(latest, recent);
  showClients(top);
  showEmpty(latest);
  drawCharts();
}

/** What depends on the moment that is pointed at. */
function drawCharts() {
  const now = moment();
  for (const [id, paint] of [["rate-plot", drawRates], ["latency-plot", drawLatency]]) {
    const plot = byId(id);
    const frame = new Frame(plot.clientWidth, plot.clientHeight, now, range);
    plot.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    paint(plot, frame, history);
    if (cursor > 0) {
      const x = frame.x(now - cursor);
      plot.append(svg("line", { class: "cursor", x1: x, x2: x, y1: frame.margin.top, y2: frame.bottom }));
    }
  }
  describe(now);
}

/** What the charts show, in words. */
function describe(now) {
  const points = history.points.filter((point) => point.at >= now - range);
  const last = points.at(-1);
  if (!last) return;
  const least = (name) => perSecond(Math.min(...points.map((point) => point[name])));
  const most = (name) => perSecond(Math.max(...points.map((point) => point[name])));
  const part = (name, text) => `${text} ${least(name)} to ${most(name)}, now ${perSecond(last[name])}`;
  const words = [part("allowed", "allowed"), part("denied", "denied"), part("fallback", "by fallback"), part("shadow", "only in shadow")];
  write(byId("plot-text"), `In the last ${lasted(range)}, a second: ${words.join("; ")}.`);
  write(byId("latency-text"), `Now half of the answers take up to ${duration(last.p50)}, 90 % ${duration(last.p90)}, 99 % ${duration(last.p99)}.`);
  const slider = byId("cursor");
  slider.setAttribute("aria-valuemin", -range);
  slider.setAttribute("aria-valuenow", -cursor);
  const text = momentText(points, now);
  if (slider.getAttribute("aria-valuetext") !== text) slider.setAttribute("aria-valuetext", text);
  write(byId("readout"), cursor > 0 ? text : "Point at a moment, or choose it with ← and →.");
  if (byId("as-table").open) showHistory(points);
}

function momentText(points, now) {
  if (cursor === 0) return "now";
  const at = now - cursor;
  const near = points.reduce((best, point) => (Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best));
  if (Math.abs(near.at - at) > GAP) return `${timeOfDay(at)}: not read`;
  const rates = ["allowed", "denied", "fallback", "shadow"].map((name) => `${name} ${perSecond(near[name])}/s`);
  return `${timeOfDay(near.at)}: ${rates.join(", ")}; p50 ${duration(near.p50)}, p99 ${duration(near.p99)}`;
}

function showHistory(points) {
  const every = points.filter((_, index) => (points.length - 1 - index) % 10 === 0).reverse();
  const cells = (point) => [
    timeOfDay(point.at),
    ...["allowed", "denied", "fallback", "shadow"].map((name) => perSecond(point[name])),
    duration(point.p99),
  ];
  byId("history").replaceChildren(...every.map((point) => make("tr", "", ...cells(point).map((text) => make("td", "", text)))));
}

function setRange(seconds) {
  range = seconds;
  cursor = Math.min(cursor, range);
  remember("range", seconds);
  for (const button of document.querySelectorAll("[data-range]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.range) === range));
  }
  document.querySelector(".range-text").textContent = `last ${lasted(range).replace(" 0 s", "")}`;
  draw();
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  write(byId("theme"), `Theme: ${theme}`);
  remember("theme", theme);
}

function setPaused(on) {
  paused = on;
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(paused));
  write(button, paused ? "Go on" : "Pause");
  draw();
  schedule(0);
}

function moveCursor(event) {
  const steps = { ArrowLeft: 1, ArrowDown: 1, ArrowRight: -1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: range, End: -range };
  const step = steps[event.key];
  if (step === undefined) return;
  event.preventDefault();
  hovered = false;
  setCursor(Math.min(range, Math.max(0, cursor + step)));
}

function pointAt(event) {
  const box = byId("rate-plot").getBoundingClientRect();
  const frame = new Frame(box.width, box.height, 0, range);
  hovered = event.pointerType === "mouse";
  setCursor(Math.round(-frame.at(event.clientX - box.left)));
}

/** A pointer moves more often than there is something new to be seen. */
function setCursor(seconds) {
  if (cursor === seconds) return;
  cursor = seconds;
  drawCharts();
}

const THEMES = ["auto", "dark", "light"];
byId("pause").addEventListener("click", () => setPaused(!paused));
byId("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
for (const button of document.querySelectorAll("[data-range]")) {
  button.addEventListener("click", () => setRange(Number(button.dataset.range)));
}
byId("cursor").addEventListener("keydown", moveCursor);
byId("cursor").addEventListener("pointerdown", pointAt);
byId("cursor").addEventListener("pointermove", pointAt);
byId("cursor").addEventListener("pointerleave", () => hovered && setCursor(0));
byId("as-table").addEventListener("toggle", draw);
document.addEventListener("visibilitychange", () => schedule(0));
new ResizeObserver(() => draw()).observe(byId("rate-plot"));

setTheme(THEMES.includes(recall("theme")) ? recall("theme") : "auto");
setRange([60, 180, 600].includes(range) ? range : 180);
tick();
