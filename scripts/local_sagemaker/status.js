"use strict";
const at = (id) => document.getElementById(id);
const TITLES = {
  TrainingJob: "Training jobs", HyperParameterTuningJob: "Tuning jobs", TransformJob: "Transform jobs", Endpoint: "Endpoints",
};
const EVERY = 2000;   // milliseconds
let known = {};       // what /local/status has said last
let shown = "";       // its text
let chosen = "";      // "kind/name"

function make(tag, text, ...classes) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes.filter(Boolean));
  return made;
}

function drawn(values) {
  return Object.entries(values ?? {}).map(([name, value]) => `${name} ${short(value)}`).join(", ");
}

function short(value) {
  const number = Number(value);
  return value === "" || Number.isNaN(number) || Number.isInteger(number) ? String(value) : String(Number(number.toPrecision(4)));
}

function row(kind, one) {
  const made = make("button");
  made.type = "button";
  made.dataset.key = `${kind}/${one.name}`;
  made.append(make("b", one.name), make("span", one.phase || one.status, "status", one.status));
  const note = one.Tuned ? drawn(one.Tuned) : drawn(one.TrainingJobStatusCounters);
  if (note) made.append(make("small", note));
  made.setAttribute("aria-current", String(made.dataset.key === chosen));
  return made;
}

function list(kind) {
  const card = make("section", undefined, "card"), rows = make("div", undefined, "rows");
  rows.append(...known[kind].map((one) => row(kind, one)));
  card.append(make("h2", TITLES[kind]), known[kind].length ? rows : make("p", "none yet", "note"));
  return card;
}

