// Makes the first operator. The one-time token is in the fragment of the link: browsers keep it to themselves, so it reaches
// neither a log nor a referrer. It leaves the address bar as soon as it is read.

const element = (id) => document.getElementById(id);
const fields = ["email", "password", "again"];
const token = new URLSearchParams(location.hash.slice(1)).get("token") || location.hash.slice(1);
history.replaceState(null, "", location.pathname);

function say(text, bad = false) {
  const note = document.createElement("p");
  note.className = bad ? "note bad" : "note";
  note.textContent = text;
  element("message").replaceChildren(note);
}

function fault(name, text) {
  const shown = element(`${name}-fault`);
  shown.textContent = text || "";
  shown.hidden = !text;
  element(name).setAttribute("aria-invalid", text ? "true" : "false");
}

function complaints() {
  const found = {};
  if (!element("email").value.includes("@")) found.email = "Enter an e-mail address.";
  if (element("password").value.length < 8) found.password = "Use at least 8 characters.";
  if (element("password").value !== element("again").value) found.again = "The two passwords differ.";
  return found;
}

function show(found) {
  for (const name of fields) fault(name, found[name]);
  const first = fields.find((name) => found[name]);
  if (first) element(first).focus();
  return !first;
}

async function create() {
  const answer = await fetch("/v1/operators/setup", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token, email: element("email").value.trim(), password: element("password").value }),
  });
  if (answer.ok) return null;
  return answer.json().catch(() => ({ detail: `The server answered ${answer.status}.` }));
}

function done() {
  element("form").hidden = true;
  element("heading").textContent = "The server is set up";
  element("lead").textContent = `${element("email").value.trim()} is the first operator.`;
  say(`Sign in on the command line with: baas login ${location.origin}`);
  for (const name of fields) element(name).value = "";
}

element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  element("message").replaceChildren();
  if (!show(complaints())) return;
  const button = element("submit");
  button.disabled = true;
  try {
    const problem = await create();
    if (problem === null) return done();
    const found = {};
    for (const one of problem.errors || []) found[one.pointer.slice(1)] = one.message;
    show(found);
    say(problem.hint ? `${problem.detail} ${problem.hint}` : problem.detail, true);
  } catch {
    say("The server could not be reached. Nothing was created; try again.", true);
  } finally {
    button.disabled = false;
  }
});

if (!token) {
  element("form").hidden = true;
  say("This address is not complete. Open the whole link that the server printed when it first started.", true);
}
