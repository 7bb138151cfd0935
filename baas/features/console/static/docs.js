// Shows an OpenAPI document of this server. Text from the document is only ever set as text, never as markup.

const METHODS = ["get", "head", "post", "put", "patch", "delete"];
const EXAMPLES = {
  uuid: "01939d3e-7b1c-7f2e-9c58-2f1f6f0c9a11", "date-time": "2026-11-20T10:31:07.104233Z", date: "2026-11-20", decimal: "9.50",
  email: "ada@example.com",
};
const element = (id) => document.getElementById(id);

function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  const { text, ...attributes } = options;
  for (const [name, value] of Object.entries(attributes)) if (value != null) node.setAttribute(name, value);
  if (text != null) node.textContent = text;
  node.append(...children.filter(Boolean));
  return node;
}

// ── reading the document ──────────────────────────────────────────────────────────────────────────────────────────────

function resolve(root, schema, seen = new Set()) {
  while (schema && schema.$ref && !seen.has(schema.$ref)) {
    seen.add(schema.$ref);
    const keys = schema.$ref.split("/").slice(1).map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    schema = keys.reduce((part, key) => part && part[key], root);
  }
  return schema || {};
}

function kindOf(root, schema) {
  if (schema && schema.$ref) return schema.$ref.split("/").pop();
  if (!schema || !Object.keys(schema).length) return "any JSON";
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  const several = schema.oneOf || schema.anyOf;
  if (several) return [...new Set(several.map((one) => kindOf(root, one)))].join(" or ");
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "any JSON";
  if (type.startsWith("array")) return `list of ${kindOf(root, schema.items)}`;
  return schema.format ? `${type} (${schema.format})` : type;
}

function limits(schema) {
  const words = [];
  if (schema.minimum != null || schema.maximum != null) words.push(`${schema.minimum ?? "…"} to ${schema.maximum ?? "…"}`);
  if (schema.minLength != null || schema.maxLength != null) {
    words.push(`${schema.minLength ?? 0} to ${schema.maxLength ?? "…"} characters`);
  }
  if (schema.pattern) words.push(`matches ${schema.pattern}`);
  if (schema.default !== undefined) words.push(`default ${JSON.stringify(schema.default)}`);
  if (schema.readOnly) words.push("read only");
  return words.join("; ");
}

function example(root, schema, depth = 0) {
  const plain = resolve(root, schema);
  if ("default" in plain) return plain.default;
  if ("const" in plain) return plain.const;
  if (plain.enum) return plain.enum[0];
  const several = plain.oneOf || plain.anyOf;
  if (several) return example(root, several[0], depth);
  const type = Array.isArray(plain.type) ? plain.type[0] : plain.type;
  if (type === "object" || plain.properties) {
    if (depth > 3) return {};
    const members = Object.entries(plain.properties || {});
    return Object.fromEntries(members.map(([name, one]) => [name, example(root, one, depth + 1)]));
  }
  if (type === "array") return depth > 3 ? [] : [example(root, plain.items || {}, depth + 1)];
  if (type === "integer" || type === "number") return plain.minimum ?? 1;
  if (type === "boolean") return true;
  if (type === "string") return EXAMPLES[plain.format] || "…";
  return null;
}

// ── showing it ────────────────────────────────────────────────────────────────────────────────────────────────────────

function row(root, name, schema, { required = false, description = "" } = {}) {
  const plain = resolve(root, schema);
  const words = [description || schema.description || plain.description, limits(plain)].filter(Boolean).join(" ");
  return make("tr", {},
    make("td", { text: name }, required && make("span", { class: "need", text: "required" })),
    make("td", {}, make("span", { class: "kind", text: kindOf(root, schema) }), words && make("div", { text: words })));
}

function table(rows) {
  return make("div", { class: "scroll" }, make("table", {}, make("tbody", {}, ...rows)));
}

function section(title, ...content) {
  return make("section", {}, make("h3", { text: title }), ...content);
}

function bodyView(root, title, content) {
  const [type, media] = Object.entries(content)[0];
  const schema = media.schema || {};
  const plain = resolve(root, schema.oneOf ? schema.oneOf[0] : schema);
  const required = new Set(plain.required || []);
  const members = Object.entries(plain.properties || {});
  const rows = members.map(([name, one]) => row(root, name, one, { required: required.has(name) }));
  const heading = `${title} · ${type}${schema.$ref || schema.oneOf ? ` · ${kindOf(root, schema)}` : ""}`;
  return section(heading, rows.length ? table(rows) : make("p", { class: "kind", text: kindOf(root, schema) }));
}

