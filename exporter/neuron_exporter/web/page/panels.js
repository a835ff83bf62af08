// All panels other than cores and runtimes: figures, memory, errors, sinks, source, machine, log.

import { attribute, bars, byId, children, facts, make, pill, showContentOr, text } from "./dom.js";
import { NO_VALUE, bytes, defined, dollars, duration, eccEvents, failures, integer, mean, missingReason, moment, number, percent, plural, sum, words } from "./format.js";

// Returns the errors, and of what: a sink may publish only one kind.
function errors({ executions = {}, devices = [] }) {
  const failed = failures(executions);
  const ecc = devices.some((each) => each.ecc_events) ? eccEvents(devices)[0] : undefined;
  const known = defined([failed, ecc]);
  const kind = known.length !== 1 ? "" : ecc === undefined ? "of executions " : "of memory ";
  return [known.length ? sum(known) : undefined, `${kind}since start`];
}

function publishing({ sinks: { cloudwatch }, exporter }, since) {
  if (!cloudwatch.is_on) return ["off", "not enabled", ""];
  const delivered = cloudwatch.last_success_at ?? exporter.started_at;
  if (isFailing(cloudwatch)) return ["Failing", `nothing delivered for ${duration(since(delivered), 60)}`, "bad"];
  return [dollars(cloudwatch.monthly_usd), isDryRun(cloudwatch) ? "per month if sent" : "per month at most", ""];
}

export function showFigures(snapshot, since) {
  const { reading } = snapshot;
  const { cores = [], devices = [], hardware = {}, executions = {} } = reading;
  const shares = defined(cores.map((core) => core.utilization));
  const memory = defined(devices.map((each) => each.memory_used_bytes));
  const capacity = hardware.devices && hardware.memory_per_device_bytes
    ? hardware.devices * hardware.memory_per_device_bytes : undefined;
  const [bad, kind] = errors(reading);
  const tiles = [
    ["Utilization", percent(mean(shares), 1), "mean of all cores"],
    ["Cores in use", shares.length ? `${shares.filter((each) => each > 0).length}` : NO_VALUE, shares.length ? `of ${shares.length}` : ""],
    ["Executions", number(executions.completed_per_second), "per second"],
    ["Errors", integer(bad), kind, bad ? "bad" : ""],
    ["Device memory", memory.length ? bytes(sum(memory)) : NO_VALUE, capacity ? `of ${bytes(capacity)}` : ""],
    ["CloudWatch", ...publishing(snapshot, since)],
  ];
  const nodes = children(byId("figures"), tiles.length, () =>
    make("div", { class: "card figure" }, make("dt"), make("dd"), make("dd", { class: "quiet" })));
  tiles.forEach(([name, value, note, tone = ""], at) => {
    const [term, figure, about] = nodes[at].children;
    text(term, name);
    text(figure, value);
    text(about, note);
    attribute(nodes[at], "data-tone", tone);
  });
}

export function showMemory(snapshot) {
  const { cores = [], host = {} } = snapshot.reading;
  const by = {};
  for (const core of cores) {
    for (const [name, value] of Object.entries(core.memory_bytes ?? {})) by[name] = (by[name] ?? 0) + value;
  }
  const total = Math.max(1, sum(Object.values(by)));
  const items = Object.entries(by).map(([name, value]) => ({ name: `Devices: ${words(name)}`, value: bytes(value), share: value / total }));
  const add = (name, used, all) => {
    if (used !== undefined) items.push({ name, value: bytes(used) + (all ? ` of ${bytes(all)}` : ""), share: all ? used / all : null });
  };
  add("Host", host.memory_used_bytes, host.memory_total_bytes);
  if (host.swap_total_bytes) add("Host: swap", host.swap_used_bytes, host.swap_total_bytes);
  if (host.cpu) {
    const busy = sum(Object.values(host.cpu));
    items.push({ name: `Host: CPU${host.vcpus ? `, ${plural(host.vcpus, "vCPU")}` : ""}`, value: percent(busy, 1), share: busy });
  }
  showContentOr(byId("memory-none"), byId("memory-bars"), items.length ? "" : missingReason(snapshot, "memory_used", "memory values"));
  bars(byId("memory-bars"), items);
}

