// Keeps the parts of a page up to date: an element with data-live names the stream that its parts come from.
"use strict";

function put(id, html) {
  const place = document.getElementById(id);
  if (!place || place.dataset.html === html) return;
  const open = [...place.querySelectorAll("details[open]")].map((one) => one.id);
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  const chosen = [...place.querySelectorAll("input:checked")].map((one) => one.id);
  const scrolled = [...place.querySelectorAll(".wide")].map((one) => one.scrollLeft);
  place.innerHTML = html;
  place.dataset.html = html;
  for (const id of open) if (id) document.getElementById(id)?.setAttribute("open", "");
  for (const id of chosen) if (id) document.getElementById(id)?.setAttribute("checked", "");
  [...place.querySelectorAll(".wide")].forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function listen(page) {
  const state = document.getElementById("live-state");
  const source = new EventSource(page.dataset.live);
  source.onopen = () => { if (state) state.textContent = "live"; };
  source.onerror = () => { if (state) state.textContent = "connecting again"; };
  source.addEventListener("parts", (event) => {
    const parts = JSON.parse(event.data);
    for (const [id, html] of Object.entries(parts)) if (id !== "over") put(id, html);
    if ("over" in parts) {
      source.close();
      setTimeout(() => location.reload(), leaving ? 3000 : 0);
    }
  });
  // To load a page anew ends the way to another one that somebody has just chosen; after a download it is still here.
  let leaving = false;
  addEventListener("beforeunload", () => { leaving = true; });
  addEventListener("pagehide", () => source.close());
}

document.querySelectorAll("[data-live]").forEach(listen);

// A file may be dropped on the field that chooses it; without this script it is chosen.
document.querySelectorAll("[data-drop]").forEach((area) => {
  const field = area.querySelector("input[type=file]");
  area.addEventListener("dragover", (event) => { event.preventDefault(); area.classList.add("over"); });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    field.files = event.dataTransfer.files;
  });
});
