"use strict";
(() => {
const report = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const palette = ["#3b6fd4", "#2e9e5b", "#d9643a", "#8059b8", "#c98a1b", "#3a9fb0", "#c0507a", "#6f8f2f"];
const drams = { weights: "#e0a030", input: "#d9643a", output: "#5b7fc7", fetch: "#45a3b5" };
const ink = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const whole = n => Math.round(n).toLocaleString("en");
const percent = x => (100 * x).toFixed(x < 0.0995 ? 1 : 0) + "%";
const bytes = n => {
  const units = ["B", "KiB", "MiB", "GiB"];
  let k = 0;
  while (n >= 1024 && k < 3) { n /= 1024; k++; }
  return (k && n < 999.5 ? n.toPrecision(3) : Math.round(n)) + " " + units[k];
};
const seconds = (cycles, clock) => {
  const us = cycles / clock * 1e6;
  return us < 1000 ? us.toPrecision(3) + " µs" : (us / 1000).toPrecision(4) + " ms";
};
const colour = (node, limit) => limit ? (report.limits[limit] || ["", "#8d949e"])[1]
  : node < 0 ? "#8d949e" : palette[node % palette.length];

// Numbers of seven bits a byte: start less the last, length, node + 1.
function decode(text) {
  const raw = atob(text), found = { start: [], end: [], node: [] };
  let at = 0, last = 0;
  const next = () => {
    let value = 0, scale = 1, byte;
    do { byte = raw.charCodeAt(at++); value += (byte & 127) * scale; scale *= 128; } while (byte > 127);
    return value;
  };
  while (at < raw.length) {
    last += next();
    found.start.push(last); found.end.push(last + next()); found.node.push(next() - 1);
  }
  return found;
}

// The first index from which on values[index] >= limit, of ascending values.
function lower(values, limit) {
  let low = 0, high = values.length;
  while (low < high) { const mid = (low + high) >> 1; if (values[mid] < limit) low = mid + 1; else high = mid; }
  return low;
}

function tooltip(element, box) {
  return (text, x, y) => {
    element.hidden = !text;
    if (!text) return;
    element.textContent = text;
    element.style.left = Math.max(Math.min(x + 14, box.clientWidth - element.offsetWidth - 4), 0) + "px";
    element.style.top = y + 16 + "px";
  };
}

function layerText(p, k) {
  const n = p.nodes[k], limit = (report.limits[n.limit] || [n.limit])[0];
  const busy = Object.entries(n.work).filter(e => e[1] >= 0.005).map(e => `${e[0]} ${percent(e[1])}`);
  return `${n.name}\n${n.op}, ${whole(n.cycles)} cycles (${seconds(n.cycles, p.clock)}), `
    + `${percent(n.share)} of peak\nlimited by: ${limit}` + (busy.length ? `\nbusy: ${busy.join(", ")}` : "");
}

function overTime(root, p) {
  const canvas = root.querySelector("canvas.time"), over = canvas.parentElement;
  const tip = tooltip(over.querySelector(".tip"), over);
  const units = p.spans.map(decode), left = 104, lane = 22, gap = 4;
  const bands = { use: [4, 62], units: [82, units.length * (lane + gap)], ub: [0, 132], dram: [0, 66] };
  bands.ub[0] = bands.units[0] + bands.units[1] + 14;
  bands.dram[0] = bands.ub[0] + bands.ub[1] + 16;
  const bottom = bands.dram[0] + bands.dram[1], height = bottom + 24;
  const tiles = p.nodes.flatMap((n, k) => n.windows.map(([a, b, share]) => ({ k, a, b, share })))
    .sort((one, other) => one.a - other.a);
  const starts = tiles.map(tile => tile.a);
  const top = Math.max(...p.memory.map(m => m[2] + m[3]), 1);
  const most = Math.max(p.bandwidth, ...p.dram.weights.map((_, i) => Object.keys(drams).reduce((sum, name) => sum + p.dram[name][i], 0)));
  const fullest = Math.max(...tiles.map(tile => tile.share), 1e-9);
  const ceiling = fullest > 0.5 ? 1 : fullest;
  let from = 0, to = p.cycles, lit = -1, width = 0, g = null;
  const scale = () => (width - left) / (to - from);
  const X = c => left + (c - from) * scale();
  const C = x => from + (x - left) / scale();

  function draw() {
    width = canvas.clientWidth;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = width * ratio; canvas.height = height * ratio; canvas.style.height = height + "px";
    g = canvas.getContext("2d"); g.scale(ratio, ratio);
    g.font = "12px system-ui, DejaVu Sans, sans-serif"; g.textBaseline = "middle";
    captions();
    g.save(); g.beginPath(); g.rect(left, 0, width - left, height); g.clip();
    layers(); units.forEach(drawUnit); memory(); traffic();
    g.restore();
    axis();
  }
  function captions() {
    const text = (words, y, soft) => { g.fillStyle = ink(soft ? "--soft" : "--ink"); g.fillText(words, 0, y); };
    const rule = y => { g.fillStyle = ink("--line"); g.fillRect(left, y, width - left, 1); };
    text("utilisation", bands.use[0] + 26); text("up to " + percent(ceiling), bands.use[0] + 42, true);
    rule(bands.use[0] + bands.use[1]);
    p.units.forEach((name, u) => {
      const y = bands.units[0] + u * (lane + gap);
      text(name, y + lane / 2); rule(y + lane);
    });
    text("unified buffer", bands.ub[0] + 58); text("up to " + bytes(top * p.lanes), bands.ub[0] + 74, true);
    rule(bands.ub[0] + bands.ub[1]);
    text("DRAM", bands.dram[0] + 26); text("up to " + most.toFixed(0) + " B/cycle", bands.dram[0] + 42, true);
    rule(bottom);
  }
  function layers() {
    const [y, h] = bands.use;
    for (let i = Math.max(lower(starts, from) - 1, 0); i < tiles.length && starts[i] <= to; i++) {
      const { k, a, b, share } = tiles[i], n = p.nodes[k], tall = Math.max(h * Math.min(share / ceiling, 1), 2);
      const x = X(a), w = Math.max(X(b) - x, 0.7);
      if (k === lit) { g.fillStyle = ink("--mark"); g.fillRect(x, y, w, bottom - y); }
      g.fillStyle = colour(k, n.limit); g.fillRect(x, y + h - tall, w - (w > 4 ? 1 : 0), tall);
      label(n.name, x, w, y + 8, ink("--ink"));
    }
  }
  function label(text, x, w, y, fill) {
    const a = Math.max(x, left), room = Math.min(x + w, width) - a;
    if (room < 40) return;
    let shown = text;
    if (g.measureText(shown).width > room - 10) {
      const letters = Math.floor((room - 10) / 6.6) - 1;
      if (letters < 6) return;
      shown = text.slice(0, letters) + "…";
    }
    g.fillStyle = fill; g.fillText(shown, a + 5, y);
  }
  function drawUnit(s, u) {
    const y = bands.units[0] + u * (lane + gap), k = scale(), thin = new Map();
    const cover = new Float32Array(width + 2), owner = new Int32Array(width + 2).fill(-1);
    for (let i = lower(s.end, from); i < s.start.length && s.start[i] <= to; i++) {
      const a = Math.max(X(s.start[i]), left - 1), b = Math.min(X(s.end[i]), width + 1);
      if (b - a >= 1.5) {
        g.fillStyle = colour(s.node[i]); g.fillRect(a, y, b - a - (b - a > 5 ? 0.5 : 0), lane);
      } else {
        const pixel = Math.max(Math.floor(a), 0);
        cover[pixel] += Math.max((s.end[i] - s.start[i]) * k, 0.05); owner[pixel] = s.node[i];
        thin.set(pixel, true);
      }
    }
    for (const pixel of thin.keys()) {
      const tall = Math.max(lane * Math.min(cover[pixel], 1), 3);
      g.fillStyle = colour(owner[pixel]); g.fillRect(pixel, y + lane - tall, 1, tall);
    }
    for (let i = lower(s.end, from); i < s.start.length && s.start[i] <= to;) {
      let j = i, end = s.end[i];
      while (j + 1 < s.start.length && s.node[j + 1] === s.node[i] && (s.start[j + 1] - end) * k < 3) end = Math.max(end, s.end[++j]);
      const x = X(s.start[i]);
      if (s.node[i] >= 0) label(p.nodes[s.node[i]].name, x, X(end) - x, y + lane / 2, "#fff");
      i = j + 1;
    }
  }
  function memory() {
    const [y, h] = bands.ub, k = h / top;
    p.memory.forEach(([name, kind, base, size, a, b], i) => {
      if (b < from || a > to) return;
      const x = X(a), w = Math.max(X(b) - x, 0.7), tall = Math.max(size * k, 0.7), high = y + h - (base + size) * k;
      g.globalAlpha = kind === "buffer" ? 0.45 : 0.85;
      g.fillStyle = kind === "buffer" ? "#8d949e" : palette[i % palette.length];
      g.fillRect(x, high, w - (w > 4 ? 1 : 0), tall - (tall > 4 ? 1 : 0));
      g.globalAlpha = 1;
      if (tall >= 13) label(name, x, w, high + tall / 2, "#fff");
    });
  }
  function traffic() {
    const [y, h] = bands.dram, step = p.dram.step, names = Object.keys(drams);
    const first = Math.max(Math.floor(from / step), 0), last = Math.min(Math.ceil(to / step), p.dram.weights.length);
    const each = Math.max(1, Math.floor((last - first) / (width - left)));
    for (let i = first; i < last; i += each) {
      let low = y + h;
      for (const name of names) {
        let sum = 0, count = 0;
        for (let j = i; j < Math.min(i + each, last); j++) { sum += p.dram[name][j]; count++; }
        const tall = h * sum / count / most;
        g.fillStyle = drams[name]; g.fillRect(X(i * step), low - tall, X((i + each) * step) - X(i * step) + 0.5, tall);
        low -= tall;
      }
    }
    g.strokeStyle = ink("--ink"); g.setLineDash([4, 4]); g.beginPath();
    const line = y + h - h * p.bandwidth / most;
    g.moveTo(left, line); g.lineTo(width, line); g.stroke(); g.setLineDash([]);
  }
  function axis() {
    const rough = (to - from) / 6, power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
    const step = Math.max([1, 2, 5, 10].map(m => m * power).find(v => v >= rough), 1);
    g.fillStyle = ink("--soft"); g.textAlign = "center";
    for (let c = Math.ceil(from / step) * step; c <= to; c += step) {
      if (X(c) > width - 28) break;
      g.fillText(whole(c), X(c), height - 9);
    }
    g.textAlign = "left"; g.fillText("cycle", 0, height - 9);
  }
  function show(a, b) {
    const w = Math.min(Math.max(b - a, 20), p.cycles);
    from = Math.min(Math.max(a, 0), p.cycles - w); to = from + w; draw();
  }
  function zoom(factor, x) {
    const c = x === undefined ? (from + to) / 2 : C(x);
    show(c - (c - from) * factor, c + (to - c) * factor);
  }
  function at(x, y) {
    const c = C(x), inside = band => y >= band[0] && y < band[0] + band[1];
    if (x < left) return "";
    if (inside(bands.units)) {
      const u = Math.floor((y - bands.units[0]) / (lane + gap)), s = units[u];
      for (let i = lower(s.end, c); i < s.start.length && s.start[i] <= c + 1 / scale(); i++) {
        const n = s.end[i] - s.start[i], node = s.node[i];
        return `${p.units[u]}: ${node < 0 ? "program" : p.nodes[node].name}\ncycles ${whole(s.start[i])} to ${whole(s.end[i])} (${whole(n)}, ${seconds(n, p.clock)})`;
      }
      return "";
    }
    if (inside(bands.ub)) {
      const word = (bands.ub[0] + bands.ub[1] - y) / bands.ub[1] * top;
      const used = p.memory.filter(m => m[4] <= c && c <= m[5]).reduce((sum, m) => sum + m[3], 0);
      const held = p.memory.find(m => m[4] <= c && c <= m[5] && m[2] <= word && word < m[2] + m[3]);
      const own = held ? `${held[1] === "buffer" ? "buffer of " : ""}${held[0]}\n${bytes(held[3] * p.lanes)}, cycles ${whole(held[4])} to ${whole(held[5])}\n` : "";
      return own + `in use: ${bytes(used * p.lanes)} of ${bytes(p.words * p.lanes)}`;
    }
    if (inside(bands.dram)) {
      const i = Math.min(Math.max(Math.floor(c / p.dram.step), 0), p.dram.weights.length - 1);
      return Object.keys(drams).map(name => `${name}: ${p.dram[name][i].toFixed(1)} B/cycle`).join("\n") + `\nbandwidth: ${p.bandwidth.toFixed(1)} B/cycle`;
    }
    const tile = tiles[lower(starts, c + 1e-9) - 1];
    return inside(bands.use) && tile ? layerText(p, tile.k) : "";
  }

  canvas.addEventListener("wheel", e => {
    if (e.ctrlKey || e.metaKey) { e.preventDefault(); zoom(Math.exp(e.deltaY / 300), e.offsetX); }
    else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
      e.preventDefault(); const d = (e.deltaX || e.deltaY) / scale(); show(from + d, to + d);
    }
  }, { passive: false });
  let held = null;
  canvas.addEventListener("pointerdown", e => { held = [e.clientX, from, to]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", e => {
    if (held) { const d = (e.clientX - held[0]) / scale(); show(held[1] - d, held[2] - d); tip(""); }
    else tip(at(e.offsetX, e.offsetY), e.offsetX, e.offsetY);
  });
  canvas.addEventListener("pointerleave", () => tip(""));
  canvas.addEventListener("dblclick", e => zoom(0.25, e.offsetX));
  canvas.addEventListener("keydown", e => {
    const d = (to - from) / 5;
    const act = { "+": () => zoom(0.5), "-": () => zoom(2), 0: () => show(0, p.cycles), ArrowLeft: () => show(from - d, to - d), ArrowRight: () => show(from + d, to + d) }[e.key];
    if (act) { e.preventDefault(); act(); }
  });
  for (const button of root.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => button.dataset.zoom === "all" ? show(0, p.cycles) : zoom(Number(button.dataset.zoom)));
  }
  addEventListener("resize", draw);
  draw();
  return {
    light(k) { lit = k; draw(); },
    go(k) {
      const own = p.nodes[k].windows, a = own[0][0], b = own[own.length - 1][1];
      lit = k; show(a - Math.max((b - a) / 2, 50), b + Math.max((b - a) / 2, 50)); canvas.scrollIntoView({ block: "center" });
    },
    draw,
  };
}

