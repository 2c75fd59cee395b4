// The rows, by column, and what of them is chosen.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const columns = {};
for (const [name, packed] of Object.entries(data.columns)) {
  columns[name] = packed.at ? packed.at.map((index) => packed.values[index]) : packed.values;
}
const count = columns.key.length;
const lines = [...document.querySelectorAll("#table tbody tr")];
const everything = lines.map((_, row) => row);
const order = everything.slice();
let shown = everything.slice();
let everyRow = false;
