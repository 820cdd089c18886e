// Where nodes and lines are: layers from left to right, from those who call to those who are called. The same nodes and
// calls always come to the same places.

export const WIDTH = 166;
export const HEIGHT = 54;
const GAP = 114;
const BETWEEN = 30;
const SLOT = 26;
const MARGIN = 26;
const SWEEPS = 8;

/** `ids` in their order and `calls` as `{from, to}`: returns places of nodes, points of lines, and the whole size. */
export function layout(ids, calls) {
  const pairs = calls.filter(({ from, to }) => from !== to);
  const forward = acyclic(ids, pairs);
  const layerOf = layers(ids, forward);
  const { columns, chains, neighbours } = chain(ids, forward, layerOf);
  order(columns, neighbours);
  const heights = rows(columns, neighbours);
  return places(columns, chains, heights, calls);
}

/** The calls turned so that they have no cycle. Those that were turned have `back`. */
function acyclic(ids, pairs) {
  const out = new Map(ids.map((id) => [id, []]));
  const called = new Set(pairs.map(({ to }) => to));
  pairs.forEach(({ from, to }) => out.get(from).push(to));
  const state = new Map();
  const back = new Set();
  // Depth first, without recursion: a chain may be long.
  for (const root of [...ids.filter((id) => !called.has(id)), ...ids]) {
    const stack = state.has(root) ? [] : [[root, 0]];
    if (stack.length > 0) state.set(root, 'open');
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const next = out.get(top[0])[top[1]];
      top[1] += 1;
      if (next === undefined) {
        state.set(top[0], 'done');
        stack.pop();
      } else if (state.get(next) === 'open') {
        back.add(key(top[0], next));
      } else if (!state.has(next)) {
        state.set(next, 'open');
        stack.push([next, 0]);
      }
    }
  }
  return pairs.map(({ from, to }) =>
    back.has(key(from, to)) ? { from: to, to: from, back: true } : { from, to, back: false });
}

/** A layer for each node: one more than the furthest of its callers. */
function layers(ids, forward) {
  const callers = new Map(ids.map((id) => [id, 0]));
  const out = new Map(ids.map((id) => [id, []]));
  for (const { from, to } of forward) {
    callers.set(to, callers.get(to) + 1);
    out.get(from).push(to);
  }
  const layer = new Map(ids.map((id) => [id, 0]));
  const roots = ids.filter((id) => callers.get(id) === 0);
  const ready = [...roots];
  for (let at = 0; at < ready.length; at += 1) {
    for (const to of out.get(ready[at])) {
      layer.set(to, Math.max(layer.get(to), layer.get(ready[at]) + 1));
      callers.set(to, callers.get(to) - 1);
      if (callers.get(to) === 0) ready.push(to);
    }
  }
  // Who is called by nobody stands close to whom it calls.
  for (const root of roots) {
    const next = out.get(root).map((to) => layer.get(to));
    if (next.length > 0) layer.set(root, Math.min(...next) - 1);
  }
  return layer;
}

/** Columns of cells: nodes, and the places where lines pass. A line is a chain of cells. */
function chain(ids, forward, layerOf) {
  const columns = Array.from({ length: Math.max(0, ...layerOf.values()) + 1 }, () => []);
  const neighbours = new Map();
  const add = (id, layer, isNode) => {
    columns[layer].push({ id, isNode });
    neighbours.set(id, { left: [], right: [] });
  };
  ids.forEach((id) => add(id, layerOf.get(id), true));
  const chains = forward.map(({ from, to, back }) => {
    const cells = [from];
    for (let layer = layerOf.get(from) + 1; layer < layerOf.get(to); layer += 1) {
      const id = `${key(from, to)} ${back} ${layer}`;
      add(id, layer, false);
      cells.push(id);
    }
    cells.push(to);
    for (let at = 1; at < cells.length; at += 1) {
      neighbours.get(cells[at - 1]).right.push(cells[at]);
      neighbours.get(cells[at]).left.push(cells[at - 1]);
    }
    return { from, to, back, cells };
  });
  return { columns, chains, neighbours };
}

