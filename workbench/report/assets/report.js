"use strict";
(() => {
  const root = document.documentElement;
  const plots = [...document.querySelectorAll(".wb-figure")].map((figure) => ({
    node: figure.querySelector(".plot"),
    spec: JSON.parse(figure.querySelector("script").textContent),
  }));

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const themed = () => ({
    "font.color": colour("--ink"),
    "hoverlabel.bgcolor": colour("--paper"),
    "hoverlabel.font.color": colour("--ink"),
    "legend.bgcolor": "rgba(0,0,0,0)",
  });

  // On a phone: smaller text, so that titles and the months of a year fit, and a legend below the slanted dates.
  const phone = matchMedia("(max-width: 520px)");
  const fitted = ({ font, title, margin, legend }, small) => ({
    "font.size": small ? 9 : font?.size,
    "title.font.size": small ? 11 : title?.font?.size,
    "margin.l": small ? 44 : margin?.l,
    "margin.r": small ? 6 : margin?.r,
    "legend.y": small && legend?.y < 0 ? -0.3 : legend?.y,
  });

  async function inflate(base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).blob();
  }

  async function loadPlotly() {
    const blob = await inflate(document.getElementById("plotly-gz").textContent);
    const url = URL.createObjectURL(new Blob([blob], { type: "text/javascript" }));
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.onload = resolve;
      script.onerror = () => reject(new Error("plotly.js could not be loaded"));
      script.src = url;
      document.head.append(script);
    });
  }

  async function draw() {
    if (plots.length === 0) return;
    try {
      await loadPlotly();
      for (const { node, spec } of plots) {
        const options = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] };
        await Plotly.newPlot(node, spec.data, structuredClone(spec.layout), options);
        await Plotly.relayout(node, { ...themed(), ...fitted(spec.layout, phone.matches) });
      }
      root.dataset.figures = String(plots.length);
    } catch (error) {
      root.dataset.figures = "failed";
      for (const { node } of plots) node.textContent = "This figure could not be drawn: " + error.message;
    }
  }

  const redraw = (small = phone.matches, more = {}) =>
    plots.forEach(
      ({ node, spec }) => node.data && Plotly.relayout(node, { ...themed(), ...fitted(spec.layout, small), ...more }),
    );
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  document.getElementById("theme-toggle").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redraw();
  });
  dark.addEventListener("change", () => redraw());
  phone.addEventListener("change", () => redraw());

  const codeToggle = document.getElementById("code-toggle");
  codeToggle.addEventListener("click", () => {
    const open = codeToggle.getAttribute("aria-pressed") !== "true";
    codeToggle.setAttribute("aria-pressed", String(open));
    codeToggle.textContent = open ? "Hide code" : "Show code";
    root.classList.toggle("with-code", open);
    document.querySelectorAll("details.code").forEach((element) => (element.open = open));
  });

  // On paper: light, as wide as A4 between its margins, every folded table open. Afterwards all is as it was.
  const PAPER_WIDTH = 690;
  let restore = null;
  addEventListener("beforeprint", () => {
    if (restore) return;
    const theme = root.dataset.theme;
    const folded = [...document.querySelectorAll("details.wb-fold:not([open])")];
    root.dataset.theme = "light";
    folded.forEach((element) => (element.open = true));
    redraw(false, { autosize: false, width: PAPER_WIDTH });
    restore = () => {
      if (theme) root.dataset.theme = theme;
      else delete root.dataset.theme;
      folded.forEach((element) => (element.open = false));
      redraw(phone.matches, { autosize: true, width: null });
    };
  });
  addEventListener("afterprint", () => {
    if (restore) restore();
    restore = null;
  });
  draw();
})();
