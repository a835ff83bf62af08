// How the page's data is: one word, one tone, and a sentence where something is wrong.

const SOURCE = {
  starting: "The source is starting. The first report is being waited for.",
  missing_program: "The source cannot be started: its program was not found. It is tried again.",
  no_driver: "The source finds no Neuron device or driver.",
  exited: "The source has ended. It is started again.",
  stalled: "The source says nothing any more.",
  garbage: "What the source says is no report.",
  paused: "Paused: the exporter has let go of the devices. SIGUSR1 resumes.",
};

const LATE_AFTER = 3; // periods

export function judge(snapshot, age, problem) {
  if (problem) {
    const old = snapshot ? " What is below is old." : "";
    return {
      word: "Connection lost",
      tone: "bad",
      notice: `The exporter does not answer: ${problem}. It is asked again every second.${old}`,
      old: true,
    };
  }
  if (!snapshot) return { word: "Connecting", tone: "wait", notice: "", old: false };
  const { state, why, is_fresh: fresh, last_report_at: last } = snapshot.source;
  const said = state === "ok" ? "" : `${SOURCE[state] ?? `The source is ${state}.`}${why ? ` It says: ${why}` : ""}`;
  const { period_seconds: period, fresh_for_seconds: life } = snapshot.source;
  if (fresh && state === "ok" && age > LATE_AFTER * period + 1) {
    return { word: "Late", tone: "warn", notice: `A report should come every ${period} s. Readings vanish when the last is ${life} s old.`, old: true };
  }
  if (fresh && state === "ok") return { word: "Live", tone: "good", notice: "", old: false };
  if (fresh) return { word: `Source ${state.replaceAll("_", " ")}`, tone: "warn", notice: `${said} Readings are the last that came.`, old: true };
  if (last === null) {
    const tone = state === "starting" ? "wait" : "bad";
    return { word: "No data", tone, notice: said || "There has been no report yet.", old: false };
  }
  const because = said || "Reports have stopped, and readings this old are not shown.";
  return { word: "Stale", tone: "bad", notice: `The data is stale. ${because}`, old: false };
}
