// Runs in the report page after its own script, and leaves what it finds as text.
const found = { errors: window.failures };
const table = document.querySelector(".program:not([hidden]) table.layers");
const column = k => [...table.tBodies[0].rows].map(row => row.cells[k].dataset.value);
const press = k => { table.tHead.rows[0].cells[k].querySelector("button").click(); return column(k); };
found.cycles = [press(3), press(3)];
found.names = [press(1), press(1)];
found.sorted = table.tHead.rows[0].cells[1].getAttribute("aria-sort");
const search = document.querySelector("input[type=search]");
search.value = column(1)[0]; search.dispatchEvent(new Event("input"));
found.filtered = [...table.tBodies[0].rows].filter(row => !row.hidden).length;
search.value = ""; search.dispatchEvent(new Event("input"));
const canvas = document.querySelector("canvas");
const ink = () => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let k = 0; k < data.length; k += 4) sum = (sum * 31 + data[k] * 3 + data[k + 1] * 5 + data[k + 3]) % 1e9;
  return sum;
};
found.whole = ink();
table.tBodies[0].rows[0].click();
found.zoomed = ink();
document.querySelector("[data-zoom=all]").click();
found.points = document.querySelectorAll("svg .point").length;
const tips = new Set();
for (const x of [140, 400, 900]) for (let y = 5; y < 500; y += 12) {
  const area = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: area.left + x, clientY: area.top + y }));
  const tip = document.querySelector(".tip");
  if (!tip.hidden) tips.add(tip.textContent);
}
found.tips = [...tips];
document.querySelectorAll("button.part")[1].click();
found.shown = [...document.querySelectorAll(".program")].map(root => !root.hidden);
found.second = document.querySelectorAll(".program")[1].querySelectorAll("svg .point").length;
found.resources = performance.getEntriesByType("resource").map(entry => entry.name);
found.wide = document.documentElement.scrollWidth > innerWidth;
const result = document.body.appendChild(document.createElement("pre"));
result.id = "found"; result.textContent = JSON.stringify(found);
