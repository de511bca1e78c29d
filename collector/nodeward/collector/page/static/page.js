// The one script of ours. All it adds is convenience: without it every view still says the same.
"use strict";

// "unknown" is many times the rest on a young fleet: shown when its name below the chart is pressed.
const LINES = ["critical", "high", "medium", "low", "unknown"];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

async function draw(place) {
  const answer = await fetch(place.dataset.trend, { credentials: "same-origin" }).catch(() => undefined);
  if (!answer?.ok) return; // or the page was left meanwhile
  const days = (await answer.json()).trend;
  const data = [days.map((d) => Date.parse(d.day) / 1000), ...LINES.map((n) => days.map((d) => d[n]))];
  const axis = { stroke: colour("ink"), grid: { stroke: colour("line"), width: 1 } };
  new uPlot(
    {
      width: place.clientWidth,
      height: 220,
      tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "UTC"),
      axes: [axis, { ...axis, size: 60 }],
      series: [
        { label: "day", value: "{YYYY}-{MM}-{DD}" },
        ...LINES.map((n) => ({ label: n === "unknown" ? "could not judge" : n, stroke: colour(n), width: 2, dash: n === "unknown" ? [4, 4] : undefined, show: n !== "unknown" })),
      ],
    },
    data,
    place,
  );
}

// A link to a finding opens it, and whatever it lies in.
function reveal() {
  const id = decodeURIComponent(location.hash.slice(1));
  for (let at = id && document.getElementById(id); at; at = at.parentElement) {
    if (at instanceof HTMLDetailsElement) at.open = true;
  }
  if (id) document.getElementById(id)?.scrollIntoView();
}

// Commands are there to be run elsewhere, whole or not at all.
function copies(pre) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.innerText);
    button.textContent = "Copied";
  });
  const frame = document.createElement("div");
  frame.className = "commands";
  pre.replaceWith(frame);
  frame.append(button, pre);
}

// Escape ends the search; what was typed is gone with what it found.
function ended(event) {
  const search = event.key === "Escape" && event.target.closest?.(".search");
  if (!search) return;
  const box = search.querySelector("input");
  search.querySelector("#found").replaceChildren();
  box.value = "";
  box.focus();
}

window.addEventListener("hashchange", reveal);
window.addEventListener("keydown", ended);
document.addEventListener("DOMContentLoaded", () => {
  reveal();
  if (navigator.clipboard) document.querySelectorAll("pre:not([data-altered])").forEach(copies);
  for (const place of document.querySelectorAll("[data-trend]")) draw(place);
});
