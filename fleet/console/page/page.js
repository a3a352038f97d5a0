"use strict";
// Draws what /events sends: one view of the fleet after the other, each whole.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const skill = (units) => (units / 1e4).toFixed(4);
const bytes = (n) => n < 1000 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(2)} MB`;
const ago = (s) => s === null ? "never" : s < 90 ? `${s} s ago` : s < 5400 ? `${Math.round(s / 60)} min ago` : `${Math.round(s / 3600)} h ago`;

let view = null;
let received = 0;

const events = new EventSource("events");
events.onopen = () => link(true);
events.onerror = () => link(false);
events.onmessage = (message) => {
  view = JSON.parse(message.data);
  received = Date.now();
  link(true);
  draw();
};
setInterval(() => view && clock(), 250);
addEventListener("resize", () => view && (chart(), utility()));
$("claimed").addEventListener("toggle", () => view && claims());

function link(up) {
  $("link").className = up ? "up" : "down";
  const heard = view && view.roster > 0 ? "live" : "nothing heard of this fleet yet";
  $("link").textContent = up ? (view && !view.connected ? "broker lost" : heard) : "console unreachable";
  if (view && !view.connected) $("link").className = "down";
}

function draw() {
  $("fleet").textContent = `${view.fleet} / ${view.region}`;
  $("rule").textContent = view.rule ? `rule: ${view.rule}` : "no swarm document";
  tile("best", view.best);
  tile("worst", view.worst);
  $("online").textContent = `${view.online} of ${view.roster}`;
  $("doing").textContent = Object.entries(view.doing).map(([name, n]) => `${n} ${name}`).join(", ");
  $("bytes").textContent = bytes(view.bytes_up + view.bytes_down);
  $("budget").textContent = `${bytes(view.bytes_up)} sent, ${bytes(view.bytes_down)} received`;
  clock();
  chart();
  claims();
  unelected();
  utility();
  campaign();
  rows();
  findings();
  refusals();
}

function tile(name, held) {
  $(`${name}-value`).textContent = held ? skill(held.value) : "–";
  $(`${name}-who`).textContent = held
    ? `${held.particle.slice(0, 8)}, ${held.role} of window ${held.window}${held.vehicle === null ? "" : `, vehicle ${held.vehicle}`}`
    : !view.utility || view.roster === 0 ? "" : name === "best" ? "the shipped model" : "none";
}

function clock() {
  const plan = view.plan;
  if (!plan) return;
  const now = view.now_s + (Date.now() - received) / 1000;
  if (now > plan.ends_s) {
    // Whatever the calendar would have: no vehicle opens a window any more.
    $("window").textContent = "no window opens";
    $("phase").textContent = `the plan ended on ${new Date(plan.ends_s * 1000).toISOString().slice(0, 10)}: shoal fleet plan DIR --renew signs the next`;
    $("hand").style.strokeDasharray = "0 120";
    return;
  }
  const since = now - plan.epoch_s;
  const number = Math.floor(since / plan.period_s);
  const into = since - number * plan.period_s;
  const open = since >= 0 && into < plan.open_s;
  const left = since < 0 ? -since : open ? plan.open_s - into : plan.period_s - into;
  $("window").textContent = since < 0 ? "before window 0" : `window ${number}`;
  $("phase").textContent = `${open ? "open, closes" : "closed, opens"} in ${left < 120 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`}`;
  const share = since < 0 ? 0 : into / plan.period_s;
  $("hand").style.strokeDasharray = `${(share * 119.4).toFixed(1)} 120`;
}

function chart() {
  const history = view.history;
  const box = $("chart");
  const wide = Math.max(320, box.clientWidth), high = 280;
  const pad = { left: 52, right: 14, top: 10, bottom: 30 };
  const values = history.flatMap((h) => [h.best, ...h.claims.map((c) => c.value)]).filter((v) => v !== null);
  if (values.length === 0) {
    box.textContent = "Nothing was claimed yet.";
    return;
  }
  const low = values.reduce((a, b) => Math.min(a, b)), top = values.reduce((a, b) => Math.max(a, b));
  const room = Math.max(20, (top - low) * 0.08);
  const [first, last] = [history[0].window, history[history.length - 1].window];
  const x = (w) => pad.left + (last === first ? 0.5 : (w - first) / (last - first)) * (wide - pad.left - pad.right);
  const y = (v) => high - pad.bottom - ((v - low + room) / (top - low + 2 * room)) * (high - pad.top - pad.bottom);
  const svg = node("svg", { viewBox: `0 0 ${wide} ${high}`, preserveAspectRatio: "none" });
  for (const tick of ticks(low - room, top + room)) {
    svg.append(node("line", { class: "grid", x1: pad.left, x2: wide - pad.right, y1: y(tick), y2: y(tick) }));
    svg.append(node("text", { x: pad.left - 8, y: y(tick) + 4, "text-anchor": "end" }, (tick / 1e4).toFixed(3)));
  }
  const every = Math.max(1, Math.ceil((last - first) / 12));
  for (let w = first; w <= last; w += every) {
    svg.append(node("text", { x: x(w), y: high - 8, "text-anchor": "middle" }, `${w}`));
  }
  for (const { window, claims } of history) {
    for (const claim of claims) {
      const dot = node("circle", { class: "claim", cx: x(window), cy: y(claim.value), r: 4 });
      dot.append(node("title", {}, `window ${window}, vehicle ${claim.vehicle} claims ${skill(claim.value)} for a ${claim.role}`));
      svg.append(dot);
    }
  }
  const bests = history.filter((h) => h.best !== null);
  if (bests.length) {
    const points = bests.map((h) => `${x(h.window)},${y(h.best)}`).join(" ");
    svg.append(node("polyline", { class: "best", points }));
    for (const h of bests) {
      const at = node("circle", { class: "at", cx: x(h.window), cy: y(h.best), r: 3.5 });
      at.append(node("title", {}, `window ${h.window}: best ${skill(h.best)}`));
      svg.append(at);
    }
  }
  box.replaceChildren(svg);
}

