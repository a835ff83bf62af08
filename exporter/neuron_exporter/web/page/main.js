// Requests the snapshot once a second and shows it. Pauses while the page is hidden.

import { attribute, byId, pill, text } from "./dom.js";
import { duration, plural } from "./format.js";
import { showCores } from "./cores.js";
import { showHistory } from "./history.js";
import { showConfiguration, showErrors, showFigures, showLinks, showLog, showMachine, showMemory, showSinks, showSource } from "./panels.js";
import { showRuntimes } from "./runtimes.js";
import { showProblems, stateOf } from "./state.js";

const INTERVAL = 1000; // milliseconds
const TIMEOUT = 5000;
const address = new URL("api/v1/snapshot", document.baseURI);
address.username = address.password = ""; // fetch rejects URLs with credentials; the browser adds them

let snapshot = null;
let tag = "";
let receivedAt = 0; // seconds on the page's own clock
let problem = "";
let refusal = "";
let lostAt = null;
let timer = 0;

const now = () => performance.now() / 1000;
const age = () => (snapshot?.age_seconds == null ? null : snapshot.age_seconds + now() - receivedAt);

// Seconds since a time on the exporter's clock, independent of this machine's clock.
const since = (unix) => snapshot.at + now() - receivedAt - unix;

async function update() {
  const headers = tag ? { "If-None-Match": tag } : {};
  const response = await fetch(address, { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
  if (response.status === 304) return;
  if (response.status === 421) throw Object.assign(new Error(), { refusal: await response.text() });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const latest = await response.json();
  tag = response.headers.get("ETag") ?? "";
  [snapshot, receivedAt] = [latest, now()];
  show();
}

function show() {
  const { machine, exporter, reading } = snapshot;
  text(byId("version"), exporter.version);
  const name = machine.instance_name || machine.instance_id || machine.node_name;
  text(byId("machine"), machine.instance_type || name || "This machine");
  const where = [machine.instance_type ? name : "", machine.cluster, machine.availability_zone || machine.region];
  text(byId("where"), where.filter(Boolean).join(" · "));
  const { is_simulated: simulated } = snapshot.source;
  byId("simulated").hidden = !simulated;
  const failing = snapshot.missing.filter((each) => each.is_failing).length;
  byId("degraded").hidden = !failing;
  text(byId("degraded").lastElementChild, `Degraded: ${plural(failing, "group")} unreadable`);
  for (const part of [showFigures, showHistory, showCores, showRuntimes, showMemory, showErrors, showSinks, showSource, showMachine, showConfiguration, showLog, showLinks]) {
    part(snapshot, since);
  }
  attribute(byId("main"), "data-reading", String(Boolean(reading.cores?.length)));
}

function showState() {
  const { word, tone, notice, old } = stateOf(snapshot, age(), problem, refusal);
  pill(byId("state"), tone, word);
  if (snapshot) {
    showProblems(snapshot, since);
    showTitle(word);
  }
  const seconds = age();
  const reported = seconds === null ? "" : `last report ${duration(seconds)} ago`;
  text(byId("age"), problem ? `no response for ${duration(now() - lostAt)}` : reported);
  const box = byId("notice");
  box.hidden = !notice;
  text(box, notice);
  attribute(box, "data-tone", tone);
  attribute(byId("main"), "data-old", String(old));
}

// The title begins with what is wrong, to be seen in a row of tabs.
function showTitle(word) {
  const { machine, source } = snapshot;
  const name = [machine.instance_type, machine.instance_name || machine.instance_id || machine.node_name];
  const parts = [word === "Live" ? "" : word, source.is_simulated ? "Simulated" : ""].filter(Boolean);
  document.title = [...parts, name.filter(Boolean).join(" ") || "Neuron Exporter"].join(": ");
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    await update();
    [problem, refusal, lostAt] = ["", "", null];
  } catch (error) {
    refusal = error.refusal ?? "";
    problem = refusal ? "" : error.name === "TimeoutError" ? "timeout" : error instanceof TypeError ? "connection failed" : error.message;
    lostAt ??= now();
  }
  showState();
  clearTimeout(timer);
  timer = setTimeout(refresh, INTERVAL);
}

document.addEventListener("visibilitychange", refresh);
refresh();
