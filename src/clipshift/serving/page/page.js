// The page of the server: a clip goes to the same interface that programs use, and its answer is shown.
const MOST_CLASSES = 10;
const element = (name) => document.getElementById(name);
let models = [];
let running = null;
let answered = null;

/** Sends a request to the server; throws what it says if it refuses. */
async function send(address, options = {}) {
  const token = element("token").value.trim();
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(address, { ...options, headers: { ...headers, ...options.headers } });
  if (response.status === 401) element("token-row").hidden = false;
  if (!response.ok) {
    const value = await response.json();
    const after = response.headers.get("retry-after");
    throw new Error(value.error + (after ? ` Try again in ${after} s.` : ""));
  }
  return response;
}

async function ask(address, options = {}) {
  const response = await send(address, options);
  return { value: await response.json(), timing: response.headers.get("server-timing") ?? "" };
}

function say(text, failed = false) {
  element("status").textContent = text;
  element("status").classList.toggle("failed", failed);
}

async function listModels() {
  try {
    models = (await ask("v1/models")).value.models;
  } catch (error) {
    say(error.message, true);
    return;
  }
  say("");
  element("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
  describeModel();
}

const chosenModel = () => models.find(({ name }) => name === element("model").value);

function describeModel() {
  const model = chosenModel();
  element("about").textContent = model ? `${model.classes.length} classes, ${model.frames} frames, ${model.engine}` : "";
}

async function classify(file) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const began = performance.now();
  element("answer").hidden = true;
  element("timeline").hidden = true;
  element("explanation").hidden = true;
  element("why-status").textContent = "";
  say(`${file.name}: on its way ...`);
  const query = new URLSearchParams({ name: file.name, frames: 1 });
  const address = `v1/models/${encodeURIComponent(element("model").value)}/predict?${query}`;
  try {
    const headers = { "content-type": "application/octet-stream" };
    const { value, timing } = await ask(address, { method: "POST", body: file, headers, signal });
    show(value, timing, performance.now() - began);
    answered = { file, signal };
    say("");
    if (chosenModel()?.causal && chosenModel().rate !== null) await follow(file, signal);
  } catch (error) {
    if (signal.aborted) return;
    say(`${file.name}: ${error.message}`, true);
  }
}

/** The server-sent events of an answer, as they come. */
async function* serverEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const blocks = (text + read.value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const lines = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
      if (lines.event) yield { kind: lines.event, value: JSON.parse(lines.data) };
    }
  }
}

/** Shows what happens when in a clip, while the server finds it. */
async function follow(file, signal) {
  const tell = (text) => { element("timeline-status").textContent = text; };
  const query = new URLSearchParams({ name: file.name });
  const address = `v1/models/${encodeURIComponent(element("model").value)}/timeline?${query}`;
  const found = new Map();
  let total = 0;
  drawLanes(found, total);
  tell("Looking ...");
  element("timeline").hidden = false;
  try {
    const headers = { "content-type": "application/octet-stream" };
    const response = await send(address, { method: "POST", body: file, headers, signal });
    for await (const { kind, value } of serverEvents(response)) {
      if (kind === "error") throw new Error(value.error);
      if (kind === "progress") {
        total = Math.max(total, value.of ?? 0, value.seconds);
        if (value.label) tell(`${clock(value.seconds)} of ${clock(total)}: ${value.label}`);
      } else if (kind === "event") {
        found.set(value.id, { label: value.label, start: value.start, end: value.end, score: value.mean });
      } else {
        const [{ duration, annotations }] = Object.values(value.database);
        total = duration;
        found.clear();
        for (const { id, label, segment, score } of annotations) {
          found.set(id, { label, start: segment[0], end: segment[1], score });
        }
        const notes = value.notes.map((note) => ` Note: ${note}.`).join("");
        tell(`${found.size} event${found.size === 1 ? "" : "s"} in ${clock(total)}.${notes}`);
      }
      drawLanes(found, total);
    }
  } catch (error) {
    if (!signal.aborted) tell(error.message);
  }
}

/** Shows which frames of the clip that was answered, and what in them, speak for the answer. */
async function explain() {
  const { file, signal } = answered;
  const tell = (text) => { element("why-status").textContent = text; };
  const query = new URLSearchParams({ name: file.name, pictures: 1 });
  const address = `v1/models/${encodeURIComponent(element("model").value)}/explain?${query}`;
  element("why").disabled = true;
  tell("Asking again without each frame and place ...");
  try {
    const headers = { "content-type": "application/octet-stream" };
    const { value } = await ask(address, { method: "POST", body: file, headers, signal });
    showExplanation(value);
    tell("");
  } catch (error) {
    if (!signal.aborted) tell(error.message);
  } finally {
    element("why").disabled = false;
  }
}

