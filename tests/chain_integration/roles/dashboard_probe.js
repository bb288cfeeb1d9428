// Runs in the dashboard after its own script, and leaves what it finds as text.
const found = { errors: window.failures };
const rows = id => [...document.querySelectorAll(`#${id} tbody tr`)];
const column = (id, k) => rows(id).map(row => row.cells[k].dataset.value ?? row.cells[k].textContent);
const press = (id, k) => {
  document.querySelectorAll(`#${id} th button`)[k].click();
  return column(id, k);
};
found.stakes = [press("nodes", 3), press("nodes", 3)];
found.sorted = document.querySelectorAll("#nodes th")[3].getAttribute("aria-sort");
found.states = press("orders", 1);
found.kinds = column("proofs", 0);
const search = document.querySelector("input[type=search]");
const filter = text => {
  search.value = text; search.dispatchEvent(new Event("input"));
  return ["nodes", "orders", "proofs"].map(id => rows(id).filter(row => !row.hidden).length);
};
found.filtered = filter("EXPIRED");
found.address = filter(document.querySelector("#nodes code").title);
found.all = filter("");
found.bars = [...document.querySelectorAll(".bar i")].map(bar => bar.getBoundingClientRect().width);
found.resources = performance.getEntriesByType("resource").map(entry => entry.name);
found.wide = document.documentElement.scrollWidth > innerWidth;
const result = document.body.appendChild(document.createElement("pre"));
result.id = "found"; result.textContent = JSON.stringify(found);
