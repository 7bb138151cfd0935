// The backend, as this app uses it: plain fetch on the page's own origin, where `/v1/…` means this site's project.

const KEY = "session";
const EARLY_MS = 30_000;

/** A refusal of the server: `status`, a stable `code`, the faults by field, and a sentence for people. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.errors?.[0]?.message || problem.detail || `The server answered ${status}.`);
    this.status = status;
    this.code = problem.code;
    this.fields = Object.fromEntries((problem.errors ?? []).map((e) => [e.pointer.slice(1), e.message]));
  }
}

// The session lives in localStorage, so a reload and other tabs keep it. Scripts on this origin could read it: the page
// loads none but its own (see the Content-Security-Policy in index.html) and never turns text into markup.

export function session() {
  return JSON.parse(localStorage.getItem(KEY) ?? "null");
}

function keep(answer) {
  const held = { ...answer, expires_at: Date.now() + answer.expires_in * 1000 };
  localStorage.setItem(KEY, JSON.stringify(held));
  return held;
}

function forget() {
  localStorage.removeItem(KEY);
  dispatchEvent(new Event("signed-out"));
}

/** Calls `listener` when this or another tab signs in or out. */
export function onSessionChange(listener) {
  addEventListener("signed-out", listener);
  addEventListener("storage", (event) => event.key === KEY && listener());
}

export async function signUp(email, password) {
  return keep(await send("POST", "auth/sign-up", { json: { email, password } }));
}

export async function signIn(email, password) {
  return keep(await send("POST", "auth/sign-in", { json: { email, password } }));
}

export async function signOut() {
  try {
    await call("POST", "auth/sign-out");
  } catch (error) {
    if (!(error instanceof Refusal)) throw error; // not reached: the session lives on, so it stays here too
  }
  forget();
}

/** One request as the signed-in user. Renews the session when it is due, and once more when the server says it has ended. */
export async function call(method, path, options = {}) {
  let held = session();
  if (held && held.expires_at - Date.now() < EARLY_MS) held = await renewed(held.access_token);
  try {
    return await send(method, path, options, held?.access_token);
  } catch (error) {
    if (!held || error.status !== 401) throw error;
    held = await renewed(held.access_token);
    return send(method, path, options, held?.access_token);
  }
}

/** A refresh token is good once: whoever comes second, in this tab or another, finds what the first one got. */
async function renewed(stale) {
  const exchange = async () => {
    const held = session();
    if (!held || held.access_token !== stale) return held;
    try {
      return keep(await send("POST", "auth/refresh", { json: { refresh_token: held.refresh_token } }));
    } catch (error) {
      if (error.status >= 400 && error.status < 500 && error.status !== 429) forget(); // a network failure never signs out
      throw error;
    }
  };
  if (navigator.locks) return navigator.locks.request("renew-session", exchange);
  return (inFlight ??= exchange().finally(() => (inFlight = null)));
}
let inFlight = null;

async function send(method, path, { json, headers } = {}, token) {
  const answer = await fetch(`/v1/${path}`, {
    method,
    body: json === undefined ? undefined : JSON.stringify(json),
    headers: {
      ...(json === undefined ? {} : { "Content-Type": "application/json" }),
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...headers,
    },
  });
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
  return answer.status === 204 ? null : answer.json();
}

/** An access token that will last a moment, for a request that is not made by `call`; `stale` is one that was refused. */
export async function accessToken(stale) {
  let held = session();
  if (held && (held.access_token === stale || held.expires_at - Date.now() < EARLY_MS)) held = await renewed(held.access_token);
  return held?.access_token;
}

/** The records of one collection. Every write may be repeated when its answer was lost: none has its effect twice. */
export function collection(name) {
  const base = `collections/${name}/records`;
  return {
    get: (id) => call("GET", `${base}/${id}`),
    /** The id is made here; refused with 412 when a record has it already. */
    create: (id, values) => call("PUT", `${base}/${id}`, { json: values, headers: { "If-None-Match": "*" } }),
    /** Refused with 412 when somebody changed the record since revision `rev`. */
    update: (id, rev, values) => call("PATCH", `${base}/${id}`, { json: values, headers: { "If-Match": `"${rev}"` } }),
    delete: (id) => call("DELETE", `${base}/${id}`),
  };
}

/** Makes several records in one transaction: `[collection, values]` each. */
export function batch(records) {
  const operations = records.map(([name, values]) => ({ method: "POST", path: `/collections/${name}/records`, body: plain(values) }));
  return call("POST", "batch", { json: { operations }, headers: { "Idempotency-Key": crypto.randomUUID() } });
}

/** In a batch `@{…}` speaks of earlier answers, unless the sign is doubled; what people write means itself. */
function plain(values) {
  const escaped = (value) => (typeof value === "string" ? value.replaceAll("@{", "@@{") : value);
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, escaped(value)]));
}
