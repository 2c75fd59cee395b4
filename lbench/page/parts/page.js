// The choice of rows, which charts and table share, and what the controls do.
const CHOICES = ["pass", "source", "dtype", "model"];

function fitting(rows) {
  const wanted = CHOICES.filter((name) => byId(name) && byId(name).value !== "").map((name) => [columns[name], byId(name).value]);
  return rows.filter((row) => wanted.every(([column, value]) => String(column[row]) === value));
}

// Sweeps without a row that fits the other choices are not on offer.
function offer() {
  const picker = byId("condition");
  for (const option of picker.options) {
    option.disabled = option.value !== "" && !fitting(data.conditions[Number(option.value)].rows).length;
  }
  if (picker.selectedOptions[0].disabled) picker.value = [...picker.options].find((option) => !option.disabled).value;
}

function chosen() {
  const at = byId("condition").value;
  const names = new Set([...document.querySelectorAll("input.backend:checked")]
    .map((box) => box.dataset.mechanism + "\n" + box.value));
  const rows = fitting(at === "" ? everything : data.conditions[Number(at)].rows);
  return rows.filter((row) => names.has(columns.mechanism[row] + "\n" + columns.backend[row]));
}

function update() {
  offer();
  shown = chosen();
  showRows();
  redraw();
}

function listen() {
  for (const id of ["condition", ...CHOICES]) {
    if (byId(id)) byId(id).addEventListener("change", update);
  }
  document.querySelectorAll("input.mechanism").forEach((box) => box.addEventListener("change", () => {
    document.querySelectorAll("input.backend").forEach((one) => {
      if (one.dataset.mechanism === box.value) one.checked = box.checked;
    });
    update();
  }));
  document.querySelectorAll("input.backend").forEach((box) => box.addEventListener("change", update));
  document.querySelectorAll("#table th").forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sortBy(head, head.dataset.column));
    head.replaceChildren(button);
  });
  byId("all").addEventListener("click", () => { everyRow = true; showRows(); });
  byId("csv").addEventListener("click", () => save("rows.csv", "text/csv", toCsv()));
  byId("json").addEventListener("click", () => save("rows.json", "application/json", toJson()));
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
}

document.documentElement.classList.add("js");
listen();
update();
watchCharts();
document.documentElement.dataset.ready = "yes";
// Plotly is large: it is made ready once the page stands and answers.
setTimeout(() => unpack().then((plotly) => { library = plotly; later(); }).catch((error) => {
  const told = document.querySelector(".without");
  told.textContent = `This browser cannot draw the charts (${error}); every value is in the table of rows below.`;
  told.style.display = "block";
}), 0);
