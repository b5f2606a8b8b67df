// The page of the service. Text of users and items is only ever set as text, never as HTML.
"use strict";

const at = (id) => document.getElementById(id);
const COLOURS = 8;
const PAUSE = 120; // milliseconds without a key before the items are searched

let about = null;
let chosen = []; // [{item, title}]
let turn = 0; // of the last question; older answers are dropped

/* ---------- small helpers ---------- */

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else if (name === "colour") element.style.setProperty("--colour", `var(--s${value % COLOURS})`);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const fill = (element, ...children) => element.replaceChildren(...children.filter(Boolean));
const titled = (row) => (row.title ? row.title : String(row.item));
const listed = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);
const shown = (number) => (number === null ? "–" : number.toPrecision(4));

class Refused extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.fix = error.type === "unknown_user" ? "For somebody who is not in the log, choose: after some items." : error.fix;
  }
}

async function call(path, body) {
  const headers = { Accept: "application/json" };
  const key = at("key").value;
  if (key) headers["X-API-Key"] = key;
  if (body) headers["Content-Type"] = "application/json";
  let reply;
  try {
    reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Refused(0, { message: "the service does not answer", fix: "is it still running?" });
  }
  const told = await reply.json().catch(() => ({}));
  if (reply.ok) return told;
  throw new Refused(reply.status, told.error || { message: `status ${reply.status}`, fix: "" });
}

/* ---------- what is served ---------- */

async function introduce() {
  try {
    about = await call("/about");
  } catch (error) {
    if (error.status === 401) at("of-key").hidden = false;
    at("served").textContent = error.status === 401 ? "needs a key" : error.message;
    return false;
  }
  const { served, users, items } = about;
  at("of-key").hidden = at("key").value === "";
  at("served").textContent =
    `${served.model}, ${served.kind} ${served.version} · ` +
    `${users.toLocaleString("en")} users · ${items.toLocaleString("en")} items`;
  hints(at("some-users"), about.some_users, (user) => String(user), (user) => { at("user").value = user; ask(); });
  hints(at("some-items"), about.some_items, titled, choose);
  at("seen").checked = !about.mask_seen;
  document.querySelector("[name=mode][value=items]").disabled = !about.histories;
  return true;
}

function hints(place, some, text, use) {
  const buttons = some.map((one) => make("button", { type: "button", on: { click: () => use(one) } }, text(one)));
  fill(place, buttons.length ? "such as " : "", ...buttons);
}

/* ---------- choosing items ---------- */

function choose(row) {
  if (mode() === "similar") chosen = [row];
  else chosen.push(row);
  at("item").value = "";
  close();
  showChosen();
  at("item").focus();
}

function showChosen() {
  fill(at("chosen"), ...chosen.map((row, place) => {
    const remove = () => { chosen.splice(place, 1); showChosen(); at("item").focus(); };
    return make("li", {},
      make("span", {}, titled(row)),
      make("button", { type: "button", "aria-label": `Remove ${titled(row)}`, on: { click: remove } }, "×"));
  }));
}

let timer = 0;
let searches = 0;

function search() {
  clearTimeout(timer);
  const text = at("item").value.trim();
  if (!text) return close();
  timer = setTimeout(async () => {
    const own = ++searches;
    const found = await call(`/items?limit=8&q=${encodeURIComponent(text)}`).catch(() => null);
    if (own === searches && found && at("item").value.trim() === text) open(found.items);
  }, PAUSE);
}

function open(rows) {
  const options = rows.map((row, number) => {
    const option = make("li", { role: "option", id: `option-${number}`, "aria-selected": "false" },
      titled(row), row.title ? make("span", { class: "id" }, ` ${row.item}`) : null);
    option.row = row;
    option.addEventListener("mousedown", (event) => { event.preventDefault(); choose(row); });
    return option;
  });
  if (!options.length) options.push(make("li", { class: "none" }, "No item has this in its title or id."));
  fill(at("found"), ...options);
  at("found").hidden = false;
  at("item").setAttribute("aria-expanded", "true");
}

function close() {
  clearTimeout(timer);
  searches += 1;
  at("found").hidden = true;
  fill(at("found"));
  at("item").setAttribute("aria-expanded", "false");
  at("item").removeAttribute("aria-activedescendant");
}

