// One collection as this window sees it: what the server has, and over it what was done here and is not yet confirmed.

import { Refusal, collection } from "./api.js";

const AGAIN_MS = 2_000;
const SIGNATURE = ["changed_by"]; // says who; nobody minds that it differs

/**
 * `on.change()` when there is something else to show; `on.conflict(stored, mine)` when somebody was faster with the same;
 * `on.gone(record)` when what was changed here is no more; `on.failed(error)` when the server will not have it.
 */
export class Table {
  #api;
  #on;
  #ended;
  #stored = new Map();
  #left = new Set(); // out of sight: a late answer must not bring it back
  #doing = new Map(); // id -> { kind, base, patch, busy, waiting }
  #coming = null;

  /** Nothing is sent any more when `ended` is aborted: whoever was signed in is so no longer. */
  constructor(name, on, ended) {
    this.#ended = ended;
    this.#api = collection(name);
    this.#on = on;
  }

  // What there is.

  /** Every record, as it will be when all is confirmed; `waiting` says that the server has yet to be reached. */
  all() {
    const ids = new Set([...this.#stored.keys(), ...this.#doing.keys()]);
    return [...ids].map((id) => this.get(id)).filter(Boolean);
  }

  get(id) {
    const doing = this.#doing.get(id);
    const record = this.#stored.get(id) ?? (doing?.kind === "create" ? doing.base : undefined);
    if (!record || doing?.kind === "delete") return undefined;
    return doing ? { ...record, ...doing.patch, waiting: doing.waiting } : record;
  }

  get unconfirmed() {
    return this.#doing.size;
  }

  // What comes from the server.

  snapshot(items, first, more) {
    if (first !== false) this.#coming = new Map();
    for (const item of items) this.#coming.set(item.id, item);
    if (more) return;
    this.#stored = this.#coming;
    this.#left.clear();
    this.#on.change();
  }

  change({ action, record, id }) {
    if (action === "delete" || action === "leave") {
      const it = id ?? record.id;
      this.#stored.delete(it);
      this.#left.add(it);
    } else {
      this.#left.delete(record.id);
      this.#take(record);
    }
    this.#on.change();
  }

  /** Answers and events overtake each other: the higher revision is the later one. */
  #take(record) {
    const held = this.#stored.get(record.id);
    if (!this.#left.has(record.id) && (!held || held.rev <= record.rev)) this.#stored.set(record.id, record);
  }

  // What is done here: shown at once, sent after.

  create(values) {
    const id = crypto.randomUUID();
    this.#do(id, { kind: "create", base: { id, rev: 0, ...values }, patch: {} });
    return id;
  }

  /** `base` is the record as it was when the user decided: whoever changed it since wins. */
  update(base, patch) {
    const doing = this.#doing.get(base.id);
    if (doing) this.#do(base.id, { ...doing, patch: { ...doing.patch, ...patch } });
    else this.#do(base.id, { kind: "update", base, patch });
  }

  delete(record) {
    this.#do(record.id, { kind: "delete", base: record, patch: {} });
  }

  /** Sends again what could not be sent. */
  flush() {
    for (const id of this.#doing.keys()) this.#send(id);
  }

  #do(id, doing) {
    const before = this.#doing.get(id);
    this.#doing.set(id, Object.assign(before ?? {}, { busy: false, waiting: false }, doing, before && { busy: before.busy }));
    this.#on.change();
    this.#send(id);
  }

  async #send(id) {
    const doing = this.#doing.get(id);
    if (!doing || doing.busy || this.#ended.aborted) return;
    doing.busy = true;
    let after = () => {};
    try {
      while (this.#doing.get(id) === doing && !(await this.#step(id, doing)));
    } catch (error) {
      if (isAway(error)) {
        doing.waiting = true;
        setTimeout(() => this.#send(id), AGAIN_MS);
      } else {
        this.#doing.delete(id);
        if (error.status === 404) { this.#stored.delete(id); after = () => this.#on.gone(doing.base); }
        else after = () => this.#on.failed(error);
      }
    }
    doing.busy = false;
    this.#on.change();
    after();
  }

  /** One request; true when nothing is left to do for this record. */
  async #step(id, doing) {
    const { kind, base, patch } = doing;
    if (kind === "delete") {
      await this.#api.delete(id).catch((error) => { if (error.status !== 404) throw error; });
      this.#stored.delete(id);
      this.#left.add(id);
      return this.#done(id);
    }
    const sent = { ...patch };
    let record;
    let held = sent; // of the patch, what the record has now
    try {
      record = kind === "create" ? await this.#api.create(id, { ...fieldsOf(base), ...sent }) : await this.#api.update(id, base.rev, sent);
    } catch (error) {
      if (error.status !== 412) throw error;
      record = await this.#api.get(id);
      this.#take(record);
      held = record;
      if (kind === "update" && doing.kind === "update" && !holds(record, sent)) return this.#reconcile(id, doing, record, sent);
    }
    doing.waiting = false;
    this.#take(record);
    if (doing.kind === "delete") return false; // decided meanwhile
    doing.patch = Object.fromEntries(Object.entries(doing.patch).filter(([name, value]) => held[name] !== value));
    Object.assign(doing, { kind: "update", base: record });
    return Object.keys(doing.patch).length ? false : this.#done(id);
  }

  /** Somebody else was first. What does not touch theirs is sent once more, on top of it; else theirs stands, and it is said. */
  #reconcile(id, doing, record, sent) {
    const clash = Object.keys(sent).some((name) => !SIGNATURE.includes(name) && record[name] !== doing.base[name]);
    if (!clash) {
      doing.base = record;
      return false;
    }
    this.#done(id);
    queueMicrotask(() => this.#on.conflict(record, sent));
    return true;
  }

  #done(id) {
    this.#doing.delete(id);
    return true;
  }
}

function fieldsOf({ id, rev, ...fields }) {
  return fields;
}

/** Whether the record has what was sent: then it was our own request whose answer was lost. */
function holds(record, sent) {
  return Object.entries(sent).every(([name, value]) => record[name] === value);
}

/** Not a refusal but no answer, or none for now: to be tried again. */
function isAway(error) {
  return !(error instanceof Refusal) || error.status >= 500 || error.status === 429 || error.status === 401;
}
