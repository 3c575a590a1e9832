"use strict";
// Shows changes as the server sends them, and sounds while somebody waits for an answer. The pages work without it, but do not change.

const view = document.body.dataset.view;
const title = document.title;
const banner = document.getElementById("link");
const sound = document.getElementById("sound");
const SILENT_MS = 15000; // the server gives a sign of life every ten seconds
let heard = Date.now();
let audio = null;

function openCalls() {
  return [...document.querySelectorAll("[data-open]")].map((one) => one.dataset.open);
}

function showTitle() {
  const waiting = openCalls().length;
  document.title = waiting ? `(${waiting}) ${document.querySelector("[data-open] .what").textContent}` : title;
}

function replace(name, version, html) {
  const part = document.getElementById(`live-${name}`);
  if (!part || part.dataset.version === version) return;
  const focused = document.activeElement && part.contains(document.activeElement) ? document.activeElement : null;
  const mark = focused && (focused.id ? `#${CSS.escape(focused.id)}` : `[href="${CSS.escape(focused.getAttribute("href") || "")}"]`);
  part.innerHTML = html; // rendered and escaped by the server, like the page itself
  part.dataset.version = version;
  if (mark) part.querySelector(mark)?.focus();
  if (name === "calls") { showTitle(); beep(); }
}

function told(text) {
  banner.textContent = text;
  banner.hidden = !text;
}

function beep() {
  if (!audio || !openCalls().length) return;
  for (const [at, tone] of [[0, 880], [0.25, 660], [0.5, 880]]) {
    const wave = audio.createOscillator();
    const volume = audio.createGain();
    wave.frequency.value = tone;
    volume.gain.setValueAtTime(0.3, audio.currentTime + at);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + at + 0.22);
    wave.connect(volume).connect(audio.destination);
    wave.start(audio.currentTime + at);
    wave.stop(audio.currentTime + at + 0.24);
  }
}

// A browser lets a page sound only after somebody has touched it.
function setSound(on) {
  if (on && !audio) audio = new AudioContext();
  if (!on && audio) { audio.close(); audio = null; }
  sound.setAttribute("aria-pressed", String(on));
  sound.textContent = on ? sound.dataset.on : sound.dataset.off;
  beep();
}

function listen() {
  const source = new EventSource(`/live?view=${encodeURIComponent(view)}`);
  const alive = () => { heard = Date.now(); told(""); };
  source.onopen = alive;
  source.addEventListener("alive", alive);
  source.addEventListener("trouble", () => { heard = Date.now(); told(banner.dataset.trouble); });
  for (const name of ["calls", "visits", "areas", "node"]) {
    source.addEventListener(name, (event) => { alive(); replace(name, event.lastEventId, event.data); });
  }
  source.onerror = () => {
    told(banner.dataset.lost);
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
}

sound.hidden = false;
sound.addEventListener("click", () => setSound(!audio));
setInterval(beep, 3000);
setInterval(() => { if (Date.now() - heard > SILENT_MS) told(banner.dataset.lost); }, 2000);
showTitle();
listen();
