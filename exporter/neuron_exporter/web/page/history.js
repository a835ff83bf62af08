// Utilization, throughput and latency of the machine over the last minutes, kept in this page only.

import { attribute, byId, children, make, text } from "./dom.js";
import { defined, duration, latency, mean, number, percent } from "./format.js";

const [LONGEST, SHORTEST] = [600, 30]; // seconds on the time axis
const [WIDTH, HEIGHT] = [240, 48];
const MAX_POINTS = 600;
const points = [];

const CHARTS = [
  ["Utilization", "mean of all cores", ({ cores = [] }) => mean(defined(cores.map((core) => core.utilization))), percent, 1],
  ["Executions/s", "of all runtimes", ({ executions = {} }) => executions.completed_per_second, number],
  ["Latency p99", "of the slowest runtime", ({ runtimes = [] }) => highest(runtimes.map((each) => each.latency_seconds?.p99)), latency],
];

function highest(values) {
  const known = defined(values);
  return known.length ? Math.max(...known) : undefined;
}

export function showHistory({ reading, source }) {
  const at = source.last_report_at ?? points.at(-1)?.at; // null after a restart
  if (source.is_fresh && at !== points.at(-1)?.at) {
    if (at < points.at(-1)?.at) points.length = 0; // the exporter's clock was set back
    points.push({ at, values: CHARTS.map(([, , read]) => read(reading)) });
    while (points.length > MAX_POINTS || points[0].at < at - LONGEST) points.shift();
  }
  byId("history-section").hidden = !points.length;
  if (!points.length) return;
  const span = Math.max(SHORTEST, Math.min(LONGEST, at - points[0].at));
  text(byId("history-about"), `last ${duration(span, 60)}, since this page was opened`);
  const cards = children(byId("history-body"), CHARTS.length, makeCard);
  const pause = 3 * (source.period_seconds || 5) + 1; // a longer one is a gap in the line
  CHARTS.forEach(([name, about, , format, limit], index) => {
    const [title, now, note] = cards[index].firstChild.children;
    const top = limit ?? highest(points.map((each) => each.values[index]));
    text(title, name);
    text(now, format(source.is_fresh ? points.at(-1).values[index] : undefined));
    text(note, top === undefined ? about : `${about}; top ${format(top)}`);
    attribute(cards[index].querySelector("path"), "d", line(index, at, span, top || 1, pause));
  });
}

function line(index, now, span, top, pause) {
  let path = "";
  let last = -Infinity;
  for (const { at, values } of points) {
    if (values[index] === undefined) continue;
    const x = WIDTH * (1 - (now - at) / span);
    path += `${at - last > pause ? "M" : "L"}${x.toFixed(1)} ${(HEIGHT - 1 - (HEIGHT - 2) * values[index] / top).toFixed(1)}`;
    if (at - last > pause) path += "h.01"; // a single point is visible
    last = at;
  }
  return path;
}

function makeCard() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" })) svg.setAttribute(name, value);
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  return make("div", { class: "card chart" }, make("p", {}, make("strong"), make("b"), make("span", { class: "quiet" })), svg);
}