function roofline(root, p, chosen) {
  const box = root.querySelector(".roofline"), tip = tooltip(box.querySelector(".tip"), box);
  const layers = p.nodes.map((n, k) => ({ k, n, x: n.moved ? n.macs / n.moved : Infinity, y: n.macs / n.own }))
    .filter(point => point.n.macs && point.n.own);
  const macs = p.nodes.reduce((sum, n) => sum + n.macs, 0), moved = p.nodes.reduce((sum, n) => sum + n.moved, 0);
  const total = { x: moved ? macs / moved : Infinity, y: macs / p.cycles };
  const ridge = p.peak / p.bandwidth, W = 1190, H = 380, L = 70, B = 44, T = 14, R = 30;
  const finite = [...layers.map(l => l.x), total.x, ridge].filter(x => isFinite(x) && x > 0);
  const low = 10 ** Math.floor(Math.log10(Math.min(...finite) / 1.5)), high = 10 ** Math.ceil(Math.log10(Math.max(...finite) * 1.5));
  const bottom = 10 ** Math.floor(Math.log10(Math.min(...layers.map(l => l.y), total.y, p.peak / 100))), top = p.peak * 1.7;
  const X = x => isFinite(x) ? L + (W - L - R) * Math.log(x / low) / Math.log(high / low) : W - R + 12;
  const Y = y => T + (H - T - B) * (1 - Math.log(y / bottom) / Math.log(top / bottom));
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  svg.setAttribute("role", "img"); svg.setAttribute("aria-label", "Roofline of the layers");
  const add = (tag, attributes, text) => {
    const element = svg.appendChild(document.createElementNS(SVG, tag));
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  };
  for (let x = low; x <= high * 1.001; x *= 10) {
    add("line", { class: "grid", x1: X(x), x2: X(x), y1: T, y2: H - B });
    add("text", { x: X(x), y: H - B + 17, "text-anchor": "middle" }, x < 1 ? String(+x.toPrecision(1)) : whole(x));
  }
  for (let y = bottom; y <= top; y *= 10) {
    add("line", { class: "grid", x1: L, x2: W - R, y1: Y(y), y2: Y(y) });
    add("text", { x: L - 8, y: Y(y) + 4, "text-anchor": "end" }, y < 1 ? String(+y.toPrecision(1)) : whole(y));
  }
  add("text", { x: (L + W - R) / 2, y: H - 6, "text-anchor": "middle" }, "useful MAC per byte of DRAM traffic");
  add("text", { transform: `translate(14 ${(T + H - B) / 2}) rotate(-90)`, "text-anchor": "middle" }, "useful MAC per cycle");
  const foot = Math.max(low, bottom / p.bandwidth);
  add("path", { class: "roof", d: `M${X(foot)} ${Y(foot * p.bandwidth)}L${X(ridge)} ${Y(p.peak)}L${W - R} ${Y(p.peak)}` });
  add("text", { x: W - R, y: Y(p.peak) - 6, "text-anchor": "end" }, `${whole(p.peak)} MAC per cycle`);
  const middle = Math.sqrt(foot * ridge), slope = Math.atan2(Y(foot * p.bandwidth) - Y(p.peak), X(ridge) - X(foot)) * 180 / Math.PI;
  add("text", { transform: `translate(${X(middle)} ${Y(middle * p.bandwidth) - 7}) rotate(${-slope})`, "text-anchor": "middle" }, `${p.bandwidth.toFixed(1)} bytes per cycle`);
  const points = new Map();
  layers.sort((a, b) => b.n.cycles - a.n.cycles);
  for (const { k, n, x, y } of layers) {
    const point = add("circle", { class: "point", cx: X(x), cy: Y(Math.max(y, bottom)), r: (4 + 11 * Math.sqrt(n.cycles / p.cycles)).toFixed(2), fill: colour(k, n.limit), "fill-opacity": 0.85 });
    points.set(k, point);
    point.addEventListener("pointermove", e => {
      const area = box.getBoundingClientRect(), near = isFinite(x) ? `${x.toPrecision(3)} MAC per byte, ` : "no DRAM traffic, ";
      tip(`${layerText(p, k)}\n${near}${y.toPrecision(3)} MAC per cycle`, e.clientX - area.left, e.clientY - area.top);
      chosen(k);
    });
    point.addEventListener("pointerleave", () => { tip(""); chosen(-1); });
  }
  const labels = [];  // of the longest layers, where there is room
  for (const { n, x, y } of layers.slice(0, 8)) {
    const place = { x: X(x) + 14, y: Y(Math.max(y, bottom)) + 4, w: 7 * Math.min(n.name.length, 28) };
    const clash = labels.some(l => Math.abs(l.y - place.y) < 13 && l.x < place.x + place.w && place.x < l.x + l.w);
    if (clash || place.x + place.w > W - R) continue;
    labels.push(place);
    add("text", { x: place.x, y: place.y, "pointer-events": "none" }, n.name.length > 28 ? n.name.slice(0, 27) + "…" : n.name);
  }
  const x = X(total.x), y = Y(total.y);
  add("path", { class: "all", d: `M${x} ${y - 8}L${x + 8} ${y}L${x} ${y + 8}L${x - 8} ${y}Z` }).appendChild(document.createElementNS(SVG, "title")).textContent = "the whole program";
  box.prepend(svg);
  return k => points.forEach((point, own) => point.classList.toggle("lit", own === k));
}