// The dots of the last windows as lines: nothing that the chart says is to be had by a mouse alone.
function claims() {
  const windows = view.history.filter((h) => h.claims.length > 0).slice(-5).reverse();
  $("claimed").hidden = windows.length === 0;
  if (!$("claimed").open) return;
  const of = (h) => h.claimed > h.claims.length ? `${h.window} (${h.claims.length} of ${h.claimed} claims)` : `${h.window}`;
  $("claims").replaceChildren(...windows.flatMap((h) => [...h.claims].sort((a, b) => b.value - a.value).map((claim, index) => {
    const line = document.createElement("tr");
    line.append(cell(index ? "" : of(h)), cell(`${claim.vehicle}`), cell(skill(claim.value)), cell(claim.role));
    return line;
  })));
}

function unelected() {
  const windows = view.history.filter((h) => h.why !== null).slice(-5).reverse();
  $("unelected").hidden = windows.length === 0;
  $("why").replaceChildren(...windows.map((h) => element("li", `window ${h.window}: ${h.why}`)));
}

// What counts: one term alone says nothing that the chart above does not say.
function utility() {
  const of = view.utility;
  $("utility").hidden = !of || of.terms.length < 2;
  if ($("utility").hidden) return;
  const box = $("shares");
  const wide = Math.max(320, box.clientWidth), high = 130;
  const pad = { left: 52, right: 14, top: 6, bottom: 26 };
  const [first, last] = [of.windows[0], of.windows[of.windows.length - 1]];
  const x = (w) => pad.left + ((w - first) / Math.max(1, last - first)) * (wide - pad.left - pad.right);
  const y = (share) => pad.top + (1 - share / 1000) * (high - pad.top - pad.bottom);
  const svg = node("svg", { viewBox: `0 0 ${wide} ${high}`, preserveAspectRatio: "none" });
  const below = of.windows.map(() => 0);
  of.terms.forEach((term, index) => {
    const low = of.windows.map((w, at) => `${x(w)},${y(below[at])}`);
    of.windows.forEach((_w, at) => below[at] += of.shares[at][index] || 0);
    const top = of.windows.map((w, at) => `${x(w)},${y(below[at])}`);
    const area = node("polygon", { class: `term-${index % 6}`, points: [...low, ...top.reverse()].join(" ") });
    area.append(node("title", {}, term.name));
    svg.append(area);
  });
  for (const share of [0, 500, 1000]) {
    svg.append(node("text", { x: pad.left - 8, y: y(share) + 4, "text-anchor": "end" }, `${share / 10} %`));
  }
  const every = Math.max(1, Math.ceil((last - first) / 12));
  for (let w = first; w <= last; w += every) {
    svg.append(node("text", { x: x(w), y: high - 6, "text-anchor": "middle" }, `${w}`));
  }
  const now = view.plan ? Math.floor((Math.min(view.now_s, view.plan.ends_s) - view.plan.epoch_s) / view.plan.period_s) : first;
  if (now >= first && now <= last) {
    svg.append(node("line", { class: "now", x1: x(now), x2: x(now), y1: pad.top, y2: high - pad.bottom }));
  }
  box.replaceChildren(svg);
  $("terms").replaceChildren(...of.terms.map((term, index) => {
    const line = document.createElement("li");
    const says = term.share || term.gate === null ? [`${(term.share / 10).toFixed(0)} %`] : [];
    if (term.gate !== null) says.push(`not below ${skill(term.gate)}`);
    line.append(element("i", "", `term-${index % 6}`), `${term.name}: ${says.join(", ")}`);
    return line;
  }));
}

function ticks(low, high) {
  const rough = (high - low) / 5;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= rough);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high; t += step) found.push(t);
  return found;
}

