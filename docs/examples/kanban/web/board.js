// What is seen of a board: columns, cards, people, and the dialogs. Elements stay what they are while records change, so that
// focus, drafts and a card in somebody's hand survive whatever others do.

import { carry } from "./drag.js";
import { arrange, h, icon, say } from "./dom.js";

const MARK = "M5 4h5.5v16H5zM13.5 4H19v10h-5.5z";
const CROSS = "m7 7 10 10M17 7 7 17";
const GRIP = "M9 6v.1M9 12v.1M9 18v.1M15 6v.1M15 12v.1M15 18v.1";
const LINES = "M5 7h14M5 12h14M5 17h8";
const LABELS = ["red", "amber", "green", "blue", "violet"];
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** `act` holds what may be done. Gives `element`, `show(state)`, `flash(card)` and `arrive(hash)`. */
export function boardView(act) {
  let state = null;
  let late = false; // something came while a card was in somebody's hand
  let held = null; // that card, as it was when it was picked up
  let landed = null; // the card that was just put down: it is there already
  const faces = new Map(); // card id -> its element and its parts
  const rows = new Map(); // column id -> its element and its parts

  // The frame

  const chooser = h("select", { "aria-label": "Board", onchange: () => choose(chooser.value) });
  const people = h("ul", { class: "people", "aria-label": "Members" });
  const status = h("span", { class: "status", role: "status" });
  const invite = h("button", { onclick: () => peopleDialog() }, "Invite");
  const settings = h("button", { class: "quiet", onclick: () => settingsDialog() }, "Board");
  const header = h("header", {},
    h("span", { class: "mark" }, icon(MARK)), chooser, settings, status, h("span", { class: "space" }), people, invite,
    h("span", { class: "who", title: act.me.email }, act.me.email),
    h("button", { class: "quiet leave", onclick: act.signOut }, "Sign out"));
  const adder = line({ label: "New column", max: 60, button: "Add column", act: act.addColumn });
  const tail = h("section", { class: "tail" }, adder);
  const board = h("main", { class: "board", "aria-label": "Board" }, tail);
  const hints = h("p", { id: "keys", class: "unseen" },
    "Enter opens the card. Shift with the arrow keys moves it. The arrow keys alone go from card to card.");
  const told = h("p", { class: "unseen", role: "status", "aria-live": "assertive" });
  const element = h("div", { class: "app" }, header, board, hints, told);

  carry(board, {
    start: (id) => (held = state.cards.find((card) => card.id === id)),
    drop: (id, column, before) => {
      act.move(held, column, before);
      landed = id;
      held = null;
      draw();
    },
    end: () => queueMicrotask(() => { held = null; if (late) draw(); }),
  });
  board.addEventListener("keydown", byKey);

  function show(next) {
    state = next;
    if (held) late = true;
    else draw();
  }

  function draw() {
    late = false;
    drawHeader();
    const from = still.matches ? null : boxes();
    const focused = document.activeElement;
    drawColumns();
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
    if (from) glide(from);
    landed = null;
  }

  let header_ = "";
  function drawHeader() {
    const { board: one, boards, members, away, loading, nameOf } = state;
    document.title = one ? `${one.name} · Kanban` : "Kanban";
    status.dataset.state = away ? "away" : "live";
    say(status, away ? "Reconnecting…" : loading ? "Loading…" : "Live");
    const key = JSON.stringify([one?.id, boards.map((b) => [b.id, b.name]), members.map((m) => [m.id, m.name])]);
    if (key === header_) return;
    header_ = key;
    chooser.replaceChildren(...boards.map((b) => h("option", { value: b.id }, b.name)), h("option", { value: "" }, "New or join…"));
    chooser.value = one?.id ?? "";
    for (const part of [chooser, settings, invite]) part.classList.toggle("hidden", !one);
    people.replaceChildren(...members.map((m) => h("li", {}, avatar(m.user, m.name))));
    if (openDialog?.redraw) openDialog.redraw();
  }

  function drawColumns() {
    const { columns, cards, board: one, loading } = state;
    if (!one) {
      rows.clear();
      faces.clear();
      board.classList.toggle("empty", true);
      if (loading) board.replaceChildren();
      else if (!board.querySelector(".welcome")) board.replaceChildren(welcome());
      return;
    }
    board.classList.toggle("empty", false);
    const lists = columns.map((column) => {
      const row = rows.get(column.id) ?? makeColumn(column.id);
      const mine = cards.filter((card) => card.column === column.id);
      row.record = column;
      say(row.title, column.title);
      say(row.count, String(mine.length));
      row.remove.classList.toggle("hidden", mine.length > 0);
      arrange(row.list, mine.map((card) => drawCard(card, column)));
      return row.element;
    });
    forget(rows, columns);
    forget(faces, cards);
    arrange(board, [...lists, tail]);
  }

  function makeColumn(id) {
    const row = {
      title: h("button", { class: "name", title: "Rename", onclick: () => renameDialog(row.record) }),
      count: h("span", { class: "count" }),
      list: h("ul", { class: "cards" }),
    };
    row.remove = h("button", { class: "quiet small", title: "Delete column", "aria-label": "Delete column", onclick: () => act.removeColumn(row.record) }, icon(CROSS));
    row.element = h("section", { class: "column", "data-id": id },
      h("h2", {}, row.title, row.count, row.remove),
      row.list,
      line({ label: "Add a card", max: 300, button: "Add", act: (title) => act.addCard(id, title) }));
    rows.set(id, row);
    return row;
  }

  function drawCard(card, column) {
    const face = faces.get(card.id) ?? makeCard(card.id);
    say(face.title, card.title);
    face.button.setAttribute("aria-label", `${card.title}, in ${column.title}`);
    if (card.label) face.element.dataset.label = card.label;
    else delete face.element.dataset.label;
    face.note.classList.toggle("hidden", !card.note);
    face.element.classList.toggle("waiting", Boolean(card.waiting));
    const name = state.nameOf(card.changed_by);
    const real = card.changed_by === act.me.id ? mineName() : name;
    const key = `${card.changed_by} ${real} ${state.members.findIndex((one) => one.user === card.changed_by)}`;
    if (face.by !== key) {
      face.by = key;
      face.who.replaceChildren(...(card.changed_by ? [avatar(card.changed_by, real, `Last changed by ${name}`)] : []));
    }
    return face.element;
  }

  function makeCard(id) {
    const face = {
      title: h("span", { class: "title" }),
      note: h("span", { class: "note", title: "Has a note" }, icon(LINES)),
      who: h("span", { class: "by" }),
    };
    face.button = h("button", { class: "face", "aria-describedby": "keys", "aria-keyshortcuts": "Shift+ArrowUp Shift+ArrowDown Shift+ArrowLeft Shift+ArrowRight", onclick: () => cardDialog(id) },
      face.title, h("span", { class: "foot" }, face.note, face.who));
    face.element = h("li", { class: "card", "data-id": id }, face.button, h("span", { class: "grip", "aria-hidden": "true" }, icon(GRIP)));
    faces.set(id, face);
    return face;
  }

  function mineName() {
    return state.members.find((one) => one.user === act.me.id)?.name ?? act.me.email;
  }

  /** Everybody has the colour of his place among the members; who is one no more is grey. */
  function avatar(user, name, title = name) {
    const at = state.members.findIndex((one) => one.user === user);
    return portrait(at < 0 ? "none" : String(at % 6), name, title);
  }

  // Motion: a card that somebody else moved is seen to move.

  function boxes() {
    return new Map([...faces].map(([id, face]) => [id, face.element.isConnected ? face.element.getBoundingClientRect() : null]));
  }

  function glide(from) {
    for (const [id, face] of faces) {
      const was = from.get(id);
      if (!was || id === landed) continue;
      const is = face.element.getBoundingClientRect();
      const [x, y] = [was.left - is.left, was.top - is.top];
      if (Math.abs(x) + Math.abs(y) > 2) face.element.animate([{ translate: `${x}px ${y}px` }, { translate: "0 0" }], { duration: 180, easing: "ease-out" });
    }
  }

  function flash(id) {
    const face = faces.get(id)?.element;
    if (!face) return;
    face.classList.remove("flash");
    face.getBoundingClientRect(); // so that a second flash begins anew
    face.classList.add("flash");
    setTimeout(() => face.classList.remove("flash"), 2_500);
  }

  // Keys

  function byKey(event) {
    const here = event.target.closest(".card");
    if (!here || !event.key.startsWith("Arrow") || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const card = state.cards.find((one) => one.id === here.dataset.id);
    const side = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
    const column = state.columns[state.columns.findIndex((one) => one.id === card.column) + side];
    if (!column) return;
    const there = state.cards.filter((one) => one.column === column.id);
    const at = state.cards.filter((one) => one.column === card.column).findIndex((one) => one.id === card.id);
    if (!event.shiftKey) {
      const next = side ? there[Math.min(at, there.length - 1)] : there[at + step];
      if (next) faces.get(next.id).button.focus();
      return;
    }
    const others = there.filter((one) => one.id !== card.id);
    const place = Math.max(0, Math.min(others.length, side ? at : at + step));
    if (!side && place === at) return;
    act.move(card, column.id, others[place]?.id ?? null);
    faces.get(card.id)?.button.focus();
    faces.get(card.id)?.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    say(told, `${card.title}: ${column.title}, ${place + 1} of ${others.length + 1}`);
  }

  // Dialogs

  let openDialog = null;

  function dialog(title, ...content) {
    openDialog?.element.remove();
    const heading = h("h2", {}, title);
    const sheet = h("dialog", { class: "sheet", "aria-label": title }, heading, ...content);
    sheet.addEventListener("close", () => { sheet.remove(); if (openDialog?.element === sheet) openDialog = null; });
    sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
    openDialog = { element: sheet };
    element.append(sheet);
    sheet.showModal();
    return sheet;
  }

  const closer = (text = "Cancel") => h("button", { type: "button", onclick: (event) => event.target.closest("dialog").close() }, text);

  function cardDialog(id) {
    const card = state.cards.find((one) => one.id === id);
    if (!card) return;
    const title = h("input", { id: "card-title", value: card.title, required: true, maxlength: "300", autocomplete: "off" });
    const note = h("textarea", { id: "card-note", rows: "5", maxlength: "5000" });
    note.value = card.note ?? "";
    const column = h("select", { id: "card-column" }, state.columns.map((one) => h("option", { value: one.id, selected: one.id === card.column }, one.title)));
    const label = h("fieldset", { class: "labels" }, h("legend", {}, "Label"),
      [null, ...LABELS].map((one) => h("label", { "data-label": one ?? "none", title: one ?? "no label" },
        h("input", { type: "radio", name: "label", value: one ?? "", "aria-label": one ?? "no label", checked: (card.label ?? null) === one }))));
    const save = (event) => {
      event.preventDefault();
      const chosen = label.querySelector("input:checked")?.value || null;
      sheet.close();
      act.editCard(card, { title: title.value.trim() || card.title, note: note.value || null, label: chosen, column: column.value });
    };
    const sheet = dialog("Card",
      h("form", { onsubmit: save },
        h("label", { for: "card-title" }, "Title"), title,
        h("label", { for: "card-note" }, "Note"), note,
        h("label", { for: "card-column" }, "Column"), column,
        label,
        h("div", { class: "buttons" },
          h("button", { type: "button", class: "danger", onclick: () => { sheet.close(); act.removeCard(card); } }, "Delete"),
          h("span", { class: "space" }), closer(), h("button", { type: "submit", class: "primary" }, "Save"))));
  }

  function renameDialog(column) {
    oneField("Column", column.title, 60, (title) => act.renameColumn(column, title));
  }

  function oneField(what, value, max, done) {
    const field = h("input", { value, required: true, maxlength: String(max), "aria-label": `Name of the ${what.toLowerCase()}`, autocomplete: "off" });
    const sheet = dialog(what, h("form", {
      onsubmit: (event) => { event.preventDefault(); sheet.close(); if (field.value.trim()) done(field.value.trim()); },
    }, field, h("div", { class: "buttons" }, h("span", { class: "space" }), closer(), h("button", { type: "submit", class: "primary" }, "Save"))));
  }

  function settingsDialog() {
    const { board: one } = state;
    const mine = one.owner === act.me.id;
    const field = h("input", { value: one.name, required: true, maxlength: "60", "aria-label": "Name of the board", autocomplete: "off" });
    const membership = state.members.find((member) => member.user === act.me.id);
    const leave = mine
      ? h("button", { type: "button", class: "danger", onclick: () => { if (confirm(`Delete “${one.name}” with everything on it, for everybody?`)) { sheet.close(); act.attempt(act.removeBoard); } } }, "Delete board")
      : h("button", { type: "button", class: "danger", onclick: () => { sheet.close(); act.removeMember(membership); } }, "Leave board");
    const sheet = dialog("Board", h("form", {
      onsubmit: (event) => { event.preventDefault(); sheet.close(); const name = field.value.trim(); if (name && name !== one.name) act.renameBoard(name); },
    }, field, h("div", { class: "buttons" }, leave, h("span", { class: "space" }), closer(), h("button", { type: "submit", class: "primary" }, "Save"))));
  }

  function peopleDialog() {
    const list = h("ul", { class: "members" });
    const code = h("input", { readonly: true, "aria-label": "Invitation", onfocus: () => code.select() });
    const mine = state.board.owner === act.me.id;
    const copy = async () => {
      if (!navigator.clipboard) return code.select();
      await navigator.clipboard.writeText(code.value).then(() => act.notice("Copied."), () => code.select());
    };
    const redraw = () => {
      const { board: one, members } = state;
      if (!one) return;
      code.value = `${location.origin}/#join=${one.id}.${one.code}`;
      list.replaceChildren(...members.map((member) => h("li", {},
        avatar(member.user, member.name), h("span", {}, member.name + (member.user === act.me.id ? " (you)" : "")),
        mine && member.user !== act.me.id && h("button", { class: "quiet small", "aria-label": `Remove ${member.name}`, onclick: () => act.removeMember(member) }, icon(CROSS)))));
    };
    dialog("People on this board", list,
      h("p", { class: "soft" }, "Whoever has this link can join. Send it to people you trust."),
      h("div", { class: "line" }, code, h("button", { class: "primary", onclick: copy }, "Copy")),
      h("div", { class: "buttons" }, mine && h("button", { onclick: () => act.renewCode() }, "New link"), h("span", { class: "space" }), closer("Close")));
    openDialog.redraw = redraw;
    redraw();
  }

  function choose(id) {
    if (id) return act.open(id);
    chooser.value = state.board?.id ?? "";
    const sheet = dialog("Another board", ...beginnings(() => sheet.close()), h("div", { class: "buttons" }, h("span", { class: "space" }), closer()));
  }

  function welcome() {
    return h("div", { class: "sheet welcome" }, h("h1", {}, "No board yet"), ...beginnings(() => {}));
  }

  /** Two forms: a new board, or one that somebody else has. */
  function beginnings(done, code = "") {
    const ids = { board: fresh(), code: fresh(), a: fresh(), b: fresh() }; // these forms can be on the page twice
    const mine = (id) => h("input", { id, value: guess(act.me.email), required: true, maxlength: "40", autocomplete: "nickname" });
    const nameA = mine(ids.a);
    const nameB = mine(ids.b);
    const board = h("input", { id: ids.board, required: true, maxlength: "60", autocomplete: "off" });
    const key = h("input", { id: ids.code, value: code, required: true, autocomplete: "off" });
    const form = (work, ...parts) => h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        const button = event.target.querySelector("button");
        button.disabled = true;
        if (await act.attempt(work)) done();
        button.disabled = false;
      },
    }, ...parts);
    const making = form(() => act.makeBoard(board.value.trim(), nameA.value.trim()),
      h("label", { for: ids.board }, "Name of the new board"), board,
      h("label", { for: ids.a }, "Your name on it"), nameA,
      h("button", { type: "submit", class: "primary" }, "Create board"));
    const joining = form(() => act.join(key.value.trim(), nameB.value.trim()),
      h("label", { for: ids.code }, "Invitation"), key,
      h("label", { for: ids.b }, "Your name there"), nameB,
      h("button", { type: "submit", class: code ? "primary" : null }, "Join board"));
    return code ? [joining] : [making, h("hr"), joining];
  }

  /** An invitation in the address: asked, not followed at once, since others then see the name. */
  function arrive(hash) {
    if (!hash.startsWith("#join=")) return;
    const sheet = dialog("Join a board", ...beginnings(() => sheet.close(), hash.slice("#join=".length)), h("div", { class: "buttons" }, h("span", { class: "space" }), closer("Not now")));
  }

  return { element, show, flash, arrive };
}

/** A field with its button; emptied when sent. */
function line({ label, max, button, act }) {
  const input = h("input", { "aria-label": label, placeholder: label, maxlength: String(max), required: true, autocomplete: "off" });
  return h("form", {
    class: "line",
    onsubmit: (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (!text) return;
      input.value = "";
      act(text);
    },
  }, input, h("button", { type: "submit" }, button));
}

function forget(views, records) {
  const there = new Set(records.map((one) => one.id));
  for (const id of views.keys()) if (!there.has(id)) views.delete(id);
}

function portrait(hue, name, title) {
  const letters = name.trim().split(/\s+/).map((word) => [...word][0] ?? "").slice(0, 2).join("").toUpperCase();
  return h("span", { class: "avatar", "data-hue": hue, title, role: "img", "aria-label": title }, letters);
}

let made = 0;
/** An id that no other element has. */
function fresh() {
  return `field-${++made}`;
}

/** A name to begin with: "ada.lovelace@…" is Ada Lovelace. */
function guess(email) {
  const words = email.split("@")[0].split(/[._+-]+/).filter(Boolean);
  return words.map((word) => word[0].toUpperCase() + word.slice(1)).join(" ").slice(0, 40) || "Me";
}
