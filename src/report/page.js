// Draws what stands in the element `plots` and listens to the reader. Nothing here knows an analysis: the numbers, names
// and texts are all in the JSON (src/report/figures.rs, src/report/wireframe.rs).
"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const drawn = [];

  // Colours of paper and ink as the style sheet has them now.
  function template() {
    const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
    const [paper, ink, grid, line] = ["--paper", "--ink", "--grid", "--line"].map(colour);
    const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: line, tickcolor: line, showline: true, ticks: "outside", automargin: true };
    const space = { gridcolor: grid, zerolinecolor: line, linecolor: line, showbackground: false, showspikes: false };
    return { layout: {
      paper_bgcolor: paper, plot_bgcolor: paper, font: { color: ink, size: 13, family: "system-ui, sans-serif" },
      colorway: ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"],
      xaxis: axis, yaxis: axis, scene: { xaxis: space, yaxis: space, zaxis: space },
      polar: { bgcolor: paper, angularaxis: { gridcolor: grid, linecolor: line }, radialaxis: { gridcolor: grid, linecolor: line } },
      hoverlabel: { bgcolor: paper, bordercolor: line, font: { color: ink } }, legend: { bgcolor: "rgba(0,0,0,0)" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: ink },
      margin: { l: 64, r: 24, t: 24, b: 52 },
    } };
  }

  function draw(id, data, layout) {
    const element = byId(id);
    const config = {
      responsive: true, displaylogo: false, displayModeBar: true, scrollZoom: Boolean(layout.scene),
      modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], toImageButtonOptions: { format: "png", scale: 2, filename: id },
    };
    drawn.push(element);
    return Plotly.newPlot(element, data, { ...layout, template: template() }, config);
  }

  const recolour = () => drawn.map((element) => Plotly.relayout(element, { template: template() }));

  // Plus and minus zoom, arrows move along the frequencies or around the structure, 0 shows everything.
  function keys(event) {
    const element = event.currentTarget, layout = element._fullLayout;
    if (event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
    const zoom = { "+": 0.8, "=": 0.8, "-": 1.25 }[event.key];
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!zoom && !step && event.key !== "0") return;
    event.preventDefault();
    if (layout.scene) {
      const eye = { ...layout.scene.camera.eye };
      const radius = Math.hypot(eye.x, eye.y, eye.z) * (zoom || 1);
      const turn = Math.atan2(eye.y, eye.x) + 0.1 * (step ? step[0] : 0);
      const lift = Math.max(-1.5, Math.min(1.5, Math.asin(eye.z / Math.hypot(eye.x, eye.y, eye.z)) + 0.1 * (step ? step[1] : 0)));
      const at = event.key === "0" ? CAMERA.eye
        : { x: radius * Math.cos(lift) * Math.cos(turn), y: radius * Math.cos(lift) * Math.sin(turn), z: radius * Math.sin(lift) };
      Plotly.relayout(element, { "scene.camera.eye": at });
    } else if (layout.xaxis && layout.xaxis.type !== "category") {
      if (event.key === "0") { Plotly.relayout(element, element.home); return; }
      const [from, to] = layout.xaxis.range, middle = (from + to) / 2, half = (to - from) / 2 * (zoom || 1);
      const shift = step ? step[0] * half * 0.2 : 0;
      Plotly.relayout(element, { "xaxis.range": [middle - half + shift, middle + half + shift] });
    }
  }

  for (const [id, { data, layout }] of Object.entries(plots.figures)) {
    draw(id, data, layout);
    const range = layout.xaxis && layout.xaxis.range;
    byId(id).home = range ? { "xaxis.range": [...range] } : { "xaxis.autorange": true };
  }

  // Mode shapes: the chosen mode moves about the structure at rest.
  const CAMERA = { eye: { x: 0.94, y: -1.63, z: 0.68 }, projection: { type: "orthographic" } };
  const PERIOD_MS = 1600;

  function shapes(id, view) {
    const space = `${id}-space`, phase = `${id}-phase`;
    const choose = byId(`${id}-mode`), play = byId(`${id}-play`), amplitude = byId(`${id}-amplitude`);
    const state = { mode: 0, angle: 0, playing: !still.matches, held: false, seen: true, last: null, busy: false };
    const axes = [0, 1, 2];
    const at = (scale, angle) => view.nodes.map((node, k) => {
      const { re, im } = view.modes[state.mode];
      return axes.map((a) => node.at[a] + scale * (re[k][a] * Math.cos(angle) - im[k][a] * Math.sin(angle)));
    });
    // One polyline through all lines, with a break after each.
    const polyline = (points) => axes.map((a) => view.lines.flatMap(([p, q]) => [points[p][a], points[q][a], null]));
    const columns = (points) => axes.map((a) => points.map((point) => point[a]));
    const xyz = ([x, y, z]) => ({ x, y, z });
    const lines = (points, extra) => ({ type: "scatter3d", mode: "lines", hoverinfo: "skip", ...xyz(polyline(points)), ...extra });
    const rest = at(0, 0);
    const arrow = 0.08 * view.extent;
    const arrows = axes.map((a) => view.sensors.flatMap((s) => [rest[s.node][a], rest[s.node][a] + arrow * s.direction[a], null]));
    const corners = view.surfaces.length ? Object.fromEntries(["i", "j", "k"].map((name, c) => [name, view.surfaces.map((s) => s[c])])) : null;
    const accent = "#0072b2", grey = "#8a8f96";

    function traces() {
      const moved = at(Number(amplitude.value), state.angle);
      const surfaces = corners ? [{ type: "mesh3d", name: "surfaces", ...xyz(columns(moved)), ...corners, color: accent, opacity: 0.25, hoverinfo: "skip", showlegend: true }] : [];
      return [
        lines(rest, { name: "at rest", line: { color: grey, width: 3, dash: "dash" } }),
        { type: "scatter3d", mode: "lines", name: "directions", hoverinfo: "skip", ...xyz(arrows), line: { color: "#e69f00", width: 4 } },
        { type: "scatter3d", mode: "text", name: "labels", hoverinfo: "skip", ...xyz(columns(rest)), text: view.nodes.map((n) => n.label), textposition: "middle right", textfont: { size: 11 }, visible: view.nodes.length > 40 ? "legendonly" : true },
        lines(moved, { name: "moving", line: { color: accent, width: 6 } }),
        { type: "scatter3d", mode: "markers", name: "places", ...xyz(columns(moved)), marker: { size: 4, color: accent }, text: view.nodes.map((n) => n.channels || `${n.label}, no channel`), hovertemplate: "%{text}<extra></extra>" },
        ...surfaces,
      ];
    }

    // Axes that hold the largest movement, so that nothing jumps.
    function ranges() {
      const room = 0.16 * view.extent * Math.max(1, Number(amplitude.value));
      return axes.map((a) => {
        const values = rest.map((point) => point[a]);
        return [Math.min(...values) - room, Math.max(...values) + room];
      });
    }

    // One scale along all axes, and the longest side fills the view.
    function ratio() {
      const sides = ranges().map(([low, high]) => high - low), longest = Math.max(...sides);
      return xyz(sides.map((side) => 1.5 * side / longest));
    }

    function layout() {
      const title = (name) => ({ title: { text: view.placed ? `${name}, m` : "" }, showticklabels: view.placed });
      const [x, y, z] = ranges().map((range, a, all) => {
        const side = (r) => r[1] - r[0], short = side(range) < 0.4 * Math.max(...all.map(side));
        return { range, nticks: short ? 3 : 6, ...title("xyz"[a]) };
      });
      return { height: 520, uirevision: "kept", margin: { l: 0, r: 0, t: 0, b: 0 }, legend: { orientation: "h", y: 0 },
        scene: { aspectmode: "manual", aspectratio: ratio(), camera: CAMERA, xaxis: x, yaxis: y, zaxis: z } };
    }

    function complexity() {
      const components = view.modes[state.mode].components;
      const text = view.channels;
      const radius = components.map(([re, im]) => Math.hypot(re, im)), angle = components.map(([re, im]) => Math.atan2(im, re) * 180 / Math.PI);
      return [
        { type: "scatterpolar", mode: "lines", hoverinfo: "skip", showlegend: false, r: radius.flatMap((r) => [0, r, null]), theta: angle.flatMap((t) => [t, t, null]), line: { color: accent, width: 1.5 } },
        { type: "scatterpolar", mode: "markers", showlegend: false, r: radius, theta: angle, text, marker: { color: accent, size: 7 }, hovertemplate: "%{text}<br>modulus %{r:.4f}<br>phase %{theta:.2f}°<extra></extra>" },
      ];
    }

    function move() {
      const moved = at(Number(amplitude.value), state.angle);
      const update = [polyline(moved), columns(moved)];
      const which = [3, 4];
      if (corners) { update.push(columns(moved)); which.push(5); }
      const column = (a) => update.map((points) => points[a]);
      return Plotly.restyle(space, { x: column(0), y: column(1), z: column(2) }, which);
    }

    function frame(now) {
      requestAnimationFrame(frame);
      const passed = state.last === null ? 0 : now - state.last;
      state.last = now;
      if (!state.playing || state.held || !state.seen || state.busy) return;
      state.angle = (state.angle + 2 * Math.PI * Math.min(passed, 100) / PERIOD_MS) % (2 * Math.PI);
      state.busy = true;
      move().finally(() => { state.busy = false; });
    }

    function select(mode) {
      state.mode = mode;
      choose.value = String(mode);
      document.querySelectorAll(`button[data-shapes="${id}"]`).forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.mode) === mode)));
      if (!state.playing) state.angle = 0;
      move();
      Plotly.react(phase, complexity(), byId(phase).layout);
    }

    const showPlay = () => { play.textContent = state.playing ? "Pause" : "Play"; };
    choose.addEventListener("change", () => select(Number(choose.value)));
    document.querySelectorAll(`button[data-shapes="${id}"]`).forEach((b) => b.addEventListener("click", () => select(Number(b.dataset.mode))));
    play.addEventListener("click", () => { state.playing = !state.playing; showPlay(); });
    amplitude.addEventListener("input", () => { const [x, y, z] = ranges(); move(); Plotly.relayout(space, { "scene.xaxis.range": x, "scene.yaxis.range": y, "scene.zaxis.range": z, "scene.aspectratio": ratio() }); });
    // While the reader turns the structure it stands still under the hand.
    byId(space).addEventListener("pointerdown", () => { state.held = true; });
    addEventListener("pointerup", () => { state.held = false; });
    new IntersectionObserver(([entry]) => { state.seen = entry.isIntersecting; }).observe(byId(space));
    showPlay();
    draw(phase, complexity(), { height: 520, margin: { l: 40, r: 40, t: 40, b: 40 }, polar: { radialaxis: { range: [0, 1.05], angle: 90, tickangle: 90, dtick: 0.25 } } });
    draw(space, traces(), layout()).then(() => requestAnimationFrame(frame));
  }

  for (const [id, view] of Object.entries(plots.shapes)) shapes(id, view);

  // Channels: time history with gaps, and spectrum, of the one that is chosen.
  function signals(id, { time, frequency, gaps, channels }) {
    const choose = byId(`${id}-channel`);
    const axis = ({ start, step, count }) => Array.from({ length: count }, (_, k) => start + step * k);
    const seconds = axis(time), minutes = seconds.length * time.step > 600;
    const t = seconds.map((s) => (minutes ? s / 60 : s));
    const shade = gaps.map((gap) => ({ type: "rect", xref: "x", yref: "y domain", y0: 0, y1: 1, x0: gap[0] / (minutes ? 60 : 1), x1: gap[1] / (minutes ? 60 : 1), fillcolor: "#d55e00", opacity: 0.25, line: { width: 0 } }));
    // A closed outline of each stretch without a gap; a fill between two lines would go across the gaps.
    const band = ({ min, max }) => {
      const outline = { x: [], y: [] };
      for (let from = 0, to; from < t.length; from = to + 1) {
        for (to = from; to < t.length && max[to] !== null; to++);
        if (to === from) continue;
        const places = Array.from({ length: to - from }, (_, k) => from + k);
        outline.x.push(...places.map((k) => t[k]), ...places.toReversed().map((k) => t[k]), null);
        outline.y.push(...places.map((k) => max[k]), ...places.toReversed().map((k) => min[k]), null);
      }
      return outline;
    };
    const traces = ({ min, max, psd }) => [
      { type: "scatter", mode: "lines", x: t, y: min, name: "smallest", line: { width: 0.5, color: "#0072b2" }, showlegend: false },
      { type: "scatter", mode: "lines", x: t, y: max, name: "largest", line: { width: 0.5, color: "#0072b2" }, showlegend: false },
      { type: "scatter", mode: "lines", x0: frequency.start, dx: frequency.step, y: psd, xaxis: "x2", yaxis: "y2", name: "spectrum", line: { color: "#0072b2", width: 1.5 }, showlegend: false, hovertemplate: "%{x:.3f} Hz, %{y:.1f} dB<extra></extra>" },
      { type: "scatter", mode: "lines", ...band({ min, max }), fill: "toself", fillcolor: "rgba(0,114,178,0.45)", line: { width: 0 }, hoverinfo: "skip", showlegend: false },
    ];
    const layout = {
      height: 560, grid: { rows: 2, columns: 1, pattern: "independent", ygap: 0.35 }, shapes: shade, hovermode: "x",
      xaxis: { title: { text: minutes ? "time, min" : "time, s" } }, xaxis2: { title: { text: "frequency, Hz" } },
    };
    const titled = (from, { unit }) => {
      const named = unit || "unit";
      return { ...from, yaxis: { ...from.yaxis, title: { text: named } }, yaxis2: { ...from.yaxis2, title: { text: `dB re 1 (${named})²/Hz` } } };
    };
    choose.addEventListener("change", () => {
      const channel = channels[Number(choose.value)];
      Plotly.react(id, traces(channel), titled(byId(id).layout, channel));
    });
    draw(id, traces(channels[0]), titled(layout, channels[0]));
    byId(id).home = { "xaxis.autorange": true };
  }

  for (const [id, signal] of Object.entries(plots.signals)) signals(id, signal);

  drawn.forEach((element) => element.addEventListener("keydown", keys));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

  // Paper is light, shows everything, and is as wide as it is.
  const PAPER_WIDTH = 680;
  let closed = [];
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    closed = [...document.querySelectorAll("details:not([open]):not(.screen)")];
    closed.forEach((part) => { part.open = true; });
    const part = (element) => (element.closest(".pair") ? (element.id.endsWith("-space") ? 0.58 : 0.4) : 1);
    drawn.forEach((element) => Plotly.relayout(element, { template: template(), autosize: false, width: Math.round(PAPER_WIDTH * part(element)) }));
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    closed.forEach((part) => { part.open = false; });
    drawn.forEach((element) => Plotly.relayout(element, { template: template(), autosize: true, width: null }));
  });
  root.dataset.drawn = String(drawn.length);
})();
