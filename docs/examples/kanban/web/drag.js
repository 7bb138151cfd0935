// Cards by mouse, pen or finger. Pointer events, not the browser's own drag and drop, which touch screens do not have.

const FAR_PX = 5; // less than this is a click
const EDGE_PX = 48;

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
    carried.ghost.style.translate = `${event.clientX - carried.dx}px ${event.clientY - carried.dy}px`;
    scroll(event);
    place(event);
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
    on.start(carried.id);
    event.preventDefault();
  }

  /** The gap goes where the card would. */
  function place(event) {
    const column = document.elementFromPoint(event.clientX, event.clientY)?.closest(".column");
    if (!column) return;
    const cards = [...column.querySelectorAll(".card:not(.lifted)")];
    const below = cards.find((card) => { const box = card.getBoundingClientRect(); return event.clientY < box.top + box.height / 2; });
    const list = column.querySelector(".cards");
    if (carried.gap.parentElement !== list || carried.gap.nextElementSibling !== (below ?? null)) list.insertBefore(carried.gap, below ?? null);
  }

  function scroll(event) {
    const box = board.getBoundingClientRect();
    if (event.clientX < box.left + EDGE_PX) board.scrollLeft -= 12;
    if (event.clientX > box.right - EDGE_PX) board.scrollLeft += 12;
  }

  function up(event) {
    if (event.pointerId !== carried.pointer) return;
    if (!carried.up) return end();
    const { gap, id } = carried;
    const column = gap.closest(".column").dataset.id;
    let next = gap.nextElementSibling;
    while (next && !next.matches(".card:not(.lifted)")) next = next.nextElementSibling;
    const before = next?.dataset.id ?? null;
    addEventListener("click", (click) => { click.stopPropagation(); click.preventDefault(); }, { capture: true, once: true, signal: AbortSignal.timeout(50) });
    end();
    on.drop(id, column, before);
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
    was.ghost.remove();
    was.gap.remove();
    was.card.classList.remove("lifted");
    document.documentElement.classList.remove("carrying");
    on.end();
  }
}
