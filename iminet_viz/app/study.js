// Keys of the listen test: A and B answer, S skips; 1, 2 and 0 play. Runs once, with the stage as `element`.
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !element.offsetParent) return;
  const at = event.target;
  if (at.isContentEditable || at.tagName === "TEXTAREA" || at.tagName === "SELECT" || (at.tagName === "INPUT" && at.type !== "range" && at.type !== "radio")) return;
  const key = event.key.toLowerCase();
  const answer = { a: "iv-study-a", b: "iv-study-b", s: "iv-study-skip" }[key];
  if (answer) {
    const button = document.getElementById(answer);
    if (button && !button.disabled) { event.preventDefault(); button.click(); }
    return;
  }
  const play = element.querySelector(`[data-key="${CSS.escape(key)}"] [data-iv="play"]`);
  if (play) { event.preventDefault(); play.click(); }
});
