// What others do, as it happens: one stream of events, kept alive. After a break it goes on where it was, so nothing is lost.
//
// `fetch` instead of EventSource, because it can send the access token and read why the server refuses.

import { accessToken, session } from "./api.js";

const LEAST_MS = 200;
const SLOWEST_MS = 5_000;
const SILENCE_MS = 75_000; // the server says something every 30 seconds: longer than this, and the line is dead

/**
 * Follows lists. `on.snapshot(subscription, items, first, more)` brings all of a list, `on.change(subscription, event)` one
 * change, `on.state("live" | "away")` tells how it stands, `on.refused(problem)` that it is over. Gives a function that ends it.
 */
export function follow(subscriptions, on) {
  const ending = new AbortController();
  const gone = ending.signal;
  (async () => {
    let place = null; // the id of the last event that was taken: what has been shown, and what has not
    let pause = 0;
    let refused = null;
    while (!gone.aborted) {
      try {
        const token = await accessToken(refused);
        refused = null;
        if (!token) return on.refused({ status: 401 });
        const answer = await ask(subscriptions, token, place, gone);
        if (answer.status === 401) refused = token;
        else if (answer.status === 410 || (answer.status === 400 && place)) place = null; // too long away: begin again with everything
        else if (!answer.ok && answer.status < 500 && answer.status !== 429) return on.refused(await problemOf(answer));
        if (answer.ok) {
          for await (const event of events(answer.body, gone)) {
            if (event.name === "ready") { pause = 0; on.state("live"); }
            else if (event.name === "snapshot") on.snapshot(event.data.subscription, event.data.items, event.data.first, event.data.more);
            else if (event.name === "change") on.change(event.data.subscription, event.data);
            else if (event.name === "ended") on.ended?.(event.data.subscription);
            else if (event.name === "reconnect") pause = event.data.after_ms ?? 0;
            place = event.id || place;
          }
        }
      } catch {
        // The server, or the way to it, is away.
      }
      if (gone.aborted) return;
      if (!session()) return on.refused({ status: 401 });
      on.state("away");
      await moment(Math.max(LEAST_MS, pause) * (0.5 + Math.random() / 2), gone);
      pause = Math.min(SLOWEST_MS, Math.max(250, pause * 2));
    }
  })();
  return () => ending.abort();
}

function ask(subscriptions, token, place, gone) {
  return fetch("/v1/realtime", {
    method: "POST",
    signal: gone,
    body: JSON.stringify(subscriptions),
    headers: {
      Accept: "text/event-stream",
      "Content-Type": "application/json",
      Authorization: `Bearer ${token}`,
      ...(place ? { "Last-Event-ID": place } : {}),
    },
  });
}

async function problemOf(answer) {
  return { status: answer.status, ...(await answer.json().catch(() => ({}))) };
}

/** The events of a `text/event-stream` body, until it ends or has been silent for too long. */
async function* events(body, gone) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await within(reader.read(), SILENCE_MS, gone);
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  const event = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name) event[name] = value;
  }
  return event.data ? { id: event.id, name: event.event, data: JSON.parse(event.data) } : null;
}

function within(promise, ms, gone) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("silence")), ms);
    gone.addEventListener("abort", () => reject(new Error("ended")), { once: true });
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** A pause, cut short when the browser is back on the network. */
function moment(ms, gone) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
    addEventListener("online", resolve, { once: true });
    gone.addEventListener("abort", resolve, { once: true });
  });
}
