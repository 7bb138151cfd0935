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

async function send(method, path, { json, body, headers, query } = {}, token) {
  const address = new URL(`/v1/${path}`, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) if (value != null) address.searchParams.set(name, value);
  const answer = await fetch(address, {
    method,
    body: json === undefined ? body : JSON.stringify(json),
    headers: {
      ...(json === undefined ? {} : { "Content-Type": "application/json" }),
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...headers,
    },
  });
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
  const type = answer.headers.get("Content-Type") ?? "";
  return answer.status === 204 ? null : type.includes("json") ? answer.json() : answer.blob();
}

/** The records of one collection. */
export function collection(name) {
  const base = `collections/${name}/records`;
  return {
    list: ({ vars, ...query }) => call("GET", base, { query: { ...query, vars: vars && JSON.stringify(vars) } }),
    create: (values) => call("POST", base, { json: values }),
    /** Refused with 412 when somebody changed the record since `record` was read. */
    update: (record, values) =>
      call("PATCH", `${base}/${record.id}`, { json: values, headers: { "If-Match": `"${record.rev}"` } }),
    delete: (record) => call("DELETE", `${base}/${record.id}`),
  };
}

/** The files of one bucket. */
export function bucket(name) {
  const at = (path) => `buckets/${name}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
  return {
    upload: (path, file) => call("PUT", at(path), { body: file, headers: { "Content-Type": file.type } }),
    /** As a Blob: the file is private, so an <img> could not fetch it by itself. */
    read: (path) => call("GET", at(path)),
    delete: (path) => call("DELETE", at(path)),
  };
}
