// The table of rows: which are shown, in what order, and what is saved of them.
const LIMIT = 200; // rows laid out at once, unless all are asked for

function showRows() {
  const wanted = new Set(shown);
  let visible = 0;
  for (const row of order) {
    const fits = wanted.has(row) && (everyRow || visible < LIMIT);
    lines[row].hidden = !fits;
    if (fits) visible += 1;
  }
  const left = shown.length - visible;
  byId("shown").textContent = `${shown.length} of ${count} rows chosen${left ? `, the first ${visible} shown` : ""}.`;
  byId("all").hidden = !left;
}

function sortBy(head, name) {
  const falls = head.getAttribute("aria-sort") === "ascending";
  document.querySelectorAll("#table th").forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const text = (row) => [columns.doubts[row], columns.reason[row]].filter(Boolean).join("; ");
  const value = name === "doubts" ? text : (row) => columns[name][row];
  const missing = (one) => one === null || one === undefined || one === "";
  const collator = new Intl.Collator("en");
  order.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b;
    const way = typeof x === "number" ? x - y : collator.compare(String(x), String(y));
    return (falls ? -way : way) || a - b;
  });
  showRows();
  document.querySelector("#table tbody").append(...order.map((row) => lines[row]));
}

function save(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function toCsv() {
  const quote = (value) => {
    const text = value === null ? "" : value === true ? "True" : value === false ? "False" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  const names = Object.keys(columns);
  return [names, ...shown.map((row) => names.map((name) => columns[name][row]))]
    .map((cells) => cells.map(quote).join(",")).join("\n") + "\n";
}

function toJson() {
  const names = Object.keys(columns);
  return JSON.stringify(shown.map((row) => Object.fromEntries(names.map((name) => [name, columns[name][row]]))), null, 1);
}
