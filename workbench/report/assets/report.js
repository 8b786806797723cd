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
        await Plotly.newPlot(node, spec.data, spec.layout, options);
        await Plotly.relayout(node, themed());
      }
      root.dataset.figures = String(plots.length);
    } catch (error) {
      root.dataset.figures = "failed";
      for (const { node } of plots) node.textContent = "This figure could not be drawn: " + error.message;
    }
  }

  const redraw = () => plots.forEach(({ node }) => node.data && Plotly.relayout(node, themed()));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  document.getElementById("theme-toggle").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redraw();
  });
  dark.addEventListener("change", redraw);

  const codeToggle = document.getElementById("code-toggle");
  codeToggle.addEventListener("click", () => {
    const open = codeToggle.getAttribute("aria-pressed") !== "true";
    codeToggle.setAttribute("aria-pressed", String(open));
    codeToggle.textContent = open ? "Hide code" : "Show code";
    root.classList.toggle("with-code", open);
    document.querySelectorAll("details.code").forEach((element) => (element.open = open));
  });

  addEventListener("beforeprint", () => plots.forEach(({ node }) => node.data && Plotly.Plots.resize(node)));
  draw();
})();