export function showErrors(snapshot) {
  const { executions = {}, devices = [] } = snapshot.reading;
  const [rows, never] = [[], []];
  const add = (name, value, tone = "bad") => (value ? rows.push([name, integer(value), tone]) : never.push(name));
  const { completed, ...others } = executions.by_status ?? {};
  if (completed !== undefined) rows.push(["executions completed", integer(completed)]);
  for (const [name, value] of Object.entries(others)) add(`executions ${words(name)}`, value, name in executions.failed ? "bad" : "");
  for (const [name, value] of Object.entries(executions.errors ?? {})) add(`${words(name)} errors`, value);
  const ecc = {};
  for (const device of devices) {
    for (const [name, value] of Object.entries(device.ecc_events ?? {})) ecc[name] = (ecc[name] ?? 0) + value;
  }
  for (const [name, value] of Object.entries(ecc)) add(words(name), value);
  const reason = rows.length + never.length ? "" : missingReason(snapshot, "execution_stats", "counts");
  showContentOr(byId("errors-none"), byId("errors-facts"), reason);
  facts(byId("errors-facts"), rows);
  const [summary, list] = byId("errors-never").children;
  byId("errors-never").hidden = !never.length;
  text(summary, `${plural(never.length, "kind")} without an event`);
  children(list, never.length, () => make("li")).forEach((item, at) => text(item, never[at]));
}

const isDryRun = ({ transport }) => transport === "print";
const isFailing = (sink) => sink.failing_since !== null && !isDryRun(sink);
const isWaiting = (sink) => !sink.is_up && !isFailing(sink) && !isDryRun(sink);
const TRANSPORTS = {
  api: "PutMetricData",
  emf: "log lines on standard output (EMF)",
  print: "none: requests are printed, nothing is sent",
};

const stateOfSink = (sink) => isDryRun(sink) ? ["warn", "Dry run"] : sink.is_up ? ["good", "Delivering"]
  : isWaiting(sink) ? ["wait", "Waiting"] : ["bad", "Failing"];

const lastDelivery = (sink, since) => sink.last_success_at === null ? "none yet" : `${duration(since(sink.last_success_at))} ago`;

const MAX_NAMED = 5;

function showOtlp(otlp, since) {
  byId("otlp").hidden = !otlp?.is_on;
  if (!otlp?.is_on) return;
  pill(byId("otlp-state"), ...stateOfSink(otlp));
  const budget = otlp.budget_monthly_bytes;
  const rows = [
    ["Metrics", integer(otlp.metrics)],
    ["Last interval", `${plural(otlp.points, "point")}, ${bytes(otlp.bytes)}`],
    ["Last delivery", lastDelivery(otlp, since)],
    ["Queued", plural(otlp.queued_requests, "request")],
    ["Spool", otlp.kept ?? NO_VALUE],
    ["Endpoint", otlp.endpoint],
  ];
  if (budget !== null) rows.splice(2, 0, ["Budget", `${bytes(otlp.monthly_bytes)} of ${bytes(budget)} a month`]);
  if (!otlp.is_up) rows.unshift(["State", otlp.state, isFailing(otlp) ? "bad" : ""]);
  const { dropped } = otlp;
  if (dropped.length) {
    const names = [...dropped.slice(0, MAX_NAMED), ...(dropped.length > MAX_NAMED ? ["…"] : [])];
    rows.push(["Over budget", `${plural(dropped.length, "metric")} not sent: ${names.join(", ")}`, "warn"]);
  }
  facts(byId("otlp-facts"), rows);
}

