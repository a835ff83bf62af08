// The heat map of all cores, the details of the selected core, and a table of all cores.

import { attribute, bars, byId, children, facts, fill, make, showContentOr, text } from "./dom.js";
import { NO_VALUE, bytes, defined, duration, eccEvents, flops, missingReason, owner, percent, plural, sum, words } from "./format.js";

const CATEGORIES = ["model_code", "constants", "tensors", "model_shared_scratchpad", "runtime_memory"];
let selected = null;
let latest = [];
let hardware = {};
let devicesByNumber = new Map();
let stalled = new Map(); // seconds without an execution ending, by core

const memoryOf = (core) => (core.memory_bytes ? sum(Object.values(core.memory_bytes)) : undefined);
const level = (share) => (share === undefined ? "none" : String(Math.min(10, Math.ceil(share * 10 - 1e-9))));
const runtimesOf = (core) => [...new Set((core.runtimes ?? []).map((each) => each.tag || `process ${each.pid}`))];
const categoriesOf = (core) => [...new Set([...CATEGORIES, ...Object.keys(core.memory_bytes ?? {})])];

export function showCores(snapshot) {
  const { cores = [], devices = [], runtimes = [] } = snapshot.reading;
  latest = cores;
  devicesByNumber = new Map(devices.map((each) => [each.device, each]));
  stalled = new Map(runtimes.filter((each) => each.is_stalled)
    .flatMap((each) => each.cores.map((core) => [core, each.execution_gap_seconds])));
  hardware = snapshot.reading.hardware ?? {};
  const reason = cores.length ? "" : missingReason(snapshot, "neuroncore_counters", "cores");
  showContentOr(byId("cores-none"), byId("cores-body"), reason);
  byId("all").hidden = !cores.length;
  text(byId("cores-about"), summary(cores) + (stalled.size ? `; dashed: no execution has ended for ${duration(Math.max(...stalled.values()))}` : ""));
  if (!cores.length) return;
  const groups = grouped(cores, devices);
  const grid = byId("devices");
  attribute(grid, "data-size", groups.length <= 2 ? "few" : groups.length <= 8 ? "some" : "many");
  const cards = children(grid, groups.length, makeDevice);
  groups.forEach(([number, own], at) => showDevice(cards[at], number, own, devicesByNumber.get(number)));
  if (!cores.some((core) => core.core === selected)) selected = cores[0].core;
  showSelection();
  if (byId("all").open) showTable();
}

// Cores by device, which may be unknown. Devices without known cores are shown for their values.
function grouped(cores, devices) {
  const some = devices.filter((each) => each.memory_used_bytes || sum(eccEvents([each])));
  const numbers = new Set([...cores, ...some].map((each) => each.device));
  return [...numbers].map((number) => [number, cores.filter((core) => core.device === number)]);
}

function summary(cores) {
  if (!cores.length) return "";
  const devices = new Set(defined(cores.map((core) => core.device))).size;
  const physical = hardware.physical_cores_per_core;
  const logical = physical > 1 ? `, each of ${physical} physical cores` : "";
  return `${plural(cores.length, "core")}${devices ? ` on ${plural(devices, "device")}` : ""}${logical}`;
}

function makeDevice() {
  return make("div", { class: "card device", role: "group" },
    make("p", { class: "title" }, make("strong"), make("span", { class: "ecc" }), make("span", { class: "quiet" })),
    make("span", { class: "bar", "aria-hidden": "true" }, make("i")),
    make("div", { class: "cells" }));
}

function showDevice(card, number, cores, device = {}) {
  const [title, bar, cells] = card.children;
  const name = number >= 0 ? `Device ${number}` : "Cores";
  attribute(card, "aria-label", name);
  text(title.firstChild, name);
  const [uncorrected, corrected] = eccEvents([device]);
  text(title.children[1], uncorrected ? `${uncorrected} uncorrected ECC` : corrected ? `${corrected} corrected ECC` : "");
  attribute(title.children[1], "data-tone", uncorrected ? "bad" : "");
  const size = hardware.memory_per_device_bytes;
  const amount = device.memory_used_bytes;
  text(title.lastChild, amount === undefined ? "" : bytes(amount) + (size ? ` of ${bytes(size)}` : ""));
  bar.hidden = amount === undefined || !size;
  if (size) fill(bar, (amount ?? 0) / size);
  attribute(cells, "data-count", String(cores.length));
  const buttons = children(cells, cores.length, () =>
    make("button", { type: "button", class: "cell" }, make("small"), make("b")));
  cores.forEach((core, at) => showCell(buttons[at], core, number));
}

