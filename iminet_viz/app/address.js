// Follows links between tabs (?tab=...) without loading the page anew; runs once, when the frame is there.
const tabs = __TABS__;
let expected = null; // the tab that a link leads to, until it is selected
const visit = (search) => {
  const tab = new URLSearchParams(search).get("tab");
  if (!tabs.includes(tab)) return;
  expected = tab;
  setTimeout(() => { expected = null; }, 3000);
  trigger("visit", { query: search });
  trigger(tab, { query: search }); // what the tab does with it
};
let acted = 0;
for (const name of ["pointerdown", "keydown"]) addEventListener(name, () => { acted = Date.now(); }, true);
window.ivSelected = (tab) => { // by hand, not as the page opens: the address forgets what was shown in the other tab
  if (Date.now() - acted > 2000) return;
  if (expected !== null) { if (tab === expected) expected = null; return; }
  if (new URLSearchParams(location.search).get("tab") !== tab) history.replaceState(null, "", `?tab=${tab}`);
};
const plain = (event) => event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
document.addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest('a[href^="?tab="]');
  if (!link || !plain(event) || link.target === "_blank") return;
  event.preventDefault();
  const search = link.getAttribute("href");
  if (search !== location.search) history.pushState(null, "", search);
  visit(search);
});
addEventListener("popstate", () => visit(location.search));
if (location.search) visit(location.search);
