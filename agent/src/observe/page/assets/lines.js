// The ways of lines, and places for their labels that hide nothing.

import { HEIGHT, WIDTH } from './layout.js';

/** Room that a label takes. */
const LABEL = { width: 92, height: 22 };

/** The way of a line from node to node, its arrow, and points on it that a label may have: the best ones first. */
export function line({ points, back }) {
  let d = `M${points[0].x} ${points[0].y}`;
  const inside = [];
  const between = [];
  for (let at = 1; at < points.length; at += 1) {
    const [from, to] = [points[at - 1], points[at]];
    const middle = (from.x + to.x) / 2;
    d += ` C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`;
    // Every second piece is a straight one, where the line passes a column.
    (at % 2 === 0 ? inside : between).push((part) => curve(from, to, part));
  }
  const parts = [0.5, 0.4, 0.6, 0.32, 0.68];
  const places = [...inside.map((on) => on(0.5)), ...parts.flatMap((part) => between.map((on) => on(part)))];
  const end = points[points.length - 1];
  const tip = back ? 9 : -9;
  return { d, places, arrow: `M${end.x} ${end.y}l${tip} -5v10z` };
}

/** The same for a node that calls itself. */
export function loop({ x, y }) {
  const [from, to] = [x + WIDTH - 64, x + WIDTH - 24];
  return {
    d: `M${from} ${y}C${from - 8} ${y - 30} ${to + 8} ${y - 30} ${to} ${y}`,
    places: [{ x: (from + to) / 2, y: y - 33 }],
    arrow: `M${to} ${y}l-5 -9h10z`,
  };
}

/** A point on a piece of a line (a cubic curve that begins and ends level). */
function curve(from, to, part) {
  const rest = 1 - part;
  const weights = [rest ** 3, 3 * rest ** 2 * part, 3 * rest * part ** 2, part ** 3];
  const middle = (from.x + to.x) / 2;
  const on = (values) => values.reduce((sum, value, at) => sum + value * weights[at], 0);
  return { x: on([from.x, middle, middle, to.x]), y: on([from.y, from.y, to.y, to.y]) };
}

/** A place for the label of each line, by name: the first that no other label and no node has, if there is one. */
export function labels(paths, nodes) {
  const taken = [...nodes.values()].map(({ x, y }) => ({ x: x + WIDTH / 2, y: y + HEIGHT / 2, width: WIDTH, height: HEIGHT }));
  const isFree = ({ x, y }) => taken.every((other) =>
    Math.abs(x - other.x) >= (LABEL.width + other.width) / 2 || Math.abs(y - other.y) >= (LABEL.height + other.height) / 2);
  const found = new Map();
  // Who has the least choice comes first.
  const all = [...paths].sort(([, one], [, other]) => one.places.length - other.places.length);
  for (const [name, { places }] of all) {
    const place = places.find(isFree) ?? places[0];
    taken.push({ ...place, ...LABEL });
    found.set(name, place);
  }
  return found;
}