function curl(root, server, path, method, operation) {
  const lines = [`curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} '${server}${path}'`];
  if (!operation.security.some((one) => !Object.keys(one).length)) lines.push(`-H 'Authorization: Bearer …'`);
  const content = operation.requestBody && Object.entries(operation.requestBody.content)[0];
  if (content) {
    lines.push(`-H 'Content-Type: ${content[0]}'`);
    const body = JSON.stringify(example(root, content[1].schema)).replaceAll("'", "'\\''");
    lines.push(content[0].endsWith("json") ? `-d '${body}'` : "--data-binary @file");
  }
  return make("pre", { tabindex: "0" }, make("code", { text: lines.join(" \\\n  ") }));
}

function pathView(path) {
  const view = make("span", { class: "path" });
  for (const part of path.split(/(\{[^}]+\})/)) view.append(part.startsWith("{") ? make("i", { text: part }) : part);
  return view;
}

function inside(root, path, method, operation) {
  const view = make("div", { class: "inside" });
  view.append(make("p", { class: "who", text: operation["x-policy"] || "" }));
  const parameters = operation.parameters || [];
  if (parameters.length) {
    view.append(section("Parameters", table(parameters.map((one) =>
      row(root, { path: `{${one.name}}`, header: `${one.name}:` }[one.in] ?? `?${one.name}`, one.schema || {}, one)))));
  }
  if (operation.requestBody) view.append(bodyView(root, "Body", operation.requestBody.content));
  const answers = [];
  for (const [status, answer] of Object.entries(operation.responses)) {
    if (status === "default") continue;
    const plain = resolve(root, answer);
    const kind = plain.content ? Object.values(plain.content)[0].schema : null;
    const described = make("span", { text: plain.description });
    answers.push(make("tr", {}, make("td", { text: status }),
      make("td", {}, described, kind && make("div", { class: "kind", text: kindOf(root, kind) }))));
  }
  view.append(section("Answers", table(answers)));
  view.append(section("By hand", curl(root, root.servers[0].url, path, method, operation)));
  return view;
}

function callView(root, path, method, operation) {
  const view = make("details", { class: "call", id: operation.operationId });
  view.append(make("summary", {},
    make("span", { class: `method ${method}`, text: method.toUpperCase() }), pathView(path),
    make("span", { class: "what", text: operation.summary })));
  view.addEventListener("toggle", () => {
    if (view.open && view.children.length === 1) view.append(inside(root, path, method, operation));
  });
  return view;
}

function linkView({ path, method, operation }) {
  const words = `${method} ${path} ${operation.summary}`.toLowerCase();
  return make("li", { "data-words": words },
    make("a", { href: `#${operation.operationId}`, title: `${method.toUpperCase()} ${path}` },
      make("span", { class: `method ${method}`, text: method.toUpperCase() }), make("span", { text: operation.summary })));
}

function calls(root) {
  const groups = new Map(root.tags.map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(root.paths)) {
    for (const method of METHODS) {
      if (item[method]) groups.get(item[method].tags[0]).push({ path, method, operation: item[method] });
    }
  }
  return groups;
}

function show(root) {
  element("title").textContent = root.info.title === "baas" ? "API reference" : root.info.title;
  element("about").textContent = root.info.description;
  element("version").textContent = root.info.version;
  const contents = [], groups = [];
  for (const [tag, list] of calls(root)) {
    if (!list.length) continue;
    const links = list.map(linkView);
    contents.push(make("section", {}, make("h2", { text: tag }), make("ul", {}, ...links)));
    groups.push(make("section", { class: "group" }, make("h2", { text: tag }),
      ...list.map((one) => callView(root, one.path, one.method, one.operation))));
  }
  element("contents").replaceChildren(...contents);
  element("calls").replaceChildren(...groups);
  openTarget();
}

// ── moving about ──────────────────────────────────────────────────────────────────────────────────────────────────────

function openTarget() {
  const target = location.hash && element(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  }
}

function filter() {
  const words = element("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of document.querySelectorAll("#contents li")) {
    item.hidden = !words.every((word) => item.dataset.words.includes(word));
  }
  for (const group of document.querySelectorAll("#contents section")) group.hidden = !group.querySelector("li:not([hidden])");
}

function say(text) {
  element("message").replaceChildren(...(text ? [make("p", { class: "note bad", text })] : []));
}

async function load() {
  const project = element("project").value.trim(), token = element("token").value.trim();
  const source = project ? `/v1/projects/${encodeURIComponent(project)}/openapi.json` : "/v1/openapi.json";
  try {
    const answer = await fetch(source, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    const found = await answer.json();
    if (!answer.ok) return say(found.detail);
    say("");
    show(found);
    if (project && !token) {
      say("Without a token this shows no collections. An operator's token, or a key with the scope “schema”, does.");
    }
  } catch {
    say("The document could not be read from the server.");
  }
}

element("source").addEventListener("submit", (event) => {
  event.preventDefault();
  const project = element("project").value.trim();
  history.replaceState(null, "", project ? `?project=${encodeURIComponent(project)}` : location.pathname);
  load();
});
element("find").addEventListener("input", filter);
window.addEventListener("hashchange", openTarget);
element("project").value = new URLSearchParams(location.search).get("project") || "";
load();