export function showSinks({ sinks }, since) {
  const { cloudwatch, prometheus } = sinks;
  showOtlp(sinks.otlp, since);
  pill(byId("prometheus-state"), prometheus.is_on ? "good" : "off", prometheus.is_on ? "On" : "Off");
  facts(byId("prometheus-facts"), prometheus.is_on
    ? [["Exposes", `${plural(prometheus.series, "series", "series")} of ${plural(prometheus.metrics, "metric")}`]] : []);
  byId("published").hidden = !cloudwatch.is_on;
  if (!cloudwatch.is_on) {
    pill(byId("cloudwatch-state"), "off", "Off");
    facts(byId("cloudwatch-facts"), []);
    return;
  }
  pill(byId("cloudwatch-state"), ...stateOfSink(cloudwatch));
  const rows = [
    ["Metrics", `${integer(cloudwatch.metrics)}${cloudwatch.budget_metrics === null ? "" : ` of ${integer(cloudwatch.budget_metrics)} budgeted`}`],
    ["Cost", `${dollars(cloudwatch.monthly_usd)} per month at most (${cloudwatch.price_region})`],
    [isDryRun(cloudwatch) ? "Last printed" : "Last delivery", lastDelivery(cloudwatch, since)],
    ["Queued", plural(cloudwatch.queued_requests, "request")],
    ["Spool", cloudwatch.kept ?? NO_VALUE],
    ["Namespace", cloudwatch.namespace],
    ["Transport", TRANSPORTS[cloudwatch.transport] ?? cloudwatch.transport, isDryRun(cloudwatch) ? "warn" : ""],
  ];
  if (!cloudwatch.is_up && !isDryRun(cloudwatch)) rows.unshift(["State", cloudwatch.state, isFailing(cloudwatch) ? "bad" : ""]);
  if (cloudwatch.wanted_metrics > cloudwatch.metrics) {
    rows.push(["Without budget", `${integer(cloudwatch.wanted_metrics)} metrics, ${dollars(cloudwatch.wanted_monthly_usd)} per month`, "warn"]);
    rows.push(["Not published", cloudwatch.dropped.join("; ") || "until the end of the hour", "warn"]);
  }
  facts(byId("cloudwatch-facts"), rows);
  const names = cloudwatch.names;
  children(byId("published-names"), names.length, () => make("li")).forEach((item, at) => text(item, names[at]));
}

export function showSource({ source, missing, exporter }, since) {
  const rows = [
    ["Kind", source.kind],
    ["State", words(source.state), source.state === "ok" ? "" : "bad"],
  ];
  if (source.reason) rows.push(["Reason", source.reason, "bad"]);
  if (source.is_simulated) {
    const origin = source.kind === "file" ? "replayed from a file" : "computed by the simulator";
    rows.splice(1, 0, ["Values", `simulated: ${origin}, not measured on this machine`, "warn"]);
  }
  rows.push(
    ["Last report", source.last_report_at === null ? "none yet" : moment(source.last_report_at)],
    ["Period", source.period_seconds ? `${number(source.period_seconds)} s` : "unknown"],
    ["Reports", integer(source.reports)],
    ["Restarts", integer(source.restarts), source.restarts ? "warn" : ""],
    ["Exporter uptime", duration(since(exporter.started_at))],
  );
  facts(byId("source-facts"), rows);
  children(byId("missing"), missing.length, () => make("li"))
    .forEach((item, at) => text(item, `${words(missing[at].group)} is missing: ${missing[at].reason}`));
}

export function showMachine({ machine, reading, lookups }) {
  const { hardware = {} } = reading;
  const rows = Object.entries(machine).map(([name, value]) => [words(name), value]);
  for (const [name, value] of Object.entries(hardware)) {
    rows.push([words(name.replace("_bytes", "")), name.endsWith("_bytes") ? bytes(value) : String(value)]);
  }
  for (const [what, providers] of Object.entries(lookups)) {
    for (const [provider, status] of Object.entries(providers)) rows.push([`${what}: ${provider}`, status]);
  }
  facts(byId("machine-facts"), rows.length ? rows : [["Identity", "unknown"]]);
}

export function showConfiguration({ configuration, exporter }, since) {
  const rows = [["File", configuration.file ?? "none"], ["Version", exporter.version]];
  const last = configuration.last_reload;
  if (!last) rows.push(["Last reload", "none since start"]);
  else rows.push(["Last reload", `${duration(since(last.at))} ago: ${last.outcome}`, last.outcome.startsWith("failure") ? "bad" : ""]);
  facts(byId("configuration-facts"), rows);
}

export function showLog({ log }) {
  const lines = [...(log.lines ?? [])].reverse();
  showContentOr(byId("log-none"), byId("log-lines"), lines.length ? "" : log.reason ?? "None since start.");
  children(byId("log-lines"), lines.length, () =>
    make("li", {}, make("time"), make("strong"), make("b"), make("span"))).forEach((item, at) => {
    const { timestamp, level, event, fields } = lines[at];
    const details = Object.entries(fields).map(([name, value]) => `${name}: ${value}`).join("; ");
    [timestamp.replace("T", " ").slice(0, 19), level, words(event), details]
      .forEach((value, part) => text(item.children[part], value));
    attribute(item, "data-tone", level === "warning" ? "warn" : "bad");
  });
}

export function showLinks({ links }) {
  const nodes = children(byId("links"), links.length, () => make("li", {}, make("a")));
  links.forEach((path, at) => {
    const link = nodes[at].firstChild;
    text(link, path);
    attribute(link, "href", path.slice(1)); // relative, to work below a path of a reverse proxy
  });
}
