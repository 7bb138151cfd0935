// The page: who is here, which board, and what a click, a drag or a key does. What is stored and sent is in table.js.

import { Refusal, batch, collection, onSessionChange, session, signIn, signOut, signUp } from "./api.js";
import { boardView } from "./board.js";
import { h, icon } from "./dom.js";
import { follow } from "./live.js";
import { between, inOrder } from "./order.js";
import { Table } from "./table.js";

const MARK = "M5 4h5.5v16H5zM13.5 4H19v10h-5.5z";
const COLUMNS = ["To do", "Doing", "Done"];
const LAST = "board";

const root = document.getElementById("app");
const notices = document.getElementById("notices");
let view = null; // what is shown while somebody is signed in

function notice(text, kind = "info") {
  const line = h("p", { class: kind }, text);
  notices.append(line);
  setTimeout(() => line.remove(), kind === "conflict" ? 12_000 : 6_000);
}

/** Runs what a click started; whatever fails is told in words. True when it worked. */
async function attempt(act) {
  try {
    await act();
    return true;
  } catch (error) {
    notice(inWords(error), "bad");
    return false;
  }
}

function inWords(error) {
  if (error instanceof Refusal && error.code === "already_exists" && error.fields.email) return "This address has an account already: sign in.";
  return error instanceof Refusal ? error.message : "The server cannot be reached. Try again in a moment.";
}

// Coming and going

function start() {
  if (view && session()?.session_id === view.session) return; // another window has renewed the same session
  view?.close();
  view = session() ? signedIn() : null;
  if (!view) root.replaceChildren(door());
}

function door() {
  const problem = h("p", { class: "problem", role: "alert" });
  const email = h("input", { id: "email", type: "email", autocomplete: "username", required: true, maxlength: "254" });
  const password = h("input", {
    id: "password", type: "password", autocomplete: "current-password", required: true, minlength: "8", maxlength: "256",
  });
  const enter = async (event, way) => {
    event.preventDefault();
    const form = event.target.closest("form");
    if (!form.reportValidity()) return;
    problem.textContent = "";
    const buttons = form.querySelectorAll("button");
    buttons.forEach((button) => (button.disabled = true));
    try {
      await way(email.value, password.value);
      start();
    } catch (error) {
      problem.textContent = inWords(error);
      buttons.forEach((button) => (button.disabled = false));
    }
  };
  return h("main", { class: "door" },
    h("form", { class: "sheet", onsubmit: (event) => enter(event, signIn) },
      h("span", { class: "mark" }, icon(MARK)),
      h("h1", {}, "Kanban"),
      h("p", { class: "soft" }, "A board for a few people, the same for all of them at every moment."),
      h("label", { for: "email" }, "E-mail"), email,
      h("label", { for: "password" }, "Password"), password,
      problem,
      h("button", { type: "submit", class: "primary" }, "Sign in"),
      h("button", { type: "button", onclick: (event) => enter(event, signUp) }, "Create account")));
}

// Signed in

