// The tab "Search": records or takes a sound, draws outlines, plays hits. Runs once; `element` is the recorder.
"use strict";
const LIMIT_S = 60;
const find = (what, root = element) => root.querySelector(what);
const state = find(".iv-rec-state"), button = find(".iv-rec"), label = find(".iv-rec-label"), chooser = find("input[type=file]");
const level = find(".iv-level i"), audio = find(".iv-hit-audio");
const idle = state.textContent = matchMedia("(hover: none)").matches ? "The whole sound is searched with, without its silence." : state.textContent;
const box = (id) => document.getElementById(id);
const shown = () => element.offsetParent !== null; // the tab is the one that is open
const tell = (text, bad) => { state.textContent = text; state.classList.toggle("iv-bad", Boolean(bad)); };
let waiting = null;

// ---- a sound goes to the server, whole: what is silence is found there
function wait(text) {
  audio.pause();
  const mine = waiting = {};
  tell(text);
  for (const id of ["iv-query", "iv-hits"]) box(id)?.classList.add("iv-waits");
  setTimeout(() => { if (waiting === mine) arrived("It takes long; the app may be busy."); }, 60000);
  return mine;
}
async function send(file) {
  const mine = wait("Sending it …");
  try {
    const { path } = await upload(file);
    if (!path) throw new Error("no path");
    if (waiting !== mine) return;
    tell("Searching …");
    trigger("heard", { path, name: file.name });
  } catch (error) {
    if (waiting === mine) arrived("It could not be sent: the file is too large, or the app has stopped.", true);
  }
}
function arrived(text, bad) {
  waiting = null;
  tell(text || idle, bad);
  for (const id of ["iv-query", "iv-hits"]) box(id)?.classList.remove("iv-waits");
}
find(".iv-imitate").addEventListener("click", () => { wait("A voice imitates …"); trigger("imitated", {}); });
chooser.addEventListener("change", () => { if (chooser.files.length) send(chooser.files[0]); chooser.value = ""; });
document.addEventListener("dragover", (event) => {
  if (!shown() || ![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  element.classList.add("iv-over");
});
for (const name of ["dragleave", "drop", "dragend"]) document.addEventListener(name, (event) => {
  if (name !== "dragleave" || !event.relatedTarget) element.classList.remove("iv-over");
});
document.addEventListener("drop", (event) => {
  if (!shown() || !event.dataTransfer.files.length) return;
  event.preventDefault();
  send(event.dataTransfer.files[0]);
});

// ---- the microphone, as it is: what makes speech clear for others spoils hums and hisses
const TAP = 'registerProcessor("iv-tap", class extends AudioWorkletProcessor { process(inputs) { if (inputs[0][0]) this.port.postMessage(inputs[0][0].slice(0)); return true; } })';
let recording = null;
button.addEventListener("click", () => { if (recording) finish(); else record(); });
async function record() {
  if (!navigator.mediaDevices || !window.AudioWorkletNode) {
    tell("This browser gives the microphone only to pages of this machine or over https: drop a file instead.", true);
    return;
  }
  audio.pause();
  button.disabled = true;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  } catch (error) {
    tell(error.name === "NotFoundError" ? "There is no microphone: drop a file instead." : "The browser does not give the microphone: allow it beside the address, or drop a file.", true);
    button.disabled = false;
    return;
  }
  const context = new AudioContext();
  const url = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
  try {
    await context.audioWorklet.addModule(url);
  } finally { URL.revokeObjectURL(url); }
  const tap = new AudioWorkletNode(context, "iv-tap", { numberOfOutputs: 0 });
  recording = { stream, context, blocks: [], samples: 0 };
  const own = recording;
  tap.port.onmessage = ({ data }) => {
    if (recording !== own) return;
    own.blocks.push(data);
    own.samples += data.length;
    let peak = 0;
    for (const sample of data) peak = Math.max(peak, Math.abs(sample));
    own.level = Math.max(peak, (own.level || 0) * 0.92);
    level.style.transform = `scaleX(${Math.max(0, Math.min(1, 1 + Math.log10(Math.max(own.level, 1e-3)) / 2.5))})`;
    level.classList.toggle("iv-hot", peak > 0.98);
    const seconds = own.samples / context.sampleRate;
    if (Math.floor(10 * seconds) !== own.told) {
      own.told = Math.floor(10 * seconds);
      label.textContent = `Stop  ${seconds.toFixed(1)} s`;
    }
    if (seconds >= LIMIT_S) finish();
  };
  context.createMediaStreamSource(stream).connect(tap);
  button.disabled = false;
  button.classList.add("iv-on");
  button.setAttribute("aria-pressed", "true");
  tell("Recording. Press again to search.");
}
function finish() {
  const { stream, context, blocks, samples } = recording;
  recording = null;
  stream.getTracks().forEach((track) => track.stop());
  const rate = context.sampleRate;
  context.close();
  level.style.transform = "";
  level.classList.remove("iv-hot");
  button.classList.remove("iv-on");
  button.setAttribute("aria-pressed", "false");
  label.textContent = "Record";
  if (!samples) { tell("Nothing came from the microphone.", true); return; }
  send(new File([wav(blocks, samples, rate)], "recording.wav", { type: "audio/wav" }));
}
function wav(blocks, samples, rate) { // 16 bit, mono, at the rate of the microphone
  const view = new DataView(new ArrayBuffer(44 + 2 * samples));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * samples, true);
  let at = 44;
  for (const block of blocks) for (const sample of block) { view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true); at += 2; }
  return view.buffer;
}

