// What the page does by itself: theme, sounds with a playhead, copying links. Links between tabs: address.js.
(() => {
  "use strict";
  const KEY = "iminet-viz-theme"; // the same as of the static pages
  const dark = () => document.body.classList.contains("dark");
  const say = (text) => { const line = document.getElementById("iv-said"); if (line) line.textContent = text; };

  // gradio follows the system, or ?__theme= from its settings; what our button chose comes before the system
  let chosen = null;
  try { if (!/[?&]__theme=/.test(location.search)) chosen = localStorage.getItem(KEY); } catch (error) { /* no storage */ }
  const keep = () => { if ((chosen === "dark" || chosen === "light") && dark() !== (chosen === "dark")) document.body.classList.toggle("dark"); };
  const begin = () => {
    keep();
    new MutationObserver(keep).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  };
  if (document.body) begin(); else document.addEventListener("DOMContentLoaded", begin);

  document.addEventListener("click", (event) => {
    // on a phone what happens is below the button
    if (event.target.closest("#iv-make") && innerWidth < 760) document.getElementById("iv-status")?.scrollIntoView({ block: "start" });
    const button = event.target.closest("[data-iv]");
    if (!button) return;
    const wish = button.dataset.iv;
    if (wish === "theme") {
      chosen = dark() ? "light" : "dark";
      keep();
      try { localStorage.setItem(KEY, chosen); } catch (error) { /* not remembered */ }
      say(dark() ? "dark theme" : "light theme");
    } else if (wish === "copy") {
      copy(button);
    } else if (wish === "play") {
      toggle(button.closest(".iv-player").querySelector("audio"));
    }
  });

  async function copy(button) {
    const text = new URL(button.dataset.link, location.href).href;
    const label = button.dataset.label || (button.dataset.label = button.textContent);
    let copied = false;
    try { await navigator.clipboard.writeText(text); copied = true; } catch (error) {
      const area = document.createElement("textarea");
      area.value = text; area.className = "iv-sr";
      document.body.append(area); area.select();
      try { copied = document.execCommand("copy"); } catch (failure) { /* told below */ }
      area.remove(); button.focus();
    }
    button.textContent = copied ? "Link copied" : "Copy it from the address bar";
    say(button.textContent);
    setTimeout(() => { button.textContent = label; }, 2000);
  }

  // ---- sounds: one plays at a time; its playhead moves over every picture of its figure that shows its side
  let playing = null, frame = 0;
  const clock = (seconds) => `${(Math.max(seconds, 0) || 0).toFixed(1)} s`;
  function toggle(audio) {
    if (audio.paused) { if (audio.ended || audio.currentTime >= audio.duration) audio.currentTime = 0; audio.play().catch(() => broken(audio)); } else audio.pause();
  }
  function broken(audio) {
    const player = audio.closest(".iv-player");
    if (player) { player.classList.add("broken"); player.querySelector(".iv-time").textContent = "cannot be played"; }
  }
  const heads = (audio) => {
    const figure = audio.closest(".iv-figure");
    return figure ? [...figure.querySelectorAll(".iv-head")].filter((head) => head.dataset.side === audio.dataset.side) : [];
  };
  function draw(audio) {
    const total = Number(audio.dataset.seconds) || audio.duration || 0;
    const share = total ? Math.min(audio.currentTime / total, 1) : 0;
    const player = audio.closest(".iv-player");
    player.querySelector(".iv-time").textContent = `${clock(audio.currentTime)} of ${clock(total)}`;
    const seek = player.querySelector("input[type=range]");
    if (seek && document.activeElement !== seek || !audio.paused) seek.value = String(Math.round(share * 1000));
    for (const head of heads(audio)) {
      head.hidden = audio.paused && audio.currentTime === 0;
      const { left, width } = head.dataset;
      head.style.left = `${100 * (Number(left) + share * Number(width))}%`;
      const box = head.closest(".iv-wide"), at = head.offsetLeft - (box?.scrollLeft || 0);
      if (box && !audio.paused && (at < 0 || at > box.clientWidth)) box.scrollLeft = head.offsetLeft - 40; // on a phone
    }
  }
  function follow() {
    if (!playing || playing.paused || !playing.isConnected) { frame = 0; return; }
    draw(playing);
    frame = requestAnimationFrame(follow);
  }
  const ours = (event) => event.target instanceof HTMLAudioElement && event.target.closest(".iv-player");
  document.addEventListener("play", (event) => {
    for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
    if (playing && playing !== event.target && !playing.isConnected) playing.pause(); // its figure is gone
    if (!ours(event)) return;
    for (const head of event.target.closest(".iv-figure")?.querySelectorAll(".iv-head") || []) head.hidden = true;
    playing = event.target;
    playing.closest(".iv-player").classList.add("playing");
    if (!frame) frame = requestAnimationFrame(follow);
  }, true);
  for (const name of ["pause", "ended"]) document.addEventListener(name, (event) => {
    if (!ours(event)) return;
    event.target.closest(".iv-player").classList.remove("playing");
    draw(event.target);
  }, true);
  for (const name of ["timeupdate", "loadedmetadata", "seeked"]) document.addEventListener(name, (event) => { if (ours(event) && event.target.paused !== undefined) draw(event.target); }, true);
  document.addEventListener("error", (event) => { if (ours(event)) broken(event.target); }, true);
  document.addEventListener("input", (event) => {
    const player = event.target.type === "range" && event.target.closest(".iv-player");
    if (!player) return;
    const audio = player.querySelector("audio");
    const total = Number(audio.dataset.seconds) || audio.duration || 0;
    audio.currentTime = total * Number(event.target.value) / 1000;
    draw(audio);
  });
  // ---- the card of what is shown
  function bring(card) { // within its list; the page stays where it is
    for (let box = card.parentElement; box && box !== document.body; box = box.parentElement) {
      const style = getComputedStyle(box);
      if (!/auto|scroll/.test(style.overflowX + style.overflowY)) continue;
      const own = card.getBoundingClientRect(), frame = box.getBoundingClientRect();
      if (own.left < frame.left || own.right > frame.right) box.scrollLeft += own.left - frame.left - 8;
      if (own.top < frame.top || own.bottom > frame.bottom) box.scrollTop += own.top - frame.top - frame.height / 3;
      return;
    }
  }
  let due = false;
  function mark() {
    due = false;
    for (const link of document.querySelectorAll("a.download-link:not([aria-label])")) { // gradio's: a button in a link without a name
      link.setAttribute("aria-label", `Download: ${link.closest(".block")?.querySelector("label")?.textContent.trim() || "sound"}`);
      for (const button of link.querySelectorAll("button")) button.tabIndex = -1;
    }
    for (const card of document.querySelectorAll(".iv-card")) {
      const shown = card.getAttribute("href") === location.search;
      if (shown !== (card.getAttribute("aria-current") === "true")) {
        card.setAttribute("aria-current", String(shown));
        if (shown) bring(card);
      }
    }
  }
  // a figure that is replaced while it plays falls silent
  new MutationObserver(() => {
    if (playing && !playing.paused && !playing.isConnected) playing.pause();
    if (!due) { due = true; requestAnimationFrame(mark); }
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
