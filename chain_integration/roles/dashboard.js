"use strict";
// Tables are sorted by a press on a column's head, and filtered by the words in the search box.
const value = cell => {
  const number = Number(cell.dataset.value);
  return cell.dataset.value !== undefined && !Number.isNaN(number) ? number : cell.textContent;
};
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, two) => {
        const a = value(one.cells[column]), b = value(two.cells[column]);
        return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
document.querySelector("input[type=search]").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll("tbody tr")) {
    const text = (row.textContent + " " + [...row.querySelectorAll("[title]")].map(e => e.title).join(" ")).toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
  }
});