// ---- hits: one player for all of them
const rows = () => [...document.querySelectorAll("#iv-hits .iv-hit")];
let current = null, source = "", frame = 0;
const key = (row) => row.dataset.key + row.dataset.start;
function play(row, at) {
  const start = at === undefined ? Number(row.dataset.start) : at;
  for (const other of rows()) {
    other.classList.toggle("iv-current", other === row);
    other.tabIndex = other === row ? 0 : -1;
    if (other !== row) { other.classList.remove("playing"); find(".iv-hit-head", other).hidden = true; }
  }
  current = row;
  if (source !== row.dataset.src) { source = row.dataset.src; audio.src = source; audio.load(); }
  const go = () => { if (Math.abs(audio.currentTime - start) > 0.01) audio.currentTime = start; audio.play().catch(() => {}); };
  if (audio.readyState >= 1) go();
  else audio.addEventListener("loadedmetadata", () => { if (current === row) go(); }, { once: true });
}
function follow() {
  if (!current || !current.isConnected) { frame = 0; return; }
  const head = find(".iv-hit-head", current);
  head.hidden = false;
  head.style.left = `${100 * Math.min(audio.currentTime / Number(current.dataset.seconds), 1)}%`;
  frame = audio.paused ? 0 : requestAnimationFrame(follow);
}
audio.addEventListener("play", () => { current?.classList.add("playing"); if (!frame) frame = requestAnimationFrame(follow); });
for (const name of ["pause", "ended"]) audio.addEventListener(name, () => current?.classList.remove("playing"));
audio.addEventListener("error", () => {
  if (!current || !source) return;
  const where = find(".iv-where", current);
  if (where) where.textContent = "cannot be played: the file is gone or damaged";
  current.classList.remove("playing");
});
document.addEventListener("click", (event) => {
  const row = event.target.closest("#iv-hits .iv-hit");
  if (event.target.closest(".iv-more")) { event.target.closest(".iv-more").disabled = true; trigger("more", {}); return; }
  if (event.target.closest(".iv-let-hear")) { letHear(event.target.closest(".iv-let-hear")); return; }
  if (event.target.closest(".iv-to-grow")) {
    const grow = box("iv-grow"), folder = () => find("input, textarea", box("iv-folder") || grow);
    if (!folder() || folder().offsetParent === null) find("button", grow).click();
    setTimeout(() => { grow.scrollIntoView({ block: "center" }); folder()?.focus(); }, 150);
    return;
  }
  if (!row) return;
  const wave = event.target.closest(".iv-wavebox");
  if (event.target.closest(".iv-play")) { if (row === current && !audio.paused) audio.pause(); else play(row); }
  else if (wave) {
    const frame = wave.getBoundingClientRect();
    play(row, Math.max(0, (event.clientX - frame.left) / frame.width * Number(row.dataset.seconds)));
  } else if (event.target.closest(".iv-copy")) copy(event.target.closest(".iv-copy"));
});
let hearing = 0;
function letHear(button) { // and search once that has ended
  const job = () => find("#iv-work [data-job]", document)?.dataset, over = job()?.running === "true" ? "" : job()?.job;
  button.disabled = true;
  trigger("let_hear", {});
  clearInterval(hearing);
  hearing = setInterval(() => { // its own, or what another page began
    const now = job();
    if (!now || now.running === "true" || now.job === over) return;
    clearInterval(hearing);
    trigger("has_heard", {});
  }, 300);
}
async function copy(button) {
  let copied = false;
  try { await navigator.clipboard.writeText(button.dataset.path); copied = true; } catch (error) { /* told below */ }
  if (!copied) {
    const area = document.createElement("textarea");
    area.value = button.dataset.path; area.className = "iv-sr";
    document.body.append(area); area.select();
    try { copied = document.execCommand("copy"); } catch (failure) { /* told below */ }
    area.remove(); button.focus();
  }
  const said = document.getElementById("iv-said");
  if (said) said.textContent = copied ? "Path copied" : "The path could not be copied";
  button.classList.add(copied ? "iv-done" : "iv-failed");
  setTimeout(() => button.classList.remove("iv-done", "iv-failed"), 1500);
}
document.addEventListener("keydown", (event) => {
  if (!shown() || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const on = event.target.closest ? event.target : document.body;
  if (on.closest("input, textarea, select, [contenteditable=true], [role=listbox], [role=slider], dialog")) return;
  if (event.key === " ") {
    if (!audio.paused) { event.preventDefault(); audio.pause(); }
    else if (on.closest(".iv-hit") && !on.closest("button, a")) { event.preventDefault(); play(on.closest(".iv-hit")); }
    return;
  }
  const all = rows();
  if (!all.length || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
  const at = all.indexOf(current), next = event.key === "ArrowDown" ? all[Math.min(at + 1, all.length - 1)] : all[Math.max(at - 1, 0)];
  event.preventDefault();
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  play(next);
});

// ---- outlines, a few at a time, each file once
const outlines = new Map();
const queue = [];
let busy = 0;
function work() {
  while (busy < 3 && queue.length) {
    const job = queue.shift();
    busy += 1;
    job().catch(() => {}).finally(() => { busy -= 1; work(); });
  }
}
function outline(url) {
  if (!outlines.has(url)) {
    if (outlines.size > 500) outlines.delete(outlines.keys().next().value);
    outlines.set(url, new Promise((resolve) => {
      queue.push(async () => {
        const answer = await fetch(url).catch(() => null);
        resolve(answer && answer.ok ? await answer.json() : []);
      });
    }));
    work();
  }
  return outlines.get(url);
}
async function draw(row) {
  const url = row.dataset.outline, picture = find(".iv-outline", row);
  const peaks = await outline(url);
  if (row.dataset.outline !== url || !peaks.length || picture.dataset.of === url && picture.firstChild) return;
  const wide = 300 / peaks.length;
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", peaks.map((peak, i) => { const half = Math.max(peak, 2) * 0.48; return `M${((i + 0.1) * wide).toFixed(2)} ${(50 - half).toFixed(1)}h${(0.8 * wide).toFixed(2)}v${(2 * half).toFixed(1)}h${(-0.8 * wide).toFixed(2)}z`; }).join(""));
  picture.replaceChildren(path);
  picture.dataset.of = url;
}
let search = "";
function renewed() {
  const answer = document.querySelector("#iv-hits .iv-answer");
  for (const row of rows()) draw(row);
  if (current) { // gradio goes on to use the elements of the old hits
    const same = rows().find((row) => source === row.dataset.src);
    if (!same || !audio.src) { audio.pause(); current = null; } else if (!audio.paused) { current = same; same.classList.add("playing", "iv-current"); }
  }
  const wanted = answer && new URLSearchParams({ tab: "search", query: answer.dataset.token, ...(answer.dataset.model && { model: answer.dataset.model }) });
  if (answer && wanted.toString() !== search) {
    search = wanted.toString();
    audio.pause();
    current = null;
    for (const row of rows()) { row.classList.remove("playing", "iv-current"); find(".iv-hit-head", row).hidden = true; }
  }
  if (answer && shown()) { // the address opens this list again
    if (answer.dataset.text) wanted.set("text", answer.dataset.text);
    if (location.search !== `?${wanted}`) history.replaceState(null, "", `?${wanted}`);
  }
}
let due = false;
function observe() {
  const pictures = box("iv-query"), list = box("iv-hits");
  if (!pictures || !list) { setTimeout(observe, 100); return; }
  new MutationObserver((changes) => {
    const within = (place) => changes.some(({ target }) => place.contains(target) && !(target.closest && target.closest(".iv-outline, .iv-hit-head")));
    if (!within(list) && !within(pictures)) return;
    if (waiting && (within(list) || find("[role=alert]", pictures))) arrived();
    if (!due) { due = true; requestAnimationFrame(() => { due = false; renewed(); }); }
  }).observe(pictures.parentElement.parentElement, { childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: ["data-token", "data-outline"] });
  renewed();
}
observe();