/** Orders each column after the middle of its cells' neighbours, so that few lines cross. */
function order(columns, neighbours) {
  const place = new Map();
  const number = (column) => column.forEach(({ id }, at) => place.set(id, at - column.length / 2));
  columns.forEach(number);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const side = sweep % 2 === 0 ? 'left' : 'right';
    const inOrder = sweep % 2 === 0 ? columns : [...columns].reverse();
    for (const column of inOrder) {
      const wish = new Map(column.map(({ id }) => [id, mean(neighbours.get(id)[side].map((other) => place.get(other)), place.get(id))]));
      column.sort((one, other) => wish.get(one.id) - wish.get(other.id) || (one.id < other.id ? -1 : 1));
      number(column);
    }
  }
}

/** The height of each cell's middle: as close to its neighbours' as the others in its column allow. */
function rows(columns, neighbours) {
  const y = new Map();
  const room = ({ isNode }) => (isNode ? HEIGHT + BETWEEN : SLOT);
  const apart = (one, other) => (room(one) + room(other)) / 2;
  for (const column of columns) {
    let at = 0;
    column.forEach((cell, place) => {
      at += place > 0 ? apart(column[place - 1], cell) : 0;
      y.set(cell.id, at);
    });
    column.forEach(({ id }) => y.set(id, y.get(id) - at / 2));
  }
  for (let sweep = 0; sweep < 2 * SWEEPS; sweep += 1) {
    const inOrder = sweep % 2 === 0 ? columns : [...columns].reverse();
    for (const column of inOrder) {
      const wish = column.map(({ id }) => {
        const { left, right } = neighbours.get(id);
        return mean([...left, ...right].map((other) => y.get(other)), y.get(id));
      });
      // Down where the one above is too close, and up again by what that was too much on average.
      const placed = [];
      column.forEach((cell, at) => {
        placed.push(at > 0 ? Math.max(wish[at], placed[at - 1] + apart(column[at - 1], cell)) : wish[at]);
      });
      const tooMuch = mean(placed.map((each, at) => each - wish[at]), 0);
      column.forEach(({ id }, at) => y.set(id, placed[at] - tooMuch));
    }
  }
  return y;
}

/** Coordinates of all, with a margin. */
function places(columns, chains, y, calls) {
  const all = [...y.values()];
  const top = Math.min(0, ...all) - HEIGHT / 2 - MARGIN;
  const nodes = new Map();
  const left = new Map();
  columns.forEach((column, layer) => column.forEach(({ id, isNode }) => {
    left.set(id, MARGIN + layer * (WIDTH + GAP));
    if (isNode) nodes.set(id, { x: left.get(id), y: y.get(id) - top - HEIGHT / 2 });
  }));
  const both = new Set(calls.map(({ from, to }) => key(from, to)));
  const lines = new Map();
  for (const { from, to, back, cells } of chains) {
    // Two lines between the same nodes are a little apart.
    const shift = both.has(key(from, to)) && both.has(key(to, from)) ? (back ? 12 : -9) : 0;
    const points = [];
    cells.forEach((id, at) => {
      const level = y.get(id) - top + (at === 0 || at === cells.length - 1 ? shift : 0);
      if (at > 0) points.push({ x: left.get(id), y: level });
      if (at < cells.length - 1) points.push({ x: left.get(id) + WIDTH, y: level });
    });
    lines.set(back ? key(to, from) : key(from, to), { points: back ? points.reverse() : points, back });
  }
  return {
    nodes,
    lines,
    width: 2 * MARGIN + columns.length * WIDTH + (columns.length - 1) * GAP,
    height: Math.max(0, ...all) + HEIGHT / 2 + MARGIN - top,
  };
}

export const key = (from, to) => `${from} → ${to}`;

const mean = (values, otherwise) => (values.length > 0 ? values.reduce((sum, value) => sum + value, 0) / values.length : otherwise);
