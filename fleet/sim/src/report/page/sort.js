"use strict";
// Sorts a table by the column whose head is pressed: figures by their value, text by its letters, what is missing last.

for (const table of document.querySelectorAll("table.sorted")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const text = head.classList.contains("text");
      const was = head.getAttribute("aria-sort");
      // Figures from the highest down first, text from its first letter on.
      const up = was ? was === "descending" : text;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const cell = row.cells[column];
        return text ? cell.textContent : cell.dataset.value === undefined ? null : Number(cell.dataset.value);
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        const order = text ? a.localeCompare(b, "en", { numeric: true }) : a - b;
        return up ? order : -order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
