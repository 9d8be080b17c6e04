"use strict";
// Sorts and filters the table of verdicts and keeps that in the address, so that a view can be linked.
// Without it the page is whole: the table just stands as it was written.
(() => {
  const table = document.querySelector("table.verdicts");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const query = document.getElementById("query");
  const chips = [...document.querySelectorAll(".chip")];
  const shown = document.getElementById("shown");
  const clear = document.getElementById("clear");
  const empty = document.querySelector(".empty");
  const text = new Map(rows.map((row) => [row, row.textContent.toLowerCase().replace(/\s+/g, " ")]));
  const names = heads.map((head) => head.textContent);
  const compare = new Intl.Collator("en", { numeric: true }).compare;

  let sort = null; // {column, descending}

  function value(row, column, kind) {
    const cell = row.cells[column];
    if (kind === "text") return cell.textContent.trim();
    return cell.dataset.v === "" ? null : Number(cell.dataset.v);
  }

  function sorted() {
    if (sort === null) return rows;
    const kind = heads[sort.column].dataset.kind;
    const sign = sort.descending ? -1 : 1;
    return [...rows].sort((one, other) => {
      const a = value(one, sort.column, kind);
      const b = value(other, sort.column, kind);
      // What has no value stands last in either direction.
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (kind === "text" ? compare(a, b) : a - b);
    });
  }

  function pressed(filter) {
    return chips
      .filter((chip) => chip.dataset.filter === filter && chip.getAttribute("aria-pressed") === "true")
      .map((chip) => chip.dataset.value);
  }

  function draw() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const data = pressed("data");
    const verdicts = pressed("verdict");
    let count = 0;
    for (const row of rows) {
      const fits =
        words.every((word) => text.get(row).includes(word)) &&
        (!data.length || data.includes(row.dataset.data)) &&
        (!verdicts.length || verdicts.includes(row.dataset.verdict));
      row.hidden = !fits;
      count += fits;
    }
    body.append(...sorted());
    heads.forEach((head, column) => {
      if (sort !== null && sort.column === column)
        head.setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    shown.textContent = `${count} of ${rows.length} rows`;
    clear.hidden = count === rows.length && !words.length && !data.length && !verdicts.length && sort === null;
    empty.hidden = count > 0;
  }

  function address() {
    const state = new URLSearchParams();
    if (query.value.trim()) state.set("q", query.value.trim());
    for (const name of pressed("data")) state.append("data", name);
    for (const word of pressed("verdict")) state.append("verdict", word);
    if (sort !== null) state.set("sort", (sort.descending ? "-" : "") + names[sort.column]);
    return state.size ? `#?${state}` : "";
  }

  function changed() {
    draw();
    try {
      history.replaceState(null, "", address() || location.href.split("#")[0]);
    } catch {
      // A page inside another one may not be allowed an address of its own; the table works all the same.
    }
  }

  function restore() {
    if (!location.hash.startsWith("#?")) return;
    const state = new URLSearchParams(location.hash.slice(2));
    query.value = state.get("q") ?? "";
    for (const chip of chips) {
      const chosen = state.getAll(chip.dataset.filter).includes(chip.dataset.value);
      chip.setAttribute("aria-pressed", String(chosen));
    }
    const wanted = state.get("sort") ?? "";
    const descending = wanted.startsWith("-");
    const column = names.indexOf(descending ? wanted.slice(1) : wanted);
    sort = column < 0 ? null : { column, descending };
    draw();
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    // Of numbers one looks for the greatest first.
    const first = head.dataset.kind === "number";
    button.addEventListener("click", () => {
      if (sort === null || sort.column !== column) sort = { column, descending: first };
      else if (sort.descending === first) sort = { column, descending: !first };
      else sort = null;
      changed();
    });
  });
  for (const chip of chips)
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      changed();
    });
  query.addEventListener("input", changed);
  clear.addEventListener("click", () => {
    query.value = "";
    for (const chip of chips) chip.setAttribute("aria-pressed", "false");
    sort = null;
    changed();
    query.focus();
  });
  window.addEventListener("hashchange", restore);
  document.querySelector(".controls").hidden = false;
  restore();
  draw();

  // A link to a run opens what the run stands in; not every browser does that by itself.
  function reveal() {
    const target = /^#[\w-]+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target.matches(".run, .row-body")) {
      target.scrollIntoView();
      target.focus({ preventScroll: true });
    }
  }
  window.addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    // The same address again is no change of it, but a reader who closed the part wants it back.
    if (link && link.getAttribute("href") === location.hash) reveal();
  });
  reveal();

  // On paper nothing opens any more.
  const opened = new Set();
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details.row-runs:not([open]), #left-out details:not([open])")) {
      part.open = true;
      opened.add(part);
    }
  });
  window.addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
    opened.clear();
  });
})();
