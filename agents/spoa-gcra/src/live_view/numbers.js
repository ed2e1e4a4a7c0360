// Prometheus' text format as numbers, and what two readings of it say together.

const PREFIX = "spoa_gcra_";
/** Rates and times are of this long, in seconds. */
const RECENT = 5;
/** Two readings that are further apart leave a gap in the charts, in seconds. */
const GAP = 3;
/** The longest range that can be shown, in seconds. */
const KEPT = 600;

/** One reading of /metrics. */
class Reading {
  /** `at`: when it came, in seconds of this page's own clock, which nobody sets. */
  constructor(text, at) {
    this.at = at;
    this.samples = new Map();
    for (const line of text.split("\n")) {
      const found = /^([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (!found) continue;
      const [, name, labels, value] = found;
      const key = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name;
      const sample = { series: labels, labels: {}, value: Number(value.replace("Inf", "Infinity")) };
      for (const [, label, text] of (labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
        sample.labels[label] = text.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
      }
      if (!this.samples.has(key)) this.samples.set(key, []);
      this.samples.get(key).push(sample);
    }
    /** By policy, what it decided so far. */
    this.policies = new Map();
    for (const { labels, value } of this.find("decisions_total")) {
      const { policy, outcome, source } = labels;
      const counts = this.policies.get(policy) ?? { allowed: 0, denied: 0, fallback: 0, shadow: 0, near: 0 };
      counts[outcome] += value;
      if (source === "fallback") counts.fallback += value;
      this.policies.set(policy, counts);
    }
    for (const [count, name] of [["shadow", "shadow_denied_total"], ["near", "near_limit_total"]]) {
      for (const { labels, value } of this.find(name)) {
        const counts = this.policies.get(labels.policy);
        if (counts) counts[count] += value;
      }
    }
  }

  /** All samples of a name whose labels are so. */
  find(name, labels = {}) {
    const wanted = Object.entries(labels);
    const all = this.samples.get(name) ?? [];
    return all.filter((sample) => wanted.every(([label, text]) => sample.labels[label] === text));
  }

  has(name) {
    return this.samples.has(name);
  }

  /** Their sum; 0 without any. */
  sum(name, labels) {
    return this.find(name, labels).reduce((sum, sample) => sum + sample.value, 0);
  }

  /** The values that a label has, in the order of the text. */
  values(name, label) {
    return [...new Set((this.samples.get(name) ?? []).map((sample) => sample.labels[label]))];
  }

  /** When the process began, in seconds since 1970: another one is another process. */
  get started() {
    return this.sum("process_start_time_seconds");
  }

  /** What all policies have counted together: `allowed`, `denied`, `fallback`, `shadow`. */
  total(count) {
    return [...this.policies.values()].reduce((sum, counts) => sum + counts[count], 0);
  }
}

/** What happened between two readings of one process. */
class Span {
  constructor(from, to) {
    this.from = from;
    this.to = to;
    this.seconds = to.at - from.at;
  }

  /** So many a second of a metric. One that is new began at 0. */
  rate(name, labels) {
    // One by one: a policy that is gone takes its samples along.
    const before = new Map(this.from.find(name, labels).map(({ series, value }) => [series, value]));
    const difference = ({ series, value }) => Math.max(0, value - (before.get(series) ?? 0));
    return this.to.find(name, labels).reduce((sum, sample) => sum + difference(sample), 0) / this.seconds;
  }

  /** So many a second of what a policy counts; of all of them, without a policy. */
  decided(count, policy) {
    // One by one, as above.
    const policies = policy === undefined ? [...this.to.policies.keys()] : [policy];
    const difference = (policy) => {
      const [before, after] = [this.from, this.to].map((reading) => reading.policies.get(policy)?.[count] ?? 0);
      return Math.max(0, after - before);
    };
    return policies.reduce((sum, policy) => sum + difference(policy), 0) / this.seconds;
  }

  /**
   * The value that a part `q` of those in a histogram did not exceed, in its unit: between the
   * bounds of a bucket as if they were spread evenly. `null` without any, Infinity above the
   * last bound.
   */
  quantile(name, q, labels = {}) {
    const before = new Map();
    for (const { labels: own, value } of this.from.find(name + "_bucket", labels)) {
      before.set(own.le, value);
    }
    const buckets = this.to.find(name + "_bucket", labels).map(({ labels: own, value }) => ({
      bound: Number(own.le.replace("+Inf", "Infinity")),
      count: Math.max(0, value - (before.get(own.le) ?? 0)),
    }));
    buckets.sort((a, b) => a.bound - b.bound);
    const rank = q * (buckets.at(-1)?.count ?? 0);
    if (!(rank > 0)) return null;
    let lower = { bound: 0, count: 0 };
    for (const upper of buckets) {
      if (upper.count >= rank) {
        if (upper.bound === Infinity) return Infinity;
        const part = (rank - lower.count) / (upper.count - lower.count);
        return lower.bound + part * (upper.bound - lower.bound);
      }
      lower = upper;
    }
    return Infinity;
  }
}

/** What has been seen: points for the charts, and the readings that recent rates need. */
class History {
  constructor() {
    this.points = [];
    this.readings = [];
    /** Moments in between: `{at, kind}`, a restart. */
    this.marks = [];
  }

  /** Takes a reading in. True: it is another process's than the one before. */
  add(reading) {
    const last = this.readings.at(-1);
    const restarted = last !== undefined && last.started !== reading.started;
    if (restarted) this.marks.push({ at: reading.at, kind: "restart" });
    if (restarted || (last && reading.at - last.at > GAP)) this.readings = [];
    this.readings.push(reading);
    while (this.readings.length > 2 && this.readings[1].at <= reading.at - RECENT) {
      this.readings.shift();
    }
    if (this.readings.length > 1) {
      this.points.push(point(new Span(this.readings.at(-2), reading), this.recent));
    }
    const oldest = reading.at - KEPT - GAP;
    this.points = this.points.filter((point) => point.at > oldest);
    this.marks = this.marks.filter((mark) => mark.at > oldest);
    return restarted;
  }

  get latest() {
    return this.readings.at(-1);
  }

  /** The last seconds; `null` until there are two readings. */
  get recent() {
    return this.readings.length > 1 ? new Span(this.readings[0], this.latest) : null;
  }
}

/** A second of the charts. */
function point(second, recent) {
  const policies = new Map();
  for (const policy of second.to.policies.keys()) {
    policies.set(policy, { allowed: second.decided("allowed", policy), denied: second.decided("denied", policy) });
  }
  const quantile = (q) => recent.quantile("spop_answer_seconds", q);
  return {
    at: second.to.at,
    allowed: second.decided("allowed"),
    denied: second.decided("denied"),
    fallback: second.decided("fallback"),
    shadow: second.decided("shadow"),
    p50: quantile(0.5),
    p90: quantile(0.9),
    p99: quantile(0.99),
    policies,
  };
}

/** A rate in as many digits as it is worth. */
function perSecond(rate) {
  if (rate >= 99_950) return `${(rate / 1000).toFixed(0)} k`;
  if (rate >= 9_995) return `${(rate / 1000).toFixed(1)} k`;
  if (rate >= 99.5) return rate.toFixed(0);
  return rate === 0 ? "0" : rate.toFixed(1);
}

/** A count with its thousands apart, by spaces that do not break. */
function whole(count) {
  return Math.round(count).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** A time of the order of milliseconds. */
function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "> 1 s";
  if (seconds >= 1) return `${seconds.toFixed(1)} s`;
  if (seconds >= 0.01) return `${(seconds * 1e3).toFixed(0)} ms`;
  if (seconds >= 0.001) return `${(seconds * 1e3).toFixed(1)} ms`;
  return `${(seconds * 1e6).toFixed(0)} µs`;
}

/** How long something has lasted: the two units that count. */
function lasted(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = Math.max(0, units.findIndex(([, length]) => seconds >= length));
  const [unit, length] = seconds < 1 ? ["s", 1] : units[at];
  const text = `${Math.floor(seconds / length)} ${unit}`;
  const next = seconds < 1 ? undefined : units[at + 1];
  return next ? `${text} ${Math.floor((seconds % length) / next[1])} ${next[0]}` : text;
}

function bytes(count) {
  if (count >= 1 << 20) return `${(count / (1 << 20)).toFixed(1)} MiB`;
  return count >= 1024 ? `${(count / 1024).toFixed(0)} KiB` : `${count} B`;
}
