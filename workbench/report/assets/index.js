"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme-toggle").addEventListener("click", () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
    root.dataset.theme = isDark ? "light" : "dark";
  });

  const body = document.querySelector("#studies tbody");
  const heads = [...document.querySelectorAll("#studies thead th")];
  const rows = [...body.rows];
  const charts = new Map([...document.querySelectorAll("[data-study]")].map((chart) => [chart.dataset.study, chart]));
  const compareText = new Intl.Collator("en", { numeric: true }).compare;

  // What has no value comes last, whichever way the others are sorted; equal ones keep the order of the file.
  function sort(column, numeric, direction) {
    const keyed = rows.map((row) => [row.cells[column].dataset.value, row]);
    keyed.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return direction * (numeric ? Number(a) - Number(b) : compareText(a, b));
    });
    for (const [, row] of keyed) {
      body.append(row);
      const chart = charts.get(row.id);
      chart.parentNode.append(chart);
    }
  }

  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    const numeric = head.classList.contains("number");
    const first = numeric ? "descending" : "ascending";
    button.addEventListener("click", () => {
      const again = head.getAttribute("aria-sort") === first;
      const order = again ? (numeric ? "ascending" : "descending") : first;
      heads.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", order);
      sort(column, numeric, order === "ascending" ? 1 : -1);
    });
  });
})();
