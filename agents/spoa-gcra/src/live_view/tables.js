// What is written beside the charts: numbers, policies, primaries, clients, troubles.

const byId = (id) => document.getElementById(id);

/** Changes a text only if it is another one, so that nothing is selected or read out in vain. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A number as people read it, and whole for programs. */
function show(element, text, value) {
  write(element, text);
  element.setAttribute("value", value);
}

/** An element with a class and what is in it. */
function make(name, classes, ...inner) {
  const element = document.createElement(name);
  if (classes) element.className = classes;
  element.append(...inner);
  return element;
}

function mark(name) {
  return svg("svg", { class: `mark ${name}`, "aria-hidden": "true" }, svg("use", { href: `#mark-${name}` }));
}

/** Keeps a child for each of these keys, in this order; `update` writes into it. */
function keep(parent, keys, create, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = keys.map((key) => {
    const child = before.get(key) ?? create(key);
    child.dataset.key = key;
    return child;
  });
  // Moved only if they have to be: what is moved loses the focus.
  if (children.some((child, index) => parent.children[index] !== child) || children.length !== parent.children.length) {
    parent.replaceChildren(...children);
  }
  children.forEach((child, index) => update(child, keys[index]));
}

/** A table's row that tells a narrow screen what each cell is. */
function row(cells) {
  const element = make("tr");
  element.setAttribute("role", "row");
  for (const [label, classes] of cells) {
    const cell = make("td", classes);
    cell.setAttribute("role", "cell");
    cell.dataset.label = label;
    element.append(cell);
  }
  return element;
}

function showTiles(latest, recent) {
  for (const name of ["allowed", "denied", "fallback", "shadow"]) {
    const total = latest.total(name);
    show(byId(`total-${name}`), whole(total), total);
    if (recent) {
      const rate = recent.decided(name);
      show(byId(`rate-${name}`), perSecond(rate), rate);
    }
    byId(`rate-${name}`).closest(".tile").classList.toggle("none", total === 0);
  }
  for (const [id, q] of [["p50", 0.5], ["p90", 0.9], ["p99", 0.99]]) {
    write(byId(id), recent ? duration(recent.quantile("spop_answer_seconds", q)) : "–");
  }
}

function showHaproxy(latest, recent) {
  const count = (id, value) => show(byId(id), whole(value), value);
  count("connections", latest.sum("spop_connections"));
  count("in-flight", latest.sum("spop_notifies_in_flight"));
  count("total-notifies", latest.sum("spop_notifies_total"));
  count("total-connections", latest.sum("spop_connections_total"));
  count("total-checks", latest.sum("spop_handshakes_total", { result: "health-check" }));
  if (recent) {
    const rate = recent.rate("spop_notifies_total");
    show(byId("rate-notifies"), perSecond(rate), rate);
  }
}

const SOURCES = {
  valkey: "Valkey",
  cache: "denial cache",
  lease: "lease",
  memory: "this process's memory",
  fallback: "failure policy",
  list: "lists of networks",
  unlimited: "no limit",
};

function showSources(latest, recent) {
  const rate = (source) => (recent ? recent.rate("decisions_total", { source }) : 0);
  const sources = latest.values("decisions_total", "source");
  const used = sources.filter((source) => latest.sum("decisions_total", { source }) > 0);
  const all = used.reduce((sum, source) => sum + rate(source), 0);
  const create = (source) => {
    const bar = make("span", `bar ${source}`, make("i"));
    return make("li", "", make("span", "", SOURCES[source] ?? source), make("data"), bar);
  };
  keep(byId("sources"), used, create, (item, source) => {
    const part = all > 0 ? rate(source) / all : 0;
    show(item.querySelector("data"), `${perSecond(rate(source))}/s`, latest.sum("decisions_total", { source }));
    item.querySelector("i").style.width = `${(100 * part).toFixed(1)}%`;
  });
  byId("sources").classList.toggle("nothing", used.length === 0);
}

/** Everything that should stay 0: what it means, and its count. */
function troubles(latest) {
  const found = [];
  const add = (text, count, bad = true) => count > 0 && found.push({ text, count, bad });
  const failed = { deadline: "not decided before the deadline", overload: "shed: too much in flight", panic: "a handler panicked: please report it" };
  for (const { labels, value } of latest.find("spop_notifies_failed_total")) {
    add(`NOTIFYs answered without a decision: ${failed[labels.reason] ?? labels.reason}`, value);
  }
  const reasons = { error: "Valkey failed or was not asked", timeout: "Valkey was too slow" };
  for (const { labels, value } of latest.find("fallbacks_total")) {
    add(`decided by the failure policy: ${reasons[labels.reason] ?? labels.reason}`, value);
  }
  add("NOTIFYs whose connection ended before their answer", latest.sum("spop_notifies_lost_total"), false);
  add("NOTIFYs in fragments that were too big", latest.sum("spop_notifies_too_big_total"));
  add("times that the limit of connections was reached", latest.sum("spop_connections_full_total"));
  add("times that accepting a connection failed", latest.sum("spop_accept_errors_total"));
  add("times that a connection had too much in flight to be read", latest.sum("spop_reads_paused_total"), false);
  add("handshakes without an agreement", latest.sum("spop_handshakes_total", { result: "refused" }));
  add("connections that broke the protocol", latest.sum("spop_connections_closed_total", { end: "violation" }));
  add("clients forgotten too early: raise SPOA_MEMORY_CLIENTS", latest.sum("memory_evictions_total"));
  add("denials forgotten too early: raise SPOA_DENIAL_CACHE", latest.sum("denial_cache_evictions_total"));
  return found;
}