function sortable(table, start) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const text = button.dataset.kind === "s", was = head.getAttribute("aria-sort");
      const down = was ? was === "ascending" : !text && column > 0;
      const value = row => row.cells[column].dataset.value;
      const compare = text ? (a, b) => value(a).localeCompare(value(b), "en", { numeric: true }) : (a, b) => value(a) - value(b);
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...body.rows].sort((a, b) => down ? compare(b, a) : compare(a, b)));
    });
  });
  heads[start].setAttribute("aria-sort", "ascending");
}

function program(root, p) {
  const rows = [...root.querySelectorAll("tr.layer")];
  let mark = () => {};
  const time = overTime(root, p);
  const light = k => {
    rows.forEach(row => row.classList.toggle("lit", Number(row.dataset.node) === k));
    mark(k); time.light(k);
  };
  mark = roofline(root, p, light);
  rows.forEach(row => {
    const k = Number(row.dataset.node);
    row.addEventListener("mouseenter", () => mark(k));
    row.addEventListener("mouseleave", () => mark(-1));
    row.addEventListener("click", () => { if (p.nodes[k].windows.length) time.go(k); });
  });
  root.querySelector("input[type=search]").addEventListener("input", e => {
    const words = e.target.value.toLowerCase();
    rows.forEach(row => { row.hidden = !row.textContent.toLowerCase().includes(words); });
  });
  sortable(root.querySelector("table.layers"), 0);
  return time;
}

const roots = [...document.querySelectorAll(".program")], made = new Map();
const parts = [...document.querySelectorAll("button.part")];
function choose(index) {
  roots.forEach((root, k) => { root.hidden = k !== index; });
  parts.forEach(part => part.setAttribute("aria-pressed", String(Number(part.dataset.program) === index)));
  if (made.has(index)) made.get(index).draw();
  else made.set(index, program(roots[index], report.programs[index]));
}
parts.forEach(part => part.addEventListener("click", () => choose(Number(part.dataset.program))));
choose(0);
})();
