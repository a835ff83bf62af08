// The table of runtimes.

import { attribute, byId, children, make, showContentOr, text } from "./dom.js";
import { NO_VALUE, bytes, duration, failures, integer, latency, missingReason, number, owner, plural, ranges } from "./format.js";

const COLUMNS = [
  ["Runtime", (each) => each.tag || "(no tag)", "wide"],
  ["Owner", (each) => Object.values(each.owner ?? {}).join(" / ") || NO_VALUE, "wide owner"],
  ["Process", (each) => each.pids.join(", ") || NO_VALUE, "list"],
  ["Cores", (each) => ranges(each.cores), "list"],
  ["Executions/s", (each) => number(each.executions_per_second), "number"],
  ["Latency p50", (each) => latency(each.latency_seconds?.p50), "number"],
  ["Latency p99", (each) => latency(each.latency_seconds?.p99), "number"],
  ["Latency max", (each) => latency(each.latency_seconds?.p100), "number"],
  ["Device latency p50", (each) => latency(each.device_latency_seconds?.p50), "number"],
  ["Device latency p99", (each) => latency(each.device_latency_seconds?.p99), "number"],
  ["Errors", (each) => integer(failures(each)), "number"],
  ["Device memory", (each) => bytes(each.device_memory_bytes), "number"],
  ["Host memory", (each) => bytes(each.host_memory_bytes), "number"],
];

export function showRuntimes(snapshot) {
  const { runtimes = [], cores = [] } = snapshot.reading;
  const unused = cores.length && cores.every((each) => each.runtimes?.length === 0);
  const reason = unused ? "No process is using the Neuron devices." : missingReason(snapshot, "execution_stats", "runtimes");
  const table = byId("runtimes-table");
  showContentOr(byId("runtimes-none"), table, runtimes.length ? "" : reason);
  text(byId("runtimes-about"), runtimes.length ? `${plural(runtimes.length, "runtime")} (runtimes with equal labels are merged)` : "");
  const owned = runtimes.some((each) => each.owner);
  attribute(table, "data-owned", String(owned));
  const [head, body] = table.children;
  const [line] = children(head, 1, () => make("tr"));
  children(line, COLUMNS.length, (at) => make("th", { scope: "col", class: COLUMNS[at][2] }))
    .forEach((cell, at) => text(cell, COLUMNS[at][0]));
  children(body, runtimes.length, makeRow).forEach((row, at) => showRow(row, runtimes[at]));
}

function makeRow() {
  const [first, ...others] = COLUMNS.map(([name, , kind]) => ({ class: kind, "data-name": name }));
  return make("tr", {},
    make("th", { scope: "row", ...first }, make("span"), make("small", { class: "mark" })),
    ...others.map((attributes) => make("td", attributes, make("span"))));
}

function showRow(row, runtime) {
  text(row.querySelector(".mark"), runtime.is_stalled ? `no execution has ended for ${duration(runtime.execution_gap_seconds)}` : "");
  COLUMNS.forEach(([name, read, kind], at) => {
    const span = row.children[at].firstChild;
    const value = read(runtime);
    text(span, value);
    if (kind !== "number") attribute(span, "title", name === "Owner" ? owner(runtime.owner) : value);
    if (name === "Errors") attribute(row.children[at], "data-tone", failures(runtime) ? "bad" : "zero");
  });
}