/** What should not be as it is now. */
function states(latest) {
  const found = [];
  const add = (text) => found.push({ text, bad: true, state: true });
  if (latest.find("valkey_map_renewals_total").some(({ value }) => value === 0)) {
    add("no primary of Valkey was found since the start");
  }
  for (const { labels } of latest.find("valkey_breaker_state").filter(({ value }) => value > 0)) {
    if (labels.state !== "closed") add(`${labels.node}: its breaker is ${labels.state.replace("_", " ")}`);
  }
  if (latest.sum("policies_stale") > 0) add("the file of policies cannot be used: those read before are in force");
  return found;
}

/** Counts of troubles, and when each was last seen to grow. `null`: nothing of this process was
 * read. */
let seen = null;

function showTroubles(latest, restarted) {
  const first = seen === null || restarted;
  if (first) seen = new Map();
  const found = [...states(latest), ...troubles(latest)];
  for (const trouble of found) {
    // One that is new has begun since the last reading; what the first one holds, at any time.
    const before = seen.get(trouble.text) ?? { count: first ? trouble.count : 0 };
    const grew = trouble.state || trouble.count > before.count;
    seen.set(trouble.text, { count: trouble.count, at: grew ? latest.at : before.at });
  }
  const create = () => make("li", "", make("span"), make("small"));
  keep(byId("troubles"), found.map(({ text }) => text), create, (item, text) => {
    const { count, bad, state } = found.find((trouble) => trouble.text === text);
    const { at } = seen.get(text);
    const ago = at === undefined ? null : latest.at - at;
    item.className = (state || (ago !== null && ago < 60)) && bad ? "now" : "";
    write(item.firstChild, count === undefined ? text : `${whole(count)} ${text}`);
    const when = ago === null ? "since the start" : `the last ${lasted(ago)} ago`;
    write(item.lastChild, state ? "now" : ago !== null && ago < 1.5 ? "growing now" : when);
  });
  write(byId("no-trouble"), found.length > 0 ? "" : "Nothing: no fallback, no missed deadline, nothing shed.");
}

/** 256 policies would be too long a table to be drawn each second. */
const POLICIES_SHOWN = 40;

function showPolicies(latest, recent, described, history, now, range) {
  const busy = [...latest.policies].sort(([, a], [, b]) => b.allowed + b.denied - a.allowed - a.denied);
  const shown = busy.slice(0, POLICIES_SHOWN).map(([name]) => name).sort();
  const about = new Map(described.map((policy) => [policy.name, policy]));
  const create = () => row([
    ["policy", "name"], ["limits", "limits"], ["", "spark"], ["allowed/s", "number"], ["denied/s", "number"],
    ["near limit/s", "number"], ["allowed", "number"], ["denied", "number"],
  ]);
  keep(byId("policies"), shown, create, (item, name) => {
    const [first, limits, spark, ...numbers] = item.children;
    const policy = about.get(name);
    const description = JSON.stringify(policy ?? name);
    if (item.dataset.description !== description) {
      item.dataset.description = description;
      first.replaceChildren(make("b", "", name), ...tags(policy));
      limits.replaceChildren(...limitsOf(policy));
      spark.replaceChildren(svg("svg", { class: "plot", "aria-hidden": "true" }));
      for (const cell of numbers) cell.replaceChildren(make("data"));
      // What a policy in shadow would have denied is shown where another one's denials are.
      for (const cell of [numbers[1], numbers[4]]) {
        cell.dataset.label = `${policy?.shadow ? "would be " : ""}denied${cell === numbers[1] ? "/s" : ""}`;
        cell.prepend(mark(policy?.shadow ? "shadow" : "denied"));
      }
    }
    const counts = latest.policies.get(name);
    const denied = policy?.shadow ? "shadow" : "denied";
    const rate = (count) => (recent ? recent.decided(count, name) : 0);
    const write = (cell, text, value) => show(cell.lastChild, text, value);
    write(numbers[0], perSecond(rate("allowed")), rate("allowed"));
    write(numbers[1], perSecond(rate(denied)), rate(denied));
    write(numbers[2], perSecond(rate("near")), rate("near"));
    write(numbers[3], whole(counts.allowed), counts.allowed);
    write(numbers[4], whole(counts[denied]), counts[denied]);
    for (const cell of [numbers[1], numbers[4]]) {
      cell.classList.toggle("none", counts[denied] === 0);
    }
    drawSpark(spark.firstChild, history, name, now, range);
  });
  const more = busy.length - shown.length;
  write(byId("policies-note"), more > 0 ? `The ${POLICIES_SHOWN} with the most decisions; ${more} more are in /metrics.` : "");
}

