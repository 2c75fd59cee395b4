// The charts: those in view are drawn first, one at a time, and again when the choice of rows changes.
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 600px)");
const DASHES = { fwd: "solid", bwd: "dot", fwdbwd: "dash", decode: "dashdot" };
const SOURCE_DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const titles = new Map(data.looks.map((look) => [look.mechanism + "\n" + look.backend, look]));
const inView = new Set();
const stale = new Set(data.charts);
let library = null;
let waiting = false;

// Plotly reads some tags and entities in its labels; rows come from files that anyone may have written.
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const safe = (text) => String(text).replace(/[&<>]/g, (mark) => ESCAPES[mark]);
const digits = (value) => Number(value.toPrecision(4)).toString();
const hue = (look) => (dark.matches ? look.dark : look.colour);

function told(row, chart) {
  const at = `${columns.batch[row]} x ${data.lengths[columns.seq_len[row]]}, ${columns.pass[row]}`;
  const { title } = titles.get(columns.mechanism[row] + "\n" + columns.backend[row]);
  const within = attention(row) ? `${model(row)} with ${attention(row)}` : model(row);
  const parts = [`<b>${safe(within ? `${within}: ${title}` : title)}</b>`, safe(at)];
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

// Rows of one line. Without a sweep chosen they differ in their length alone.
function grouped() {
  const groups = new Map();
  const anySweep = byId("condition").value === "";
  for (const row of shown) {
    const series = anySweep ? columns.key[row].replace(/,t\d+,/, ",") : "";
    const name = [columns.mechanism[row], columns.backend[row], columns.source[row], columns.pass[row], model(row), attention(row), series].join("\n");
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  return [...groups.values()].sort((a, b) => place(a[0]) - place(b[0]));
}

// Models of one size share a chart; rows of operators, and of old files, have none.
const model = (row) => (columns.model && columns.model[row]) || "";
const attention = (row) => (columns.attention && columns.attention[row]) || "";

const place = (row) => data.looks.indexOf(titles.get(columns.mechanism[row] + "\n" + columns.backend[row]));

const failedIn = (rows, chart) => rows.filter((row) => chart.y[row] === null && data.told.includes(columns.verdict[row]));

// Backends with a failure, one line of the band at the foot each.
function failing(groups, chart) {
  return [...new Set(groups.filter((rows) => failedIn(rows, chart).length).map((rows) => data.looks[place(rows[0])]))];
}

function traces(chart, groups, failingLooks) {
  const made = [];
  const manyPasses = byId("pass").value === "";
  for (const rows of groups) {
    const [first] = rows;
    const look = data.looks[place(first)];
    const drawn = rows.filter((row) => chart.y[row] !== null).sort((a, b) => columns.seq_len[a] - columns.seq_len[b]);
    const dash = manyPasses ? DASHES[columns.pass[first]] : SOURCE_DASHES[data.sources.indexOf(columns.source[first]) % SOURCE_DASHES.length];
    if (drawn.length) made.push(line(chart, look, drawn, dash));
    const failed = failedIn(rows, chart);
    if (failed.length) made.push(crosses(chart, look, failed, failingLooks.indexOf(look)));
  }
  return made;
}

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

function crosses(chart, look, rows, number) {
  return {
    type: "scatter", mode: "markers", name: safe(look.title), customdata: rows, yaxis: "y2",
    x: rows.map((row) => columns.seq_len[row]), y: rows.map(() => number),
    marker: { color: hue(look), size: 8, symbol: "x-thin", line: { color: hue(look), width: 2 } },
    text: rows.map((row) => told(row, chart)), hovertemplate: "%{text}<extra></extra>",
  };
}

function layout(chart, numFailing) {
  const style = getComputedStyle(document.documentElement);
  const [ink, grid, panel] = ["--ink", "--line", "--panel"].map((name) => style.getPropertyValue(name).trim());
  const lengths = [...new Set(shown.map((row) => columns.seq_len[row]))].sort((a, b) => a - b);
  const room = Math.log(lengths.at(-1) / lengths[0]) / (narrow.matches ? 6 : 10);
  const ticks = [];
  for (const length of lengths.reverse()) {
    if (!ticks.length || Math.log(ticks[0] / length) >= 0.99 * room) ticks.unshift(length);
  }
  const band = numFailing ? Math.min(0.03 + 0.03 * numFailing, 0.4) : 0;
  return {
    showlegend: false, hovermode: "closest", font: { color: ink, size: 12 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 64, r: 10, t: 8, b: 44 },
    hoverlabel: { bgcolor: panel, bordercolor: grid, align: "left", font: { color: ink, size: 12 } },
    xaxis: { type: "log", title: { text: "length (tokens)" }, tickvals: ticks, ticktext: ticks.map((length) => data.lengths[length]), gridcolor: grid, zeroline: false, linecolor: grid, anchor: band ? "y2" : "y" },
    yaxis: { domain: [band ? band + 0.01 : 0, 1], type: "log", title: { text: chart.unit }, gridcolor: grid, zeroline: false, linecolor: grid, exponentformat: "SI" },
    yaxis2: { domain: [0, band], range: [-0.5, numFailing - 0.5], visible: false, fixedrange: true },
    shapes: band ? [{ type: "rect", xref: "paper", yref: "paper", x0: 0, x1: 1, y0: 0, y1: band, fillcolor: grid, opacity: 0.35, line: { width: 0 }, layer: "below" }] : [],
  };
}

function pick(event) {
  const row = event.points[0].customdata;
  byId("picked").hidden = false;
  byId("picked").textContent = columns.reproduce[row];
}

function draw(chart) {
  const place = byId("chart-" + chart.metric);
  const first = !place.data;
  const groups = grouped();
  const looks = failing(groups, chart);
  library.react(place, traces(chart, groups, looks), layout(chart, looks.length), { responsive: true, displaylogo: false, displayModeBar: false });
  if (first) place.on("plotly_click", pick);
  place.dataset.drawn = "yes";
}

// Between two charts the page answers, and those out of view wait until it has nothing else to do.
function drawNext() {
  const seen = data.charts.find((chart) => stale.has(chart) && inView.has(chart));
  const next = seen || data.charts.find((chart) => stale.has(chart));
  waiting = false;
  if (!library || !next) return;
  stale.delete(next);
  draw(next);
  later();
}

function later() {
  if (waiting) return;
  waiting = true;
  const unseen = ![...stale].some((chart) => inView.has(chart));
  if (unseen && window.requestIdleCallback) requestIdleCallback(drawNext, { timeout: 500 });
  else setTimeout(drawNext, 0);
}

function redraw() {
  for (const chart of data.charts) {
    stale.add(chart);
    delete byId("chart-" + chart.metric).dataset.drawn;
  }
  later();
}

async function unpack() {
  const letters = atob(byId("plotly").textContent);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  return window.Plotly;
}

function watchCharts() {
  const byPlace = new Map(data.charts.map((chart) => [byId("chart-" + chart.metric), chart]));
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) inView.add(byPlace.get(target)); else inView.delete(byPlace.get(target));
    }
    later();
  }, { rootMargin: "300px 0px" });
  byPlace.forEach((_, place) => observer.observe(place));
}
