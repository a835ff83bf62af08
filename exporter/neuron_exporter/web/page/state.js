// The state of the data and of the machine: a word, a tone and, if the data is not live, a notice.

import { attribute, byId, children, make, text } from "./dom.js";
import { capitalized, duration, moment } from "./format.js";

const SOURCE = {
  starting: "The source is starting and has sent no report yet.",
  missing_program: "The source program was not found. Install aws-neuronx-tools or set source.command; the exporter keeps looking for it. `neuron-exporter doctor` checks this machine.",
  no_driver: "The source found no Neuron device or driver. Run `neuron-exporter doctor`.",
  exited: "The source exited. The exporter restarts it.",
  stalled: "The source has stopped sending reports.",
  garbage: "The source sends invalid reports.",
  paused: "The exporter is paused and has released the devices. SIGUSR1 resumes it.",
};

const TONES = { critical: "bad", warning: "warn", info: "wait" };
const LATE_AFTER = 3; // periods

// Returns the problems that have a line of their own. The notice describes the source, and a badge
// says that values are simulated.
function listed(snapshot) {
  return snapshot.problems.filter(({ reason }) => reason !== "source_down" && reason !== "simulated");
}

export function stateOf(snapshot, age, problem, refusal) {
  if (refusal) return { word: "No data", tone: "bad", notice: refusal, old: true };
  if (problem) {
    const old = snapshot ? " The values below are old." : "";
    return {
      word: "Connection lost",
      tone: "bad",
      notice: `The exporter is not responding (${problem}). Retrying every second.${old}`,
      old: true,
    };
  }
  if (!snapshot) return { word: "Connecting", tone: "wait", notice: "", old: false };
  const { state, reason, is_fresh: fresh, last_report_at: last } = snapshot.source;
  const details = state === "ok" ? "" : `${SOURCE[state] ?? `The source is ${state}.`}${reason ? ` Details: ${state === "missing_program" ? reason.split("; install")[0] : reason}` : ""}`;
  const { period_seconds: period, fresh_for_seconds: maxAge } = snapshot.source;
  const [worst] = listed(snapshot);
  const isLoop = worst?.reason === "crash_loop" && state === "exited"; // its line says more
  if (fresh && state === "ok" && period && age > LATE_AFTER * period + 1) {
    return { word: "Late", tone: "warn", notice: `A report is due every ${period} s. Values are hidden when the last report is ${maxAge} s old.`, old: true };
  }
  if (fresh && (state === "ok" || isLoop)) {
    if (!worst || worst.severity === "info") return { word: "Live", tone: "good", notice: "", old: false };
    return { word: capitalized(worst.text.split(":")[0]), tone: TONES[worst.severity], notice: "", old: false };
  }
  if (fresh) return { word: `Source ${state.replaceAll("_", " ")}`, tone: "warn", notice: `${details} The values below are from the last report.`, old: true };
  if (last === null) {
    const tone = state === "starting" ? "wait" : "bad";
    return { word: "No data", tone, notice: details || "No report yet.", old: false };
  }
  const notice = details || "Reports have stopped, and values this old are not shown.";
  return { word: "Stale", tone: "bad", notice: `The data is stale. ${notice}`, old: false };
}

// Lists the problems, the worst first.
export function showProblems(snapshot, since) {
  const problems = listed(snapshot);
  const list = byId("problems");
  list.hidden = !problems.length;
  const makeOne = () => make("li", {}, make("span", { class: "sign", "aria-hidden": "true" }),
    make("strong"), make("span"), make("span", { "aria-hidden": "true" }));
  children(list, problems.length, makeOne).forEach((item, at) => {
    const { severity, text: what, detail, since: begin } = problems[at];
    attribute(item, "data-tone", TONES[severity]);
    attribute(item, "title", `since ${moment(begin)}`);
    text(item.children[1], capitalized(what));
    text(item.children[2], detail);
    text(item.children[3], `· for ${duration(since(begin), 60)}`);
  });
}
