// Cards by mouse, pen or finger. Pointer events, not the browser's own drag and drop, which touch screens do not have.

const FAR_PX = 5; // less than this is a click
const EDGE_PX = 48; // so near to an edge, what lies behind it comes into sight
const PACE = 0.9; // at the edge itself, in px a millisecond

/**
 * Cards below `board` can be carried. `on.start(id)` when one is picked up, `on.drop(id, column, before)` when it is put down
 * (`before`: the id of the card below, null at the end), `on.end()` after either way.
 */
export function carry(board, on) {
  let carried = null;

  board.addEventListener("pointerdown", (event) => {
    const card = event.target.closest(".card");
    if (!card || event.button !== 0 || carried || card.classList.contains("gone")) return;
    if (event.pointerType === "touch" && !event.target.closest(".grip")) return; // a finger elsewhere scrolls
    carried = { card, id: card.dataset.id, x: event.clientX, y: event.clientY, pointer: event.pointerId, up: false };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up);
    addEventListener("pointercancel", cancel);
    addEventListener("keydown", key, true);
  });

  function move(event) {
    if (event.pointerId !== carried.pointer) return;
    if (!carried.up) {
      if (Math.hypot(event.clientX - carried.x, event.clientY - carried.y) < FAR_PX) return;
      lift(event);
    }
    Object.assign(carried, { nowX: event.clientX, nowY: event.clientY });
    carried.ghost.style.translate = `${carried.nowX - carried.dx}px ${carried.nowY - carried.dy}px`;
    place();
  }

  function lift(event) {
    const box = carried.card.getBoundingClientRect();
    const ghost = carried.card.cloneNode(true);
    ghost.classList.add("ghost");
    ghost.removeAttribute("data-id");
    ghost.setAttribute("aria-hidden", "true");
    ghost.style.width = `${box.width}px`;
    const gap = document.createElement("li");
    gap.className = "gap";
    gap.style.height = `${box.height}px`;
    Object.assign(carried, { up: true, ghost, gap, dx: carried.x - box.left, dy: carried.y - box.top });
    document.body.append(ghost);
    carried.card.classList.add("lifted");
    carried.card.before(gap);
    document.documentElement.classList.add("carrying");
    carried.frame = requestAnimationFrame((now) => scroll(now, now));
    on.start(carried.id);
    event.preventDefault();
  }

  /** The gap goes where the card would. */
  function place() {
    const column = document.elementFromPoint(carried.nowX, carried.nowY)?.closest(".column");
    if (!column) return;
    const cards = [...column.querySelectorAll(".card:not(.lifted)")];
    const below = cards.find((card) => { const box = card.getBoundingClientRect(); return carried.nowY < box.top + box.height / 2; });
    const list = column.querySelector(".cards");
    if (carried.gap.parentElement !== list || carried.gap.nextElementSibling !== (below ?? null)) list.insertBefore(carried.gap, below ?? null);
  }

  /** Frame by frame, since a hand that waits at an edge sends no events. */
  function scroll(before, now) {
    const list = carried.gap.parentElement;
    const [frame, within] = [board.getBoundingClientRect(), list.getBoundingClientRect()];
    const was = [board.scrollLeft, list.scrollTop];
    board.scrollLeft += pull(carried.nowX, frame.left, frame.right) * (now - before);
    if (carried.nowX > within.left && carried.nowX < within.right) list.scrollTop += pull(carried.nowY, within.top, within.bottom) * (now - before);
    if (board.scrollLeft !== was[0] || list.scrollTop !== was[1]) place();
    carried.frame = requestAnimationFrame((next) => scroll(now, next));
  }

  function up(event) {
    if (event.pointerId !== carried.pointer) return;
    if (!carried.up) return end();
    const { gap, id } = carried;
    const column = gap.closest(".column");
    let next = gap.nextElementSibling;
    while (next && !next.matches(".card:not(.lifted)")) next = next.nextElementSibling;
    const before = next?.dataset.id ?? null;
    addEventListener("click", (click) => { click.stopPropagation(); click.preventDefault(); }, { capture: true, once: true, signal: AbortSignal.timeout(50) });
    column.scrollIntoView({ block: "nearest", inline: "nearest" }); // else a narrow board could snap to its neighbour
    end();
    on.drop(id, column.dataset.id, before);
  }

  function cancel(event) {
    if (event.pointerId === carried.pointer) end();
  }

  function key(event) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    end();
  }

  function end() {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", up);
    removeEventListener("pointercancel", cancel);
    removeEventListener("keydown", key, true);
    const was = carried;
    carried = null;
    if (!was.up) return;
    cancelAnimationFrame(was.frame);
    was.ghost.remove();
    was.gap.remove();
    was.card.classList.remove("lifted");
    document.documentElement.classList.remove("carrying");
    on.end();
  }
}

/** The pace at this place between two edges: none in the middle, the full one at an edge and beyond it. */
function pull(at, low, high) {
  const depth = Math.max(low + EDGE_PX - at, at - (high - EDGE_PX), 0);
  return Math.min(depth / EDGE_PX, 1) * PACE * (at < (low + high) / 2 ? -1 : 1);
}
