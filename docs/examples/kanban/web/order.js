// Places in a list, as text: there is always room between two of them, so a move changes one record and no other.

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"; // in the order in which texts compare
const STEP = 8; // at an open end: small steps, so that the texts stay short

/** A text above `low` and below `high`; null is an open end. Two people in the same gap hardly ever get the same one. */
export function between(low, high) {
  return middle(low ?? "", high) + DIGITS[1 + Math.floor(Math.random() * (DIGITS.length - 1))];
}

/** Never ends in the lowest digit: below such a text there would be no room. */
function middle(low, high) {
  if (high != null) {
    let same = 0;
    while (same < high.length && (low[same] ?? DIGITS[0]) === high[same]) same++;
    if (same) return high.slice(0, same) + middle(low.slice(same), high.slice(same));
  }
  const from = low ? DIGITS.indexOf(low[0]) : 0;
  const to = high ? DIGITS.indexOf(high[0]) : Math.min(DIGITS.length, from + 2 * STEP);
  if (to - from > 1) return DIGITS[Math.floor((from + to) / 2)];
  if (high && high.length > 1) return high[0] + middle("", high.slice(1));
  return DIGITS[from] + middle(low.slice(1), null);
}

/** By position; who shares one is in the order of ids, the same for everybody. */
export function inOrder(records) {
  return [...records].sort((a, b) => compare(a.position, b.position) || compare(a.id, b.id));
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