function signedIn() {
  const me = session().user;
  let board = localStorage.getItem(LAST);
  let unfollow = () => {};
  let away = false;
  const ending = new AbortController();
  let boards, members, columns, cards; // tables of what is followed now
  let seenBoards = false;
  const known = new Map(); // everybody ever seen on this board: a name outlives the membership

  const shown = boardView({
    me, notice, attempt,
    move, addCard, editCard, removeCard, addColumn, renameColumn, removeColumn,
    open, makeBoard, join, renameBoard, removeBoard, renewCode, removeMember,
    signOut: () => attempt(signOut),
  });
  root.replaceChildren(shown.element);

  const nameOf = (user) => (user === me.id ? "You" : known.get(user) ?? "Somebody");

  const table = (name, what) => new Table(name, {
    change: show,
    failed: (error) => notice(inWords(error), "bad"),
    gone: (record) => notice(`“${record.title ?? record.name}” was deleted meanwhile.`, "conflict"),
    conflict: (stored, mine) => conflicted(what, stored, mine),
  }, ending.signal);

  /** Follows all boards and everything on this one. */
  function open(id) {
    unfollow();
    board = id;
    if (board) localStorage.setItem(LAST, board);
    seenBoards = false;
    known.clear();
    boards = table("boards", "board");
    members = table("members", "member");
    columns = table("columns", "column");
    cards = table("cards", "card");
    const tables = { boards, members, columns, cards };
    const on = { filter: "board == $board", vars: { board } };
    const following = [{ id: "boards", collection: "boards", initial: true }];
    if (board) for (const name of ["members", "columns", "cards"]) following.push({ id: name, collection: name, initial: true, ...on });
    unfollow = follow(following, {
      state: (state) => {
        away = state === "away";
        if (!away) for (const one of Object.values(tables)) one.flush();
        show();
      },
      snapshot: (name, items, first, more) => {
        seenBoards ||= name === "boards" && !more;
        tables[name].snapshot(items, first, more);
        if (name === "boards") settle();
      },
      change: (name, event) => {
        tables[name].change(event);
        if (name === "boards") settle();
      },
      refused: (problem) => (problem.status === 401 ? start() : notice(problem.detail ?? "The server refuses.", "bad")),
    });
    show();
  }

  /** When the board is gone, or none was chosen: another one. */
  function settle() {
    if (!seenBoards || boards.get(board)) return;
    const next = inNames(boards.all())[0]?.id ?? null;
    if (board && !next) localStorage.removeItem(LAST);
    if (next !== board) queueMicrotask(() => open(next));
  }

  function show() {
    if (!cards) return;
    for (const one of members.all()) known.set(one.user, one.name);
    shown.show({
      away,
      loading: !seenBoards,
      board: boards.get(board),
      boards: inNames(boards.all()),
      members: members.all().sort((a, b) => (a.created_at < b.created_at ? -1 : 1)),
      columns: inOrder(columns.all()),
      cards: inOrder(cards.all()),
      nameOf,
    });
  }

  function conflicted(what, stored, mine) {
    const title = stored.title ?? stored.name;
    const who = what === "card" ? nameOf(stored.changed_by) : "Somebody";
    if ("position" in mine) {
      const where = columns.get(stored.column)?.title;
      notice(`${who} moved “${title}”${where ? ` to ${where}` : ""} just before you did, so it stays there.`, "conflict");
    } else {
      const lost = mine.title ?? mine.name ?? mine.note;
      notice(`${who} changed “${title}” just before you did. Yours was not saved${lost ? `: “${lost}”` : ""}.`, "conflict");
    }
    shown.flash(stored.id);
  }

  // Cards

  /** `base` is the card as it was when it was picked up; `before` the id of the one it is put above, null for the end. */
  function move(base, column, before) {
    const others = inOrder(cards.all()).filter((one) => one.column === column && one.id !== base.id);
    const at = before ? others.findIndex((one) => one.id === before) : others.length;
    const place = at < 0 ? others.length : at;
    const now = inOrder(cards.all()).filter((one) => one.column === column);
    if (base.column === column && now.indexOf(now.find((one) => one.id === base.id)) === place && cards.get(base.id)?.rev === base.rev) return;
    cards.update(base, { column, position: gap(others, place), changed_by: me.id });
  }

  function addCard(column, title) {
    const last = inOrder(cards.all()).filter((one) => one.column === column).at(-1);
    return cards.create({ board, column, title, position: between(last?.position ?? null, null), changed_by: me.id });
  }

  function editCard(base, values) {
    const patch = Object.fromEntries(Object.entries(values).filter(([name, value]) => (base[name] ?? null) !== value));
    if (patch.column) {
      const last = inOrder(cards.all()).filter((one) => one.column === patch.column).at(-1);
      patch.position = between(last?.position ?? null, null);
    }
    if (Object.keys(patch).length) cards.update(base, { ...patch, changed_by: me.id });
  }

  function removeCard(card) {
    cards.delete(card);
  }

  // Columns

  function addColumn(title) {
    columns.create({ board, title, position: between(inOrder(columns.all()).at(-1)?.position ?? null, null) });
  }

  function renameColumn(column, title) {
    if (title !== column.title) columns.update(column, { title });
  }

  function removeColumn(column) {
    columns.delete(column);
  }

  // Boards and people

  /** All or nothing: a board without its first member would be seen by nobody. */
  async function makeBoard(name, myName) {
    const id = crypto.randomUUID();
    let position = null;
    await batch([
      ["boards", { id, name, code: secret(), owner: me.id }],
      ["members", { board: id, user: me.id, name: myName }],
      ...COLUMNS.map((title) => ["columns", { board: id, title, position: (position = between(position, null)) }]),
    ]);
    open(id);
  }

  /** The code is the board's id and its secret; who knows both may become a member. */
  async function join(text, myName) {
    const [, id, code] = /([0-9a-f-]{36})\.([\w-]+)\s*$/.exec(text) ?? [];
    if (!id) throw new Refusal(400, { detail: "This is no code of a board." });
    try {
      await collection("members").create(crypto.randomUUID(), { board: id, user: me.id, name: myName, code });
    } catch (error) {
      if ([403, 404, 422].includes(error.status)) throw new Refusal(error.status, { detail: "This code opens no board. Ask for a new one." });
      if (error.status !== 409) throw error; // already a member
    }
    open(id);
  }

  function renameBoard(name) {
    boards.update(boards.get(board), { name });
  }

  function renewCode() {
    boards.update(boards.get(board), { code: secret() });
  }

  async function removeBoard() {
    await collection("boards").delete(board);
  }

  function removeMember(member) {
    members.delete(member);
  }

  const leaving = (event) => [boards, members, columns, cards].some((one) => one.unconfirmed) && event.preventDefault();
  addEventListener("beforeunload", leaving);
  open(board);
  shown.arrive(location.hash);
  history.replaceState(null, "", location.pathname);

  return {
    session: session().session_id,
    close: () => {
      ending.abort();
      unfollow();
      removeEventListener("beforeunload", leaving);
    },
  };
}

/** A position at this place of the list; equal neighbours (two people, one gap) count as one. */
function gap(list, at) {
  const low = list[at - 1]?.position ?? null;
  const high = list.slice(at).find((one) => low === null || one.position > low)?.position ?? null;
  return between(low, high);
}

function inNames(boards) {
  return boards.filter((one) => one.name).sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
}

function secret() {
  return [...crypto.getRandomValues(new Uint8Array(24))].map((byte) => byte.toString(36).padStart(2, "0")).join("");
}

onSessionChange(start);
start();
