"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const columns = {};
  for (const [name, packed] of Object.entries(data.columns)) {
    columns[name] = packed.at ? packed.at.map((index) => packed.values[index]) : packed.values;
  }
  const count = columns.key.length;
  const lines = [...document.querySelectorAll("#table tbody tr")];
  const everything = lines.map((_, row) => row);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 600px)");
  const DASHES = { fwd: "solid", bwd: "dot", fwdbwd: "dash", decode: "dashdot" };
  const SOURCE_DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  let order = everything.slice();
  let shown = everything.slice();
  let library = null;

  // Plotly reads some tags and entities in its labels; rows come from files that anyone may have written.
  const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const safe = (text) => String(text).replace(/[&<>]/g, (mark) => ESCAPES[mark]);

  function chosen() {
    const at = byId("condition").value;
    const pass = byId("pass").value;
    const source = byId("source") ? byId("source").value : "";
    const names = new Set([...document.querySelectorAll("input.backend:checked")]
      .map((box) => box.dataset.mechanism + "\n" + box.value));
    const rows = at === "" ? everything : data.conditions[Number(at)].rows;
    return rows.filter((row) => (pass === "" || columns.pass[row] === pass)
      && (source === "" || columns.source[row] === source)
      && names.has(columns.mechanism[row] + "\n" + columns.backend[row]));
  }

  function showRows() {
    const wanted = new Set(shown);
    lines.forEach((line, row) => { line.hidden = !wanted.has(row); });
    byId("shown").textContent = `${shown.length} of ${count} rows shown.`;
  }

  function sortBy(head, name) {
    const falls = head.getAttribute("aria-sort") === "ascending";
    document.querySelectorAll("#table th").forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const text = (row) => [columns.doubts[row], columns.reason[row]].filter(Boolean).join("; ");
    const value = name === "doubts" ? text : (row) => columns[name][row];
    const missing = (one) => one === null || one === undefined || one === "";
    order.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b;
      const way = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
      return (falls ? -way : way) || a - b;
    });
    document.querySelector("#table tbody").append(...order.map((row) => lines[row]));
  }

  const digits = (value) => Number(value.toPrecision(4)).toString();

  function told(row, chart) {
    const at = `${columns.batch[row]} x ${data.lengths[columns.seq_len[row]]}, ${columns.pass[row]}`;
    const parts = [`<b>${safe(titles.get(columns.mechanism[row] + "\n" + columns.backend[row]).title)}</b>`, safe(at)];
    if (data.sources.length > 1) parts.push(safe(columns.source[row]));
    if (chart.y[row] !== null) {
      const span = chart.low[row] === chart.high[row] ? "" : ` [${digits(chart.low[row])}, ${digits(chart.high[row])}]`;
      parts.push(safe(`${digits(chart.y[row])} ${chart.unit}${span}`));
    }
    const ended = [columns.verdict[row], columns.doubts[row], columns.reason[row]].filter(Boolean).join("; ");
    for (const text of [ended, columns.reproduce[row]]) {
      const pieces = text.length > 320 ? [text.slice(0, 320) + "…"] : [text];
      parts.push(...pieces.flatMap((piece) => piece.match(/.{1,64}/gs) || []).map(safe));
    }
    return parts.join("<br>");
  }

  const titles = new Map(data.looks.map((look) => [look.mechanism + "\n" + look.backend, look]));

  function traces(chart) {
    const made = [];
    const manyPasses = byId("pass").value === "";
    for (const look of data.looks) {
      const mine = shown.filter((row) => columns.backend[row] === look.backend && columns.mechanism[row] === look.mechanism);
      const groups = grouped(mine);
      for (const [group, rows] of groups) {
        const [source, pass] = group.split("\n");
        const drawn = rows.filter((row) => chart.y[row] !== null).sort((a, b) => columns.seq_len[a] - columns.seq_len[b]);
        const dash = manyPasses ? DASHES[pass] : SOURCE_DASHES[data.sources.indexOf(source) % SOURCE_DASHES.length];
        if (drawn.length) made.push(line(chart, look, drawn, dash));
        const failed = rows.filter((row) => chart.y[row] === null && data.told.includes(columns.verdict[row]));
        if (failed.length) made.push(crosses(chart, look, failed));
      }
    }
    return made;
  }

  // Without a sweep chosen, rows of one line differ in their length alone.
  const groupOf = (row) => {
    const series = byId("condition").value === "" ? columns.key[row].replace(/,t\d+,/, ",") : "";
    return [columns.source[row], columns.pass[row], series].join("\n");
  };

  function grouped(rows) {
    const groups = new Map();
    for (const row of rows) {
      const name = groupOf(row);
      groups.set(name, [...(groups.get(name) || []), row]);
    }
    return groups;
  }

  const hue = (look) => (dark.matches ? look.dark : look.colour);

  function line(chart, look, rows, dash) {
    const y = rows.map((row) => chart.y[row]);
    const up = rows.map((row) => Math.max(chart.high[row] - chart.y[row], 0));
    const down = rows.map((row) => Math.max(chart.y[row] - chart.low[row], 0));
    return {
      type: "scatter", mode: "lines+markers", name: safe(look.title), customdata: rows,
      x: rows.map((row) => columns.seq_len[row]), y,
      error_y: { type: "data", symmetric: false, array: up, arrayminus: down, thickness: 1, width: 2, visible: [...up, ...down].some((size) => size > 0) },
      line: { color: hue(look), width: look.ours ? 2.6 : 1.4, dash },
      marker: { color: hue(look), size: look.ours ? 8 : 7, symbol: rows.map((row) => look.symbol + (columns.doubts[row] ? "-open" : "")) },
      text: rows.map((row) => told(row, chart)), hovertemplate: "%{text}<extra></extra>",
    };
  }

  function crosses(chart, look, rows) {
    const place = 0.01 + 0.018 * (data.looks.indexOf(look) % 8);
    return {
      type: "scatter", mode: "markers", name: safe(look.title), customdata: rows, yaxis: "y2",
      x: rows.map((row) => columns.seq_len[row]), y: rows.map(() => place),
      marker: { color: hue(look), size: 8, symbol: "x-thin", line: { color: hue(look), width: 2 } },
      text: rows.map((row) => told(row, chart)), hovertemplate: "%{text}<extra></extra>",
    };
  }

  function layout(chart) {
    const style = getComputedStyle(document.documentElement);
    const [ink, grid, panel] = ["--ink", "--line", "--panel"].map((name) => style.getPropertyValue(name).trim());
    const lengths = [...new Set(shown.map((row) => columns.seq_len[row]))].sort((a, b) => a - b);
    const step = Math.ceil(lengths.length / (narrow.matches ? 6 : 10));
    const ticks = lengths.filter((_, index) => (lengths.length - 1 - index) % step === 0);
    return {
      showlegend: false, hovermode: "closest", font: { color: ink, size: 12 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 64, r: 10, t: 8, b: 44 },
      hoverlabel: { bgcolor: panel, bordercolor: grid, align: "left", font: { color: ink, size: 12 } },
      xaxis: { type: "log", title: { text: "length (tokens)" }, tickvals: ticks, ticktext: ticks.map((length) => data.lengths[length]), gridcolor: grid, zeroline: false, linecolor: grid },
      yaxis: { type: "log", title: { text: chart.unit }, gridcolor: grid, zeroline: false, linecolor: grid, dtick: undefined, exponentformat: "SI", automargin: true },
      yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    };
  }

  function pick(event) {
    const row = event.points[0].customdata;
    byId("picked").hidden = false;
    byId("picked").textContent = columns.reproduce[row];
  }

  function draw() {
    if (!library) return;
    for (const chart of data.charts) {
      const place = byId("chart-" + chart.metric);
      const first = !place.data;
      library.react(place, traces(chart), layout(chart), { responsive: true, displaylogo: false, displayModeBar: false });
      if (first) place.on("plotly_click", pick);
    }
  }

  function update() {
    shown = chosen();
    showRows();
    draw();
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

  async function unpack() {
    const bytes = Uint8Array.from(atob(byId("plotly").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.Plotly;
  }

  function listen() {
    for (const id of ["condition", "pass", "source"]) {
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
    byId("csv").addEventListener("click", () => save("rows.csv", "text/csv", toCsv()));
    byId("json").addEventListener("click", () => save("rows.json", "application/json", toJson()));
    document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    dark.addEventListener("change", draw);
    narrow.addEventListener("change", draw);
  }

  document.documentElement.classList.add("js");
  listen();
  update();
  unpack().then((plotly) => { library = plotly; draw(); document.documentElement.dataset.drawn = "yes"; }).catch((error) => {
    const told = document.querySelector(".without");
    told.textContent = `This browser cannot draw the charts (${error}); every value is in the table of rows below.`;
    told.style.display = "block";
  });
})();
