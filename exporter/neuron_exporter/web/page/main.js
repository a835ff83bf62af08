// Asks for the snapshot once a second and shows it. Nothing is asked while nobody looks.

import { attribute, byId, pill, text } from "./dom.js";
import { duration } from "./format.js";
import { showCores } from "./cores.js";
import { showConfiguration, showErrors, showFigures, showLinks, showLog, showMachine, showMemory, showSinks, showSource } from "./panels.js";
import { showRuntimes } from "./runtimes.js";
import { judge } from "./state.js";

const EVERY = 1000;
const PATIENCE = 5000;
const address = new URL("api/v1/snapshot", document.baseURI);
address.username = address.password = ""; // fetch refuses them; the browser sends its own

let snapshot = null;
let tag = "";
let read = 0; // when the snapshot was read, by the page's own clock
let problem = "";
let lostAt = null;
let timer = 0;

const now = () => performance.now() / 1000;
const age = () => (snapshot?.age_seconds == null ? null : snapshot.age_seconds + now() - read);

// Seconds since a moment of the exporter's clock, whatever this machine's clock says.
const since = (unix) => snapshot.at + now() - read - unix;

async function ask() {
  const headers = tag ? { "If-None-Match": tag } : {};
  const answer = await fetch(address, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(`it answers with status ${answer.status}`);
  const told = await answer.json();
  tag = answer.headers.get("ETag") ?? "";
  [snapshot, read] = [told, now()];
  show();
}

function show() {
  const { machine, exporter, reading } = snapshot;
  text(byId("version"), exporter.version);
  const name = machine.instance_name || machine.instance_id || machine.node_name;
  text(byId("machine"), machine.instance_type || name || "This machine");
  const where = [machine.instance_type ? name : "", machine.cluster, machine.availability_zone || machine.region];
  text(byId("where"), where.filter(Boolean).join(" · "));
  document.title = [machine.instance_type, name].filter(Boolean).join(" ") || "Neuron Exporter";
  for (const part of [showFigures, showCores, showRuntimes, showMemory, showErrors, showSinks, showSource, showMachine, showConfiguration, showLog, showLinks]) {
    part(snapshot, since);
  }
  attribute(byId("main"), "data-reading", String(Boolean(reading.cores?.length)));
}

function showState() {
  const { word, tone, notice, old } = judge(snapshot, age(), problem);
  pill(byId("state"), tone, word);
  const seconds = age();
  const reported = seconds === null ? "" : `last report ${duration(seconds)} ago`;
  text(byId("age"), problem ? `no answer for ${duration(now() - lostAt)}` : reported);
  const box = byId("notice");
  box.hidden = !notice;
  text(box, notice);
  attribute(box, "data-tone", tone);
  attribute(byId("main"), "data-old", String(old));
}

async function turn() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    await ask();
    [problem, lostAt] = ["", null];
  } catch (error) {
    problem = error.name === "TimeoutError" ? "it takes too long" : error instanceof TypeError ? "it cannot be reached" : error.message;
    lostAt ??= now();
  }
  showState();
  clearTimeout(timer);
  timer = setTimeout(turn, EVERY);
}

document.addEventListener("visibilitychange", turn);
turn();