function move(event) {
  const options = [...at("found").querySelectorAll("[role=option]")];
  const now = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  const isOpen = !at("found").hidden && options.length > 0;
  if (event.key === "Escape") close();
  else if (event.key === "Backspace" && !at("item").value && chosen.length) { chosen.pop(); showChosen(); }
  else if (event.key === "Enter" && isOpen) { event.preventDefault(); choose(options[Math.max(now, 0)].row); }
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && isOpen) {
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    const next = (now + step + options.length) % options.length;
    options.forEach((option, number) => option.setAttribute("aria-selected", String(number === next)));
    options[next].scrollIntoView({ block: "nearest" });
    at("item").setAttribute("aria-activedescendant", options[next].id);
  }
}

/* ---------- asking ---------- */

const mode = () => document.querySelector("[name=mode]:checked").value;

function switchMode() {
  const now = mode();
  at("of-user").hidden = now !== "user";
  at("of-items").hidden = now === "user";
  at("of-seen").hidden = now === "similar";
  at("item-label").textContent = now === "similar" ? "Item" : "Items, oldest first";
  if (now === "similar" && chosen.length > 1) { chosen = chosen.slice(-1); showChosen(); }
}

function rules() {
  const given = {};
  if (at("where").value.trim()) given.where = at("where").value.trim();
  if (listed(at("block").value).length) given.block = listed(at("block").value);
  if (listed(at("pinned").value).length) given.pinned = listed(at("pinned").value);
  return Object.keys(given).length ? { rules: given } : {};
}

function question() {
  const size = { k: Math.min(100, Math.max(1, Math.round(Number(at("k").value)) || 10)), ...rules() };
  const items = chosen.map((row) => row.item);
  if (mode() === "similar") return items.length ? ["/similar", { items, ...size }] : null;
  const people = mode() === "user" ? { users: [at("user").value.trim()] } : { histories: { "these items": items } };
  if (mode() === "user" ? !people.users[0] : !items.length) return null;
  const seen = { mask_seen: !at("seen").checked };
  const why = about && about.interests ? { why: true } : {};
  return ["/recommend", { ...people, ...size, ...seen, ...why, history: 20 }];
}

async function ask() {
  const own = ++turn;
  if (!about && !(await introduce())) return tell(make("p", { class: "error" }, "Give the key of the service."));
  const asked = question();
  if (!asked) return tell(make("p", { class: "muted" }, mode() === "user" ? "Type a user." : "Choose an item."));
  remember();
  const button = document.querySelector("button[type=submit]");
  button.disabled = true;
  at("answer").setAttribute("aria-busy", "true");
  try {
    const [path, body] = asked;
    const reply = await call(path, body);
    const interests = body.why ? await call("/interests", { ...only(body), items: 5 }) : null;
    if (own !== turn) return;
    tell(...answer(reply, interests));
    scroll();
  } catch (error) {
    if (own !== turn) return;
    if (error.status === 401) at("of-key").hidden = false;
    tell(refusal(error));
  } finally {
    if (own === turn) { button.disabled = false; at("answer").removeAttribute("aria-busy"); }
  }
}

function scroll() {
  if (matchMedia("(max-width: 46rem)").matches) at("answer").scrollIntoView({ block: "start" });
}

const only = ({ users, histories, mask_seen }) => (users ? { users, mask_seen } : { histories, mask_seen });

function tell(...children) {
  fill(at("answer"), ...children);
}

function refusal(error) {
  return make("div", { class: "error", role: "alert" },
    make("strong", {}, error.message || "something went wrong"),
    error.fix ? make("p", {}, error.fix) : null);
}

/* ---------- answers ---------- */

function answer(reply, interests) {
  const [list] = reply.lists;
  if (!list) return notes(reply);
  const about = list.similar_to !== undefined ? `Similar to ${titled(chosen[0])}` : "Recommended";
  const whom = mode() === "user" ? ` to ${list.user}` : mode() === "items" ? " after these items" : "";
  const parts = [make("h2", {}, about + whom)];
  if (list.history && list.history.length && mode() === "user") {
    parts.push(make("p", { class: "had" }, `Last had: ${list.history.map(titled).join(", ")}`));
  }
  parts.push(...notes(reply));
  if (!list.items.length) parts.push(make("p", {}, "Nothing is left to recommend."));
  else parts.push(ranked(list.items));
  if (interests && interests.users.length) parts.push(...cards(interests.users[0].interests));
  return parts;
}

