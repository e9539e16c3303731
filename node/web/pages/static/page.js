// What the pages do beyond being read: they renew themselves, tell local time, and send an operator's commands.
// Everything shown is made by the server; nothing here builds HTML of what it was sent.

const SILENCE = 15_000; // without a message for so long, the node does not answer
const RETRY = 2_000;
const TOKEN = "dicom-fhir-node.token";

const byId = (id) => document.getElementById(id);
const all = (selector) => document.querySelectorAll(selector);

// ---- time: of the node where it is compared, of this machine's zone where it is shown

let ahead = Number(document.body.dataset.now) - Date.now();
const now = () => Date.now() + ahead;

const two = (number) => String(number).padStart(2, "0");

function local(time) {
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  if (time.toDateString() === new Date(now()).toDateString()) return clock;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock}`;
}

function duration(seconds) {
  for (const [bound, unit, lowerBound, lowerUnit] of [
    [86_400, "d", 3_600, "h"],
    [3_600, "h", 60, "min"],
    [60, "min", 1, "s"],
  ]) {
    if (seconds >= bound) {
      const lower = Math.floor((seconds % bound) / lowerBound);
      return `${Math.floor(seconds / bound)} ${unit}${lower ? ` ${lower} ${lowerUnit}` : ""}`;
    }
  }
  return `${Math.floor(seconds)} s`;
}

function ago(time) {
  const seconds = Math.max(0, (now() - time) / 1000);
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`;
  return local(time);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tellTimes() {
  for (const element of all("time[datetime]")) {
    const time = new Date(element.dateTime);
    setText(element, "ago" in element.dataset ? ago(time) : local(time));
    const title = `${local(time)}, ${element.dateTime.replace("T", " ").replace("Z", "")} UTC`;
    if (element.title !== title) element.title = title;
  }
  for (const bar of all("progress[data-deadline]")) {
    const left = (new Date(bar.dataset.deadline) - now()) / 1000;
    bar.value = Math.max(0, Math.min(bar.max, left));
    setText(bar.parentElement.querySelector(".left"), left > 0 ? `completes in ${duration(left)}` : "completes next");
  }
}

// ---- renewing: the fresh fragment's differences go into the one that stands, so that focus, what is unfolded,
// what is selected and where one has scrolled to stay

const alike = (one, other) =>
  one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset?.key : undefined);

const OWN = { DETAILS: "open", PROGRESS: "value" }; // set by people and by tellTimes, not by the server

function morphAttributes(old, fresh) {
  const own = OWN[old.nodeName];
  for (const { name } of [...old.attributes]) {
    if (name !== own && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== own && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.childNodes) {
    if (keyOf(child) !== undefined) keyed.set(keyOf(child), child);
  }
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const known = keyed.get(keyOf(child));
    if (known !== undefined && alike(known, child)) {
      if (known === place) place = place.nextSibling;
      else old.insertBefore(known, place);
      morph(known, child);
    } else if (place !== null && keyOf(child) === undefined && alike(place, child)) {
      const next = place.nextSibling;
      morph(place, child);
      place = next;
    } else {
      old.insertBefore(document.importNode(child, true), place);
    }
  }
  while (place !== null) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  morphAttributes(old, fresh);
  if (old.nodeName === "TIME" || old.className === "left") return; // their words are tellTimes', in the same task
  morphChildren(old, fresh);
}