function showExplanation({ label, probability, frames, pictures, notes }) {
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const drops = frames.map((frame) => frame.logit_drop ?? 0);
  const largest = Math.max(...drops);
  const reach = Math.max(...drops.map(Math.abs)) || 1;
  const decisive = largest > 0 ? drops.indexOf(largest) : -1;
  element("explanation-name").textContent = `Why ${label}`;
  element("sentence").textContent = decisive < 0
    ? "No single frame speaks for it."
    : `${frameName(frames[decisive])} matters most: without it ${percent(frames[decisive].probability)}, not ${percent(probability)}.`;
  const items = pictures.map((picture, place) => {
    const item = frameEffect(frames[place], picture, drops[place], reach);
    item.classList.toggle("decisive", place === decisive);
    return item;
  });
  element("effects").replaceChildren(...items);
  element("notes").textContent = notes.map((note) => `Note: ${note}`).join(" ");
  element("explanation").hidden = false;
}

const frameName = ({ index, time }) => (time === null ? `Frame ${index}` : `Frame ${index} (${time.toFixed(2)} s)`);

function frameEffect(frame, { jpeg, heat_png: heat }, drop, reach) {
  const item = document.createElement("li");
  const shown = document.createElement("span");
  shown.append(make("img", { src: `data:image/jpeg;base64,${jpeg}`, alt: frameName(frame) }));
  if (heat !== null) shown.append(make("img", { src: `data:image/png;base64,${heat}`, alt: "", className: "heat" }));
  const bar = document.createElement("i");
  bar.style.width = `${(100 * Math.abs(drop)) / reach}%`;
  item.classList.toggle("against", drop < 0);
  item.append(shown, frameName(frame), make("div", { textContent: `adds ${drop.toFixed(2)}` }), bar);
  return item;
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

function drawLanes(found, total) {
  const events = [...found.values()].sort((one, other) => one.start - other.start);
  const labels = [...new Set(events.map(({ label }) => label))];
  element("lanes").replaceChildren(...labels.map((label) => lane(label, events, total)));
  const rows = events.map(({ label, start, end, score }) => [clock(start), clock(end), label, score.toFixed(2)]);
  element("events").replaceChildren(...(rows.length ? [["from", "to", "class", "score"], ...rows] : []).map(tableRow));
}

function lane(label, events, total) {
  const bars = make("span", {});
  for (const { start, end } of events.filter((event) => event.label === label)) {
    const bar = make("i", {});
    bar.style.left = `${(100 * start) / total}%`;
    bar.style.width = `${(100 * (end - start)) / total}%`;
    bars.append(bar);
  }
  const item = document.createElement("li");
  item.append(make("b", { textContent: label, title: label }), bars);
  return item;
}

function tableRow(cells, index) {
  const row = document.createElement("tr");
  row.append(...cells.map((cell) => make(index ? "td" : "th", { textContent: cell })));
  return row;
}

function show({ path, label, probabilities, frames }, timing, milliseconds) {
  element("answer-name").textContent = `${label} (${path})`;
  const ranked = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  element("classes").replaceChildren(...ranked.slice(0, MOST_CLASSES).map(classItem));
  element("frames").replaceChildren(...frames.map(frameItem));
  const parts = timing.split(", ").map((part) => part.replace(";dur=", " ")).join(" ms, ");
  element("times").textContent = `Answered in ${Math.round(milliseconds)} ms: ${parts} ms.`;
  element("answer").hidden = false;
}

function make(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function classItem([name, chance]) {
  const item = document.createElement("li");
  const text = `${(100 * chance).toFixed(1)}%`;
  item.append(make("b", { textContent: name }), make("meter", { value: chance, ariaLabel: name }));
  item.append(make("output", { value: text }));
  return item;
}

function frameItem({ index, seconds, jpeg }) {
  const item = document.createElement("li");
  const when = seconds === null ? `frame ${index}` : `frame ${index}, ${seconds.toFixed(2)} s`;
  item.append(make("img", { src: `data:image/jpeg;base64,${jpeg}`, alt: when }), when);
  return item;
}

const drop = element("drop");
const clip = element("clip");
clip.addEventListener("change", () => clip.files[0] && classify(clip.files[0]));
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files[0]) classify(event.dataTransfer.files[0]);
});
element("model").addEventListener("change", () => {
  describeModel();
  if (clip.files[0]) classify(clip.files[0]);
});
element("why").addEventListener("click", explain);
element("open").addEventListener("click", listModels);
element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  listModels();
});
await listModels();
document.body.dataset.ready = "yes";
