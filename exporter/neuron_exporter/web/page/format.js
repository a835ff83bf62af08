// Formats values for display. A missing value is a dash, never a zero.

export const NO_VALUE = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

export function integer(value) {
  return isKnown(value) ? whole.format(value) : NO_VALUE;
}

// Three significant digits, and all digits before the decimal point.
export function number(value) {
  if (!isKnown(value)) return NO_VALUE;
  if (value !== 0 && Math.abs(value) < 0.001) return "< 0.001";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return new Intl.NumberFormat("en", { minimumFractionDigits: value === 0 ? 0 : digits, maximumFractionDigits: digits }).format(value);
}

export function percent(share, digits = 0) {
  return isKnown(share) ? `${(100 * share).toFixed(digits)} %` : NO_VALUE;
}

export function bytes(value) {
  if (!isKnown(value)) return NO_VALUE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; Math.abs(value) >= 1024 && at < units.length - 1; at += 1) value /= 1024;
  return `${at === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2)} ${units[at]}`;
}

export function latency(seconds) {
  if (!isKnown(seconds)) return NO_VALUE;
  if (seconds >= 1) return `${number(seconds)} s`;
  if (seconds >= 1e-3) return `${number(seconds * 1e3)} ms`;
  return `${number(seconds * 1e6)} µs`;
}

export function flops(value) {
  if (!isKnown(value)) return NO_VALUE;
  return value >= 1e12 ? `${number(value / 1e12)} TFLOP/s` : `${number(value / 1e9)} GFLOP/s`;
}

// Minutes have seconds unless the precision is a minute.
export function duration(seconds, precision = 1) {
  if (!isKnown(seconds)) return NO_VALUE;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${precision < 60 ? ` ${s % 60} s` : ""}`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function moment(unix) {
  return isKnown(unix) ? new Date(unix * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC" : NO_VALUE;
}

export function dollars(value) {
  return isKnown(value) ? `${value.toFixed(2)} USD` : NO_VALUE;
}

export function plural(count, one, many = `${one}s`) {
  return `${integer(count)} ${count === 1 ? one : many}`;
}

// 0, 1, 2, 5 becomes 0–2, 5.
export function ranges(numbers) {
  const parts = [];
  for (let at = 0; at < numbers.length; at += 1) {
    const from = numbers[at];
    while (numbers[at + 1] === numbers[at] + 1) at += 1;
    parts.push(from === numbers[at] ? `${from}` : `${from}\u2060–\u2060${numbers[at]}`); // no line break within a range
  }
  return parts.join(", ") || NO_VALUE;
}

// Abbreviations in the names of neuron-monitor's fields.
const ABBREVIATIONS = { mem: "memory", ecc: "ECC", sram: "SRAM", id: "ID" };

export function words(name) {
  const long = name.replace("with_num_err", "with_numerical_errors").replace("with_err", "with_errors");
  return long.split("_").map((word) => ABBREVIATIONS[word] ?? word).join(" ");
}

export function owner(labels) {
  return Object.entries(labels ?? {}).map(([name, value]) => `${words(name)} ${value}`).join(", ");
}

export const defined = (values) => values.filter((value) => value !== undefined);

export const mean = (values) => (values.length ? sum(values) / values.length : undefined);

// Counts ECC events of devices: those that could not be corrected, and the others.
export function eccEvents(devices) {
  const count = [0, 0];
  for (const [kind, events] of devices.flatMap((each) => Object.entries(each.ecc_events ?? {}))) {
    count[kind.includes("uncorrected") ? 0 : 1] += events;
  }
  return count;
}

export const capitalized = (value) => value.charAt(0).toUpperCase() + value.slice(1);

export function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

// Statuses and errors count the same failures; one may be unknown.
export function failures({ failed, errors }) {
  if (!failed && !errors) return undefined;
  return Math.max(...[failed, errors].map((each) => sum(Object.values(each ?? {}))));
}

// Returns the reason why a group has no values.
export function missingReason(snapshot, group, what) {
  if (!snapshot.source.is_fresh) {
    return snapshot.source.last_report_at === null
      ? `No ${what}: no report yet.`
      : `No ${what}: the last report is stale.`;
  }
  const missing = snapshot.missing.find((each) => each.group === group);
  return missing ? `No ${what}: ${group}: ${missing.reason}.` : `No ${what}: the last report has none that a sink publishes.`;
}
