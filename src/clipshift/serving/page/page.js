// The page of the server: a clip goes to the same interface that programs use, and its answer is shown.
const MOST_CLASSES = 10;
const element = (name) => document.getElementById(name);
let models = [];
let running = null;

/** Asks the server; throws what it says if it refuses. */
async function ask(address, options = {}) {
  const token = element("token").value.trim();
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(address, { ...options, headers: { ...headers, ...options.headers } });
  if (response.status === 401) element("token-row").hidden = false;
  const value = await response.json();
  if (!response.ok) {
    const after = response.headers.get("retry-after");
    throw new Error(value.error + (after ? ` Try again in ${after} s.` : ""));
  }
  return { value, timing: response.headers.get("server-timing") ?? "" };
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

function describeModel() {
  const model = models.find(({ name }) => name === element("model").value);
  element("about").textContent = model ? `${model.classes.length} classes, ${model.frames} frames, ${model.engine}` : "";
}

async function classify(file) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const began = performance.now();
  element("answer").hidden = true;
  say(`${file.name}: on its way ...`);
  const query = new URLSearchParams({ name: file.name, frames: 1 });
  const address = `v1/models/${encodeURIComponent(element("model").value)}/predict?${query}`;
  try {
    const headers = { "content-type": "application/octet-stream" };
    const { value, timing } = await ask(address, { method: "POST", body: file, headers, signal });
    show(value, timing, performance.now() - began);
    say("");
  } catch (error) {
    if (signal.aborted) return;
    say(`${file.name}: ${error.message}`, true);
  }
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
element("open").addEventListener("click", listModels);
element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  listModels();
});
await listModels();
document.body.dataset.ready = "yes";