const notes = (reply) => (reply.notes || []).map((note) => make("p", { class: "note" }, note));

function ranked(rows) {
  const scores = rows.map((row) => row.score);
  // Lengths begin at 0, unless scores are below it, as distances are: then at the least of them.
  const least = Math.min(0, ...scores), span = Math.max(...scores) - least || 1;
  return make("ol", { class: "list" }, ...rows.map((row) => {
    const bar = make("i");
    bar.style.width = `${(100 * (row.score - least)) / span}%`;
    const colour = row.interest === undefined || row.interest === null ? {} : { colour: row.interest };
    return make("li", colour,
      make("span", { class: "rank" }, String(row.rank)),
      make("span", { class: "title" },
        titled(row), row.title ? make("span", { class: "id" }, ` ${row.item}`) : null,
        make("span", { class: "why" }, why(row),
          make("button", { type: "button", class: "link", on: { click: () => alike(row) } }, "similar"))),
      make("span", { class: "score" }, shown(row.score), make("span", { class: "bar", "aria-hidden": "true" }, bar)));
  }));
}

function why(row) {
  if (row.interest === undefined || row.interest === null) return null;
  const part = row.contribution === null || row.contribution === undefined
    ? `for interest ${row.interest + 1}`
    : `for interest ${row.interest + 1}, which adds ${shown(row.contribution)}`;
  return make("span", {}, make("span", { class: "dot", "aria-hidden": "true" }), part);
}

function cards(interests) {
  return [
    make("h3", {}, `Interests: what each of them ranks first${rules().rules ? ", without rules" : ""}`),
    make("div", { class: "cards" }, ...interests.map((one) =>
      make("div", { class: "card", colour: one.interest },
        make("strong", {}, `Interest ${one.interest + 1}` + (one.weight === null ? "" : ` · ${(100 * one.weight).toFixed(0)} %`)),
        make("ol", {}, ...one.items.map((item, place) => make("li", {}, (one.titles && one.titles[place]) || String(item))))))),
  ];
}

function alike(row) {
  document.querySelector("[name=mode][value=similar]").checked = true;
  chosen = [row];
  switchMode();
  showChosen();
  ask();
}

/* ---------- the address: what is asked can be kept as a link ---------- */

function remember() {
  const query = new URLSearchParams({ mode: mode(), k: at("k").value });
  if (mode() === "user") query.set("user", at("user").value.trim());
  else chosen.forEach((row) => query.append("item", row.item));
  if (at("where").value.trim()) query.set("where", at("where").value.trim());
  history.replaceState(null, "", `?${query}`);
}

async function recall() {
  const query = new URLSearchParams(location.search);
  const wanted = document.querySelector(`[name=mode][value="${CSS.escape(query.get("mode") || "user")}"]`);
  if (wanted) wanted.checked = true;
  if (query.get("user")) at("user").value = query.get("user");
  if (query.get("k")) at("k").value = query.get("k");
  if (query.get("where")) { at("where").value = query.get("where"); at("rules").open = true; }
  const ids = query.getAll("item").slice(0, 50);
  if (ids.length) {
    const asked = new URLSearchParams(ids.map((id) => ["id", id]));
    const { items } = await call(`/items?${asked}`).catch(() => ({ items: [] }));
    chosen = ids.map((id) => items.find((row) => String(row.item) === id) || { item: id });
  }
  showChosen();
  switchMode();
  if (query.get("user") || chosen.length) await ask();
}

/* ---------- begin ---------- */

at("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
at("item").addEventListener("input", search);
at("item").addEventListener("keydown", move);
at("item").addEventListener("blur", close);
at("key").addEventListener("change", () => { about = null; introduce(); });
document.querySelectorAll("[name=mode]").forEach((radio) => radio.addEventListener("change", switchMode));
switchMode();
introduce().then((known) => known && recall());