function showCell(button, core, device) {
  const share = core.utilization;
  attribute(button, "data-core", String(core.core));
  attribute(button, "data-level", level(share));
  const busy = share === undefined ? "no value" : `${percent(share)} busy`;
  const gap = stalled.get(core.core);
  attribute(button, "data-stalled", String(gap !== undefined));
  const mark = gap === undefined ? "" : `, no execution has ended for ${duration(gap)}`;
  attribute(button, "aria-label", `Core ${core.core}${device >= 0 ? ` of device ${device}` : ""}: ${busy}${mark}`);
  text(button.firstChild, String(core.core));
  text(button.lastChild, share === undefined ? NO_VALUE : (100 * share).toFixed(0));
}

function showSelection() {
  for (const button of byId("devices").querySelectorAll(".cell")) {
    const mine = Number(button.dataset.core) === selected;
    attribute(button, "aria-pressed", String(mine));
    attribute(button, "tabindex", mine ? "0" : "-1");
  }
  const core = latest.find((each) => each.core === selected);
  if (core) showCore(core);
}

function showCore(core) {
  text(byId("core-title"), `Core ${core.core}`);
  const physical = Object.entries(core.physical_utilization ?? {});
  const rows = [["Utilization", percent(core.utilization, 1)]];
  if (physical.length) rows.push(["Physical cores", physical.map(([name, share]) => `${name}: ${percent(share)}`).join(", ")]);
  if (core.device !== undefined) rows.push(["Device", String(core.device)]);
  const gap = stalled.get(core.core);
  if (gap !== undefined) rows.push(["Without an ended execution", duration(gap), "warn"]);
  const [uncorrected, corrected] = eccEvents([devicesByNumber.get(core.device) ?? {}]);
  if (uncorrected + corrected) rows.push(["ECC of device", `${uncorrected} uncorrected, ${corrected} corrected`, uncorrected ? "bad" : ""]);
  const speed = core.effective_flops ?? core.flops;
  if (speed !== undefined) rows.push([core.effective_flops === undefined ? "Speed" : "Effective speed", flops(speed)]);
  if (core.runtimes) rows.push(["Runtimes", runtimesOf(core).join(", ") || "none"]);
  if (core.allocated !== undefined) rows.push(["Allocated", core.allocated ? "to a pod" : "no"]);
  if (core.owner) rows.push(["Owner", owner(core.owner)]);
  rows.push(["Device memory", bytes(memoryOf(core))]);
  facts(byId("core-facts"), rows);
  const largest = Math.max(1, memoryOf(core) ?? 0);
  bars(byId("core-memory"), core.memory_bytes === undefined ? [] : categoriesOf(core).map((name) => {
    const value = core.memory_bytes[name];
    return { name: words(name), value: bytes(value), share: (value ?? 0) / largest };
  }));
}

function showTable() {
  const [head, body] = byId("all-table").children;
  const names = ["Core", "Device", "Utilization", ...CATEGORIES.map(words), "Total memory", "Runtimes", "Owner"];
  const [line] = children(head, 1, () => make("tr"));
  children(line, names.length, () => make("th", { scope: "col" })).forEach((cell, at) => text(cell, names[at]));
  children(body, latest.length, () => make("tr", {}, make("th", { scope: "row" }), ...names.slice(1).map(() => make("td"))))
    .forEach((row, at) => {
      const core = latest[at];
      const memory = CATEGORIES.map((name) => bytes(core.memory_bytes?.[name]));
      const values = [String(core.core), String(core.device ?? NO_VALUE), percent(core.utilization, 1), ...memory,
        bytes(memoryOf(core)), runtimesOf(core).join(", ") || NO_VALUE, owner(core.owner) || NO_VALUE];
      values.forEach((value, column) => text(row.children[column], value));
    });
}

function select(button) {
  selected = Number(button.dataset.core);
  showSelection();
  button.focus();
}

// Returns the next cell in a direction, by its position on the screen.
function neighbour(from, key) {
  const cells = [...byId("devices").querySelectorAll(".cell")];
  const at = cells.indexOf(from);
  if (key === "ArrowRight") return cells[at + 1];
  if (key === "ArrowLeft") return cells[at - 1];
  if (key === "Home") return cells[0];
  if (key === "End") return cells.at(-1);
  const down = key === "ArrowDown" ? 1 : -1;
  const own = from.getBoundingClientRect();
  let best;
  let nearest = Infinity;
  for (const cell of cells) {
    const box = cell.getBoundingClientRect();
    const away = down * (box.top - own.top);
    const distance = away + Math.abs(box.left - own.left) * 4;
    if (away > 1 && distance < nearest) [best, nearest] = [cell, distance];
  }
  return best;
}

const KEYS = ["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"];
byId("devices").addEventListener("keydown", (event) => {
  if (!KEYS.includes(event.key) || !event.target.matches(".cell")) return;
  event.preventDefault();
  const next = neighbour(event.target, event.key);
  if (next) select(next);
});
byId("devices").addEventListener("click", (event) => {
  const button = event.target.closest(".cell");
  if (button) select(button);
});
byId("all").addEventListener("toggle", () => {
  if (byId("all").open) showTable();
});