function rows() {
  const budget = view.plan || { up_bytes: 0, down_bytes: 0 };
  $("of-up").textContent = view.plan ? `sent, of ${bytes(budget.up_bytes)}` : "sent";
  $("of-down").textContent = view.plan ? `received, of ${bytes(budget.down_bytes)}` : "received";
  $("vehicles").replaceChildren(...view.vehicles.map((v) => {
    const chip = element("span", v.silent ? "silent" : v.activity || "not heard", `chip ${v.silent ? "silent" : v.activity || ""}`);
    const holds = v.aside_until === null ? [] : [element("span", `aside until window ${v.aside_until}`, "chip silent")];
    if (view.best && view.best.vehicle === v.number) holds.push(element("span", "holds best", "holder"));
    if (view.worst && view.worst.vehicle === v.number) holds.push(element("span", "holds worst", "holder worst"));
    const line = document.createElement("tr");
    line.append(
      cell(`${v.number}`), cell(element("code", v.id.slice(0, 8))), cell(chip, ...holds),
      cell(v.steps === null ? "–" : `${v.steps}`), cell(v.claim === null ? "–" : skill(v.claim)), cell(`${v.kept}`),
      cell(...bar(v.bytes_up, budget.up_bytes)), cell(...bar(v.bytes_down, budget.down_bytes)),
      cell(v.software === null ? "–" : v.software.replace(/^shoal-vehicle /, "")), cell(ago(v.heard_s)),
    );
    return line;
  }));
  const hidden = view.roster - view.vehicles.length;
  $("more").textContent = hidden > 0 ? `and ${hidden} more` : "";
}

function campaign() {
  const c = view.campaign;
  $("campaign").hidden = !c;
  if (!c) return;
  $("campaign-number").textContent = c.number;
  $("campaign-order").textContent = c.state;
  $("campaign-order").className = `chip ${c.halted !== null || c.order === "aborted" || c.order === "rolled back" ? "silent" : c.order === "runs" ? "exchanging" : "tuning"}`;
  const ends = new Date(c.approved_until_s * 1000);
  const until = Number.isNaN(ends.getTime()) ? "further notice" : ends.toISOString().slice(0, 10);
  $("campaign-what").textContent = `Particle ${c.particle.slice(0, 8)}. Vehicles may begin until ${until}; each watches it beside what it uses, and keeps it or goes back by itself.`;
  $("stages").replaceChildren(...c.stages.map((s, index) => {
    const state = c.halted === index ? "halted" : index < c.open ? "open" : "closed";
    const line = document.createElement("tr");
    line.append(
      cell(`${index}`), cell(`${(s.share / 10).toFixed(1)} %`), cell(`${s.vehicles}`),
      cell(...share(s.kept, s.vehicles, s.kept_min, "the next stage opens at")),
      cell(...share(s.gone_back, s.vehicles, s.gone_back_max, "the campaign halts above", true)),
      cell(element("span", state, `chip ${state === "halted" ? "silent" : state === "open" ? "exchanging" : ""}`)),
    );
    return line;
  }));
}

// Part of a stage's vehicles as a bar, with the mark that decides.
function share(part, all, mark, says, bad) {
  const frame = element("span", "", "bar marked");
  const fill = document.createElement("i");
  fill.style.width = `${all ? (100 * part) / all : 0}%`;
  if (bad && part * 1000 > all * mark) fill.className = "over";
  const at = document.createElement("b");
  at.style.left = `${mark / 10}%`;
  frame.title = `${says} ${mark / 10} %`;
  frame.append(fill, at);
  return [frame, `${part}`];
}

function findings() {
  $("standing").hidden = view.findings.length === 0;
  const gain = (units) => units === null ? "–" : `${units < 0 ? "−" : "+"}${skill(Math.abs(units))}`;
  $("findings").replaceChildren(...view.findings.map((f) => {
    const line = document.createElement("tr");
    if (!f.counts) line.className = "struck";
    line.append(
      cell(`${f.window}`), cell(f.vehicle === null ? "–" : `${f.vehicle}`), cell(f.fault), cell(element("code", f.particle.slice(0, 8))),
      cell(gain(f.said)), cell(gain(f.found)), cell(`${f.found_by} of ${f.of}`), cell(f.reinstated_from !== null ? `reinstated, window ${f.reinstated_from}` : f.counts && f.aside_until !== null ? `window ${f.aside_until}` : "–"),
    );
    return line;
  }));
}

function refusals() {
  $("refused").hidden = view.refusals.length === 0;
  $("refusals").replaceChildren(...view.refusals.map((r) => {
    const line = document.createElement("tr");
    const by = (one) => one.vehicle === null ? one.id ?? "–" : `vehicle ${one.vehicle}`;
    line.append(cell(`${r.window}`), cell(r.of.map(by).join(", ") || "–"), cell(by(r)), cell(r.why), cell(`${r.times}`));
    return line;
  }));
}

function bar(used, of) {
  const frame = element("span", "", "bar");
  const fill = document.createElement("i");
  fill.style.width = `${of ? Math.min(100, (100 * used) / of) : 0}%`;
  if (of && used > of) fill.className = "over";
  frame.append(fill);
  return [frame, bytes(used)];
}

function cell(...inside) {
  const td = document.createElement("td");
  td.append(...inside);
  return td;
}

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function node(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}