function lists() {
  const focused = document.activeElement?.dataset?.key;
  at("lists").replaceChildren(...Object.keys(TITLES).map(list));
  if (focused) at("lists").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function facts(values) {
  const items = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
  at("facts").replaceChildren(...items.map(([name, value]) => {
    const item = make("div");
    item.append(make("dt", name), make("dd", short(value)));
    return item;
  }));
}

function svg(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function chart(title, lines) {
  const all = lines.flatMap(([, values]) => values), low = Math.min(...all), high = Math.max(...all);
  const width = 300, height = 110, left = 38, span = high - low || 1;
  const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img"});
  picture.append(svg("rect", {class: "frame", x: left, y: 4, width: width - left - 4, height: height - 8}));
  picture.append(svg("text", {x: left - 4, y: 12, "text-anchor": "end"}, short(high)));
  picture.append(svg("text", {x: left - 4, y: height - 5, "text-anchor": "end"}, short(low)));
  const caption = make("figcaption");
  caption.append(make("b", title));
  lines.forEach(([name, values], place) => {
    const x = (step) => left + 4 + step / (values.length - 1) * (width - left - 12);
    const y = (value) => height - 8 - (value - low) / span * (height - 16);
    const points = values.map((value, step) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    picture.append(svg("polyline", {class: `line${place}`, points}));
    caption.append(make("span", `${name} ${short(values.at(-1))}`.trim(), `name${place}`));
  });
  picture.setAttribute("aria-label", caption.textContent);
  const figure = make("figure");
  figure.append(caption, picture);
  return figure;
}

function charts(metrics) {
  const groups = {};
  for (const [name, rows] of Object.entries(metrics)) {
    if (rows.length < 2) continue;
    const [, split, quantity] = name.match(/^(train|val)_(.+)$/) ?? [null, "", name];
    (groups[quantity] ??= []).push([split, rows.map(([, value]) => value)]);
  }
  at("charts").replaceChildren(...Object.entries(groups).map(([title, lines]) => chart(title, lines.slice(0, 2))));
}

async function more(kind, one) {
  const key = chosen;
  const answer = await (await fetch(`local/job/${kind}/${encodeURIComponent(one.name)}`)).json();
  if (chosen !== key || !answer.logs) return;   // it may be deleted meanwhile
  if (kind === "TrainingJob") training(one, answer.metrics);
  logs(Object.entries(answer.logs));
}

function training(one, metrics) {
  charts(metrics);
  const once = Object.entries(metrics).filter(([, rows]) => rows.length === 1);
  const measured = Object.fromEntries(once.map(([name, rows]) => [name, rows[0][1]]));
  facts({status: one.phase || one.status, seconds: one.TrainingTimeInSeconds, ...measured, ...one.HyperParameters});
}

function logs(parts) {
  const titled = parts.map(([title, text]) => parts.length > 1 ? `${title}:\n${text}` : text).join("\n");
  const log = at("log"), follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  if (log.textContent !== titled) log.textContent = titled;
  at("said").hidden = !titled;
  if (follows) log.scrollTop = log.scrollHeight;
}

function select(key) {
  if (key !== chosen) {
    for (const id of ["charts", "bars", "facts"]) at(id).replaceChildren();
    for (const id of ["said", "refused"]) at(id).hidden = true;
    at("file").value = "";
  }
  chosen = key;
  history.replaceState(null, "", `#${encodeURIComponent(key)}`);
  lists();
  if (matchMedia("(max-width: 56rem)").matches) at("detail").scrollIntoView();
  return detail();
}

async function detail() {
  const [kind, name] = [chosen.slice(0, chosen.indexOf("/")), chosen.slice(chosen.indexOf("/") + 1)];
  const one = known[kind]?.find((each) => each.name === name);
  at("hint").hidden = Boolean(one);
  at("title").hidden = !one;
  at("try").hidden = !(kind === "Endpoint" && ["InService", "Updating"].includes(one?.status));
  at("failure").hidden = !one?.FailureReason;
  if (!one) return;
  at("title").textContent = name;
  at("failure").textContent = one.FailureReason ?? "";
  at("target").hidden = !one.many;
  if (kind === "TrainingJob") return more(kind, one);
  const best = one.BestTrainingJob;
  facts({
    status: one.status, configuration: one.EndpointConfigName, model: one.ModelName, best: best?.TrainingJobName,
    objective: best?.FinalHyperParameterTuningJobObjectiveMetric?.Value, ...best?.TunedHyperParameters,
  });
  return more(kind, one);
}

function bar(label, share) {
  const item = make("li"), track = make("div"), fill = make("i");
  track.setAttribute("aria-hidden", "true");
  fill.style.width = `${share * 100}%`;
  track.append(fill);
  item.append(make("b", label), make("span", `${(share * 100).toFixed(1)} %`), track);
  return item;
}

async function ask(file) {
  const key = chosen, name = chosen.slice(chosen.indexOf("/") + 1);
  const headers = {"Content-Type": "application/octet-stream", "Accept": "application/json"};
  if (!at("target").hidden) headers["X-Amzn-SageMaker-Target-Model"] = at("model").value.trim();
  const response = await fetch(`endpoints/${encodeURIComponent(name)}/invocations`, {method: "POST", body: file, headers});
  const text = await response.text();
  if (chosen !== key) return;
  at("bars").replaceChildren();
  at("refused").hidden = response.ok;
  if (!response.ok) at("refused").textContent = JSON.parse(text).message;
  else {
    const answer = JSON.parse(text);
    if (answer.topk_labels) at("bars").append(...answer.topk_labels.map((label, place) => bar(label, answer.topk_probs[place])));
    else at("bars").append(make("li", text.slice(0, 2000)));
  }
}

async function look() {
  try {
    const text = await (await fetch("local/status")).text();
    known = JSON.parse(text);
    if (text !== shown) lists();
    shown = text;
    await detail();
    at("connection").textContent = `The API answers at ${location.origin}.`;
  } catch {
    at("connection").textContent = "local_sagemaker does not answer; start it again with make local-sagemaker.";
  }
  setTimeout(look, EVERY);
}

at("lists").addEventListener("click", (event) => {
  const key = event.target.closest("button")?.dataset.key;
  if (key) select(key);
});
at("file").addEventListener("change", (event) => {
  if (event.target.files[0]) ask(event.target.files[0]);
});
chosen = decodeURIComponent(location.hash.slice(1));
look();