function tags(policy) {
  if (!policy) return [];
  const tags = [];
  if (policy.shadow) tags.push("shadow: denies nobody");
  if (policy.messages.length > 0) tags.push(`message ${policy.messages.join(", ")}`);
  if (policy.cost !== 1) tags.push(`cost ${policy.cost}`);
  if (policy.lease) tags.push(`leases of ${policy.lease.requests}, ${policy.lease.ttl_ms} ms`);
  const networks = (count) => `${whole(count)} network${count === 1 ? "" : "s"}`;
  if (policy.allow > 0) tags.push(`${networks(policy.allow)} always allowed`);
  if (policy.deny > 0) tags.push(`${networks(policy.deny)} always denied`);
  if (policy.failure) tags.push(`without Valkey: ${policy.failure}`);
  return tags.map((tag) => make("span", "tag", tag));
}

function limitsOf(policy) {
  if (!policy) return ["–"];
  if (policy.limits.length === 0) return ["no limit"];
  return policy.limits.map(({ name, rate, burst }) => {
    const own = name && name !== policy.name ? `${name.replace(`${policy.name}.`, "")}: ` : "";
    return make("span", "limit", `${own}${rate}, ${whole(burst)} at once`);
  });
}

/** What a breaker's states are, with a shape each. */
const BREAKERS = { closed: ["good", "closed"], open: ["bad", "open"], half_open: ["wary", "half open"] };

function showState(latest, recent) {
  const nodes = latest.values("valkey_breaker_state", "node");
  byId("primaries-table").hidden = nodes.length === 0;
  const create = () => row([
    ["primary", "name"], ["breaker", ""], ["checks/s", "number"], ["p99", "number"], ["queue", "number"],
    ["failed", "number"], ["refused", "number"],
  ]);
  keep(byId("primaries"), nodes.sort(), create, (item, node) => {
    const [name, breaker, ...numbers] = item.children;
    write(name, node);
    const state = latest.find("valkey_breaker_state", { node }).find(({ value }) => value > 0)?.labels.state;
    const [classes, word] = BREAKERS[state] ?? ["", "–"];
    breaker.className = `breaker ${classes}`;
    write(breaker, word);
    const sum = (name) => latest.sum(name, { node });
    const texts = [
      recent ? perSecond(recent.rate("valkey_checks_sent_total", { node })) : "–",
      recent ? duration(recent.quantile("valkey_answer_seconds", 0.99, { node })) : "–",
      whole(sum("valkey_queue_length")),
      whole(sum("valkey_checks_failed_total")),
      whole(sum("valkey_checks_refused_total")),
    ];
    texts.forEach((text, index) => write(numbers[index], text));
  });
  const [clients, size] = [latest.sum("memory_clients"), bytes(latest.sum("memory_bytes"))];
  const here = `${whole(clients)} client${clients === 1 ? "" : "s"} in this process's memory, ${size}`;
  const shared = latest.has("fallbacks_total");
  const text = !shared
    ? `In this process only: ${here}. VALKEY_NODES is not set, so no other agent shares these limits.`
    : nodes.length === 0
      ? "No primary of Valkey found yet: the failure policy answers. Does VALKEY_NODES name servers that this host reaches? spoa-gcra check --reach tells."
      : `In Valkey. Of fallbacks: ${here}.`;
  write(byId("where-state"), text);
}

function showClients(top) {
  const clients = top?.clients ?? [];
  const most = Math.max(1, ...clients.map(({ denied }) => denied));
  const keys = clients.map(({ client, policy, shadow }) => `${client} ${policy}${shadow ? " in shadow" : ""}`);
  const create = () => make("li", "", make("code"), make("small"), make("data"), make("span", "bar denied", make("i")));
  keep(byId("clients"), keys, create, (item, key) => {
    const { client, policy, shadow, denied, error } = clients[keys.indexOf(key)];
    write(item.querySelector("code"), client);
    write(item.querySelector("small"), shadow ? `${policy}, in shadow` : policy);
    item.querySelector(".bar").className = `bar ${shadow ? "shadow" : "denied"}`;
    const least = Math.max(0, denied - error);
    show(item.querySelector("data"), error > 0 ? `${whole(least)} to ${whole(denied)}` : whole(denied), denied);
    item.querySelector("i").style.width = `${((100 * denied) / most).toFixed(1)}%`;
  });
  const minutes = top ? lasted(top.window_seconds ?? 0).replace(/ 0 s$/, "") : "";
  const text = !top
    ? "This agent has no /top to ask."
    : top.names === "off"
      ? "Switched off: set SPOA_TOP to networks or clients to see who is denied most."
      : clients.length > 0
        ? `Denied within ${minutes}${top.names === "networks" ? ", by network" : ""}.`
        : `Nobody was denied within ${minutes}.`;
  write(byId("clients-note"), text);
}
