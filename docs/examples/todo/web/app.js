// The page. State in, elements out: `show()` draws what is to be seen, and text only ever becomes text.

import { Refusal, bucket, collection, onSessionChange, session, signIn, signOut, signUp } from "./api.js";

const lists = collection("lists");
const todos = collection("todos");
const photos = bucket("photos");
const PHOTO_TYPES = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"];
const PAGE = 50;

const root = document.getElementById("app");
const notices = document.getElementById("notices");
const fresh = () => ({ lists: [], list: null, todos: [], cursor: null, only: "all", loading: true });
let state = fresh();
const pictures = new Map(); // path -> object URL

/** An element: `h("p", { class: "x", onclick: f }, "text", child)`. Strings become text nodes, never markup. */
function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else if (value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}
const CHECK = "m5 12.5 4.5 4.5L19 7.5";
const CROSS = "m7 7 10 10M17 7 7 17";
const PICTURE = "M4 5h16v14H4zM4 16l4.5-5 4 4 2.5-3 5 5M15.5 9.2v.1";

function notice(text) {
  const line = h("p", {}, text);
  notices.append(line);
  setTimeout(() => line.remove(), 6000);
}

/** Runs what a click started; whatever fails is told in words, and the page stays as it was. */
async function attempt(act) {
  try {
    return await act();
  } catch (error) {
    if (error instanceof Refusal && error.status === 412) {
      notice("This was changed in another window. Here is how it is now.");
      await attempt(load);
    } else if (error instanceof Refusal && error.status === 401) {
      show();
    } else {
      notice(error instanceof Refusal ? error.message : "The server cannot be reached. Try again in a moment.");
    }
    return undefined;
  }
}

// What is on the server

async function start() {
  for (const address of pictures.values()) URL.revokeObjectURL(address);
  pictures.clear();
  state = fresh();
  show();
  if (session()) await attempt(load);
}

async function load() {
  const found = await lists.list({ sort: "name", limit: 200 });
  state.lists = found.items;
  if (state.list && !state.lists.some((one) => one.id === state.list.id)) state.list = null;
  await loadTodos();
}

async function loadTodos(cursor = null) {
  const wanted = state.list;
  const condition = wanted ? { filter: "list == $list", vars: { list: wanted.id } } : { filter: "list == null" };
  const page = await todos.list({ ...condition, sort: "-created_at", limit: PAGE, cursor });
  if (state.list !== wanted) return; // another list was chosen meanwhile
  state.todos = cursor ? [...state.todos, ...page.items] : page.items;
  state.cursor = page.next_cursor;
  state.loading = false;
  show();
}

function choose(list) {
  state.list = list;
  state.todos = [];
  state.loading = true;
  show();
  return attempt(loadTodos);
}

async function addList(name) {
  const made = await lists.create({ name, owner: session().user.id });
  state.lists = [...state.lists, made].sort((a, b) => a.name.localeCompare(b.name));
  await choose(made);
}

async function removeList(list) {
  if (!confirm(`Delete the list “${list.name}” and everything on it?`)) return;
  await lists.delete(list);
  state.lists = state.lists.filter((one) => one.id !== list.id);
  await choose(null);
}

async function addTodo(title) {
  const made = await todos.create({ title, owner: session().user.id, list: state.list?.id ?? null });
  state.todos = [made, ...state.todos];
  show();
}

function replaced(todo) {
  state.todos = state.todos.map((one) => (one.id === todo.id ? todo : one));
  show();
}

async function toggle(todo) {
  replaced(await todos.update(todo, { done: !todo.done }));
}

async function remove(todo) {
  await todos.delete(todo);
  state.todos = state.todos.filter((one) => one.id !== todo.id);
  show();
  if (todo.photo) await photos.delete(todo.photo);
}

async function attach(todo, file) {
  if (!PHOTO_TYPES.includes(file.type)) return notice("A photo is a PNG, JPEG, GIF, WebP or AVIF image.");
  const path = `${session().user.id}/${crypto.randomUUID()}`;
  await photos.upload(path, file);
  pictures.set(path, URL.createObjectURL(file));
  replaced(await todos.update(todo, { photo: path }));
  if (todo.photo) await photos.delete(todo.photo);
}

async function picture(path, image) {
  try {
    if (!pictures.has(path)) pictures.set(path, URL.createObjectURL(await photos.read(path)));
    image.src = pictures.get(path);
  } catch {
    image.closest("a").replaceWith(h("span", { class: "missing" }, "photo is gone"));
  }
}

// What is seen