function renew(fragments) {
  const focused = document.activeElement;
  for (const [name, html] of Object.entries(fragments)) {
    const target = document.querySelector(`[data-fragment="${CSS.escape(name)}"]`);
    if (target === null) continue;
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    morphChildren(target, fresh);
  }
  tellTimes();
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

// ---- live

let source = null;
let heard = 0; // when the last message came
let begun = 0; // when it was connected, or the last message came
let retry = 0;

function say(state, words) {
  const live = byId("live");
  live.dataset.state = state;
  setText(live, words);
}

function lost(words) {
  say("lost", heard ? `${words} since ${local(new Date(heard + ahead))}` : words);
}

function disconnect() {
  source?.close();
  source = null;
  clearTimeout(retry);
}

function connect() {
  const url = document.body.dataset.live;
  if (!url || document.hidden) return;
  disconnect();
  begun = Date.now();
  source = new EventSource(url);
  const mine = source;
  source.addEventListener("message", (event) => {
    const told = JSON.parse(event.data);
    heard = begun = Date.now();
    ahead = told.now - heard;
    if (told.fragments) renew(told.fragments);
    if (told.trouble) say("lost", `${told.trouble.error}. ${told.trouble.hint}`);
    else say("live", "live");
  });
  source.addEventListener("error", () => {
    if (mine === source) reconnect();
  });
}

// An EventSource does not tell why it ended
async function reconnect() {
  disconnect();
  retry = setTimeout(connect, RETRY);
  try {
    const answer = await fetch(document.body.dataset.live, { method: "HEAD" });
    if (answer.status === 503) lost("not renewed: too many pages are open; trying again,");
    else if (!answer.ok) lost("not renewed");
  } catch {
    lost("the node has not answered");
  }
}

function watch() {
  tellTimes();
  if (source !== null && Date.now() - begun > SILENCE) {
    lost("the node has not answered");
    connect();
  }
}

// ---- commands

let pressed = null; // the button whose question is open

function ask(button) {
  pressed = button;
  setText(byId("ask-title"), button.textContent);
  setText(byId("ask-text"), button.dataset.asks);
  setText(byId("ask-error"), "");
  const go = byId("ask-go");
  setText(go, button.textContent);
  go.classList.toggle("grave", button.classList.contains("grave"));
  byId("ask-token").hidden = true;
  byId("token").value = "";
  if (!byId("ask").open) byId("ask").showModal();
  byId("ask-cancel").focus();
}

// The same command can mean more by now, as when a second patient's object came into the study meanwhile
async function asksOtherwise(button, asked) {
  await refresh();
  const meant = [...all("button.action")].find((one) => one.dataset.url === button.dataset.url);
  if (meant === undefined || meant.dataset.asks === asked) return false;
  ask(meant);
  setText(byId("ask-error"), "This has changed meanwhile, and asks something else now.");
  return true;
}

async function send(button, token) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const body = "ids" in button.dataset ? { ids: JSON.parse(button.dataset.ids) } : {};
  const answer = await fetch(button.dataset.url, { method: "POST", headers, body: JSON.stringify(body) });
  return { answer, told: answer.ok ? null : await answer.json() };
}

function needsToken(given) {
  sessionStorage.removeItem(TOKEN);
  byId("ask-token").hidden = false;
  byId("token").focus();
  setText(byId("ask-error"), given ? "This is not the node's token." : "");
}

async function go() {
  const typed = byId("token").value.trim();
  const token = typed || sessionStorage.getItem(TOKEN);
  const button = pressed;
  byId("ask-go").disabled = true;
  try {
    if (await asksOtherwise(button, byId("ask-text").textContent)) return;
    const { answer, told } = await send(button, token);
    if (answer.status === 401) return void needsToken(token);
    if (!answer.ok) return void setText(byId("ask-error"), `${told.error}\n${told.hint}`);
    if (typed) sessionStorage.setItem(TOKEN, typed);
    byId("ask").close();
    setText(byId("said"), button.dataset.done);
    await refresh();
  } catch (error) {
    setText(byId("ask-error"), `The node does not answer: ${error.message}`);
  } finally {
    byId("ask-go").disabled = false;
  }
}

// The page anew, without waiting for the stream or when there is none
async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fragments = {};
  for (const part of fresh.querySelectorAll("[data-fragment]")) fragments[part.dataset.fragment] = part.innerHTML;
  renew(fragments);
  if (document.activeElement === document.body) byId("main").focus({ preventScroll: true });
}

// ---- start

document.documentElement.classList.add("scripted");
setText(byId("zone"), `Times are local (${Intl.DateTimeFormat().resolvedOptions().timeZone}); pointing at one tells UTC.`);
tellTimes();
connect();
setInterval(watch, 1_000);
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.action");
  if (button !== null) ask(button);
});
byId("ask-cancel").addEventListener("click", () => byId("ask").close());
byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  go();
});
