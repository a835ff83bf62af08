// The state of the data: a word, a tone and, if something is wrong, a notice.

const SOURCE = {
  starting: "The source is starting and has sent no report yet.",
  missing_program: "The source program was not found. The exporter keeps retrying.",
  no_driver: "The source found no Neuron device or driver.",
  exited: "The source exited. The exporter restarts it.",
  stalled: "The source has stopped sending reports.",
  garbage: "The source sends invalid reports.",
  paused: "The exporter is paused and has released the devices. SIGUSR1 resumes it.",
};

const LATE_AFTER = 3; // periods

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
  const details = state === "ok" ? "" : `${SOURCE[state] ?? `The source is ${state}.`}${reason ? ` Details: ${reason}` : ""}`;
  const { period_seconds: period, fresh_for_seconds: maxAge } = snapshot.source;
  if (fresh && state === "ok" && period && age > LATE_AFTER * period + 1) {
    return { word: "Late", tone: "warn", notice: `A report is due every ${period} s. Values are hidden when the last report is ${maxAge} s old.`, old: true };
  }
  if (fresh && state === "ok") return { word: "Live", tone: "good", notice: "", old: false };
  if (fresh) return { word: `Source ${state.replaceAll("_", " ")}`, tone: "warn", notice: `${details} The values below are from the last report.`, old: true };
  if (last === null) {
    const tone = state === "starting" ? "wait" : "bad";
    return { word: "No data", tone, notice: details || "No report yet.", old: false };
  }
  const notice = details || "Reports have stopped, and values this old are not shown.";
  return { word: "Stale", tone: "bad", notice: `The data is stale. ${notice}`, old: false };
}