function show() {
  const focused = document.activeElement?.dataset?.key;
  const draft = root.querySelector("#title")?.value ?? "";
  document.title = state.list ? `${state.list.name} · Todo` : "Todo";
  root.replaceChildren(...(session() ? board() : [door()]));
  const title = root.querySelector("#title");
  if (title && draft) title.value = draft;
  if (focused) root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function door() {
  const problem = h("p", { class: "problem", role: "alert" });
  const email = h("input", { id: "email", type: "email", autocomplete: "username", required: true, maxlength: "254" });
  const password = h("input", {
    id: "password", type: "password", autocomplete: "current-password", required: true, minlength: "8", maxlength: "256",
  });
  const enter = async (event, way) => {
    event.preventDefault();
    if (!event.target.closest("form").reportValidity()) return;
    problem.textContent = "";
    const buttons = event.target.closest("form").querySelectorAll("button");
    buttons.forEach((button) => (button.disabled = true));
    try {
      await way(email.value, password.value);
      await start();
    } catch (error) {
      const taken = error instanceof Refusal && error.code === "already_exists";
      const words = taken ? "This address has an account already: sign in." : error.message;
      problem.textContent = error instanceof Refusal ? words : "The server cannot be reached.";
      buttons.forEach((button) => (button.disabled = false));
    }
  };
  return h("main", { class: "door" },
    h("form", { class: "card", onsubmit: (event) => enter(event, signIn) },
      h("span", { class: "mark" }, icon(CHECK)),
      h("h1", {}, "Todo"),
      h("p", { class: "soft" }, "Your lists, seen by nobody but you."),
      h("label", { for: "email" }, "E-mail"), email,
      h("label", { for: "password" }, "Password"), password,
      problem,
      h("button", { type: "submit", class: "primary" }, "Sign in"),
      h("button", { type: "button", onclick: (event) => enter(event, signUp) }, "Create account")));
}

function board() {
  const { user } = session();
  return [
    h("header", {},
      h("span", { class: "mark" }, icon(CHECK)), h("strong", {}, "Todo"),
      h("span", { class: "who" }, user.email),
      h("button", { class: "quiet", onclick: () => attempt(signOut) }, "Sign out")),
    h("div", { class: "board" }, sidebar(), h("main", {}, ...content())),
  ];
}

function sidebar() {
  const entry = (list) =>
    h("li", {},
      h("button", {
        "data-key": `list-${list?.id ?? "inbox"}`,
        "aria-current": state.list?.id === list?.id ? "page" : null,
        onclick: () => choose(list),
      }, list?.name ?? "Inbox"));
  return h("nav", { "aria-label": "Lists" },
    h("ul", {}, entry(null), state.lists.map(entry)),
    oneLine({ id: "list", label: "New list", max: 60, button: "Add list", act: addList }));
}

function content() {
  const shown = state.todos.filter((todo) => state.only === "all" || todo.done === (state.only === "done"));
  const open = state.todos.filter((todo) => !todo.done).length;
  return [
    h("div", { class: "heading" },
      h("h1", {}, state.list?.name ?? "Inbox"),
      state.list && h("button", { class: "quiet", onclick: () => attempt(() => removeList(state.list)) }, "Delete list")),
    oneLine({ id: "title", label: "What is to be done?", max: 300, button: "Add", kind: "primary", act: addTodo }),
    h("div", { class: "bar" },
      h("span", { class: "soft" }, state.loading ? "Loading…" : `${open} open${state.cursor ? " so far" : ""}`),
      h("div", { role: "group", "aria-label": "Show" }, ["all", "open", "done"].map((only) =>
        h("button", {
          "data-key": `only-${only}`,
          "aria-pressed": String(state.only === only),
          onclick: () => { state.only = only; show(); },
        }, only)))),
    !state.loading && !shown.length && h("p", { class: "empty" }, state.todos.length ? "Nothing here." : "Nothing to do. Add the first thing above."),
    h("ul", { class: "todos" }, shown.map(item)),
    state.cursor && h("button", { onclick: () => attempt(() => loadTodos(state.cursor)) }, "Show more"),
  ];
}

function item(todo) {
  const input = h("input", {
    type: "file", accept: PHOTO_TYPES.join(","), class: "hidden", tabindex: "-1", "aria-hidden": "true",
    onchange: (event) => event.target.files[0] && attempt(() => attach(todo, event.target.files[0])),
  });
  const image = todo.photo && h("img", { alt: `Photo for ${todo.title}`, width: "72", height: "72" });
  if (image) queueMicrotask(() => picture(todo.photo, image));
  const full = (event) => { event.preventDefault(); if (image.src) open(image.src, "_blank", "noopener"); };
  return h("li", { class: todo.done ? "done" : null, "data-id": todo.id },
    h("label", {},
      h("input", { type: "checkbox", "data-key": `done-${todo.id}`, checked: todo.done, onchange: () => attempt(() => toggle(todo)).finally(show) }),
      h("span", { class: "title" }, todo.title)),
    image && h("a", { href: "#", class: "photo", onclick: full }, image),
    input,
    h("button", { class: "quiet", title: "Attach a photo", "aria-label": `Attach a photo to ${todo.title}`, onclick: () => input.click() }, icon(PICTURE)),
    h("button", { class: "quiet", title: "Delete", "aria-label": `Delete ${todo.title}`, onclick: () => attempt(() => remove(todo)) }, icon(CROSS)));
}

/** A field with its button; emptied when `act` has worked. */
function oneLine({ id, label, max, button, kind, act }) {
  const input = h("input", { id, "data-key": id, "aria-label": label, placeholder: label, maxlength: String(max), required: true, autocomplete: "off" });
  const submit = async (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    input.value = "";
    const worked = await attempt(async () => { await act(text); return true; });
    if (!worked) { const again = document.getElementById(id); if (again) again.value = text; }
  };
  return h("form", { class: "line", onsubmit: submit }, input, h("button", { type: "submit", class: kind }, button));
}

onSessionChange(start);
start();
