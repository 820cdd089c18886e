// The map: nodes and lines that are drawn, told apart by more than colour, and reached with the keyboard.

import { byId, drawing, element, kind, number, percent, plural, prose, share, shorten, write } from './dom.js';
import { HEIGHT, WIDTH, key, layout } from './layout.js';
import { labels, line, loop } from './lines.js';

const NAMES = { clients: 'clients', others: 'others' };
const WORDS = { clients: 'not followed here', others: 'less busy addresses', peer: 'not followed here' };
const LETTERS = 18;

/** How small the map may be drawn before it is scrolled. */
const SMALLEST = 0.72;

/** Draws what is known, and tells when somebody chooses a call or a node. */
export class NodeMap {
  constructor(choose, reasons) {
    this.choose = choose;
    this.reasons = reasons;
    this.topology = '';
    this.drawn = new Map();
    this.place = byId('map');
    this.hint = element('div', { class: 'hint', role: 'tooltip', id: 'hint', hidden: '' });
    // Beside the map, which may be scrolled, so that it is never cut off.
    this.place.after(this.hint);
    this.place.addEventListener('pointerleave', () => this.leave());
    this.place.addEventListener('scroll', () => this.hide());
  }

  /** Shows nodes and calls, and which of them is chosen. */
  show({ nodes, calls }, chosen) {
    const topology = JSON.stringify([nodes.map(({ id }) => id), calls.map(({ from, to }) => [from, to])]);
    if (topology !== this.topology) {
      this.topology = topology;
      this.build(nodes, calls);
    }
    nodes.forEach((node) => this.updateNode(node, calls, chosen));
    calls.forEach((call) => this.updateCall(call, chosen));
    if (this.shown) this.explain(this.shown);
  }

  build(nodes, calls) {
    const focused = document.activeElement?.dataset?.key;
    this.hide();
    this.drawn.clear();
    const places = layout(nodes.map(({ id }) => id), calls);
    this.places = places;
    const paths = new Map(calls.map(({ from, to }) =>
      [key(from, to), from === to ? loop(places.nodes.get(from)) : line(places.lines.get(key(from, to)))]));
    const at = labels(paths, places.nodes);
    const lines = drawing('g', {}, ...calls.map((call) => this.drawCall(call, paths, at)));
    const boxes = drawing('g', {}, ...nodes.map((node) => this.drawNode(node, places)));
    const size = { width: places.width, height: places.height, viewBox: `0 0 ${places.width} ${places.height}` };
    this.svg = drawing('svg', { ...size, role: 'group', 'aria-label': 'Map of calls' }, lines, boxes);
    this.svg.style.minWidth = `${Math.round(places.width * SMALLEST)}px`;
    this.place.replaceChildren(this.svg);
    this.drawn.get(focused)?.group.focus();
  }

  drawNode({ id, name, kind: type }, places) {
    const { x, y } = places.nodes.get(id);
    const slash = type === 'workload' ? name.indexOf('/') : -1;
    const title = drawing('text', { x: x + 14, y: y + 23, class: 'name' }, shorten(NAMES[type] ?? name.slice(slash + 1), LETTERS));
    const words = drawing('text', { x: x + 14, y: y + 41, class: 'words' });
    const box = drawing('rect', { x, y, width: WIDTH, height: HEIGHT, rx: 9 });
    const group = this.part(`node ${id}`, `node ${type}`, { id }, { x: x + WIDTH / 2, y: y + HEIGHT }, box, title, words);
    Object.assign(this.drawn.get(`node ${id}`), { words, space: slash > 0 ? name.slice(0, slash) : '' });
    return group;
  }

  drawCall({ from, to }, paths, at) {
    const name = key(from, to);
    const { d, arrow } = paths.get(name);
    const { x, y } = at.get(name);
    const stroke = drawing('path', { class: 'stroke', d });
    const pill = drawing('rect', { class: 'pill', y: y - 10, height: 20, rx: 10 });
    const [part, count] = [drawing('tspan', { class: 'part' }), drawing('tspan', { class: 'count' })];
    const label = drawing('text', { class: 'label', x, y: y + 4.5, 'text-anchor': 'middle' }, part, count);
    const group = this.part(name, 'call', { from, to }, { x, y: y + 8 },
      drawing('path', { class: 'halo', d }), stroke, drawing('path', { class: 'arrow', d: arrow }), pill, label);
    Object.assign(this.drawn.get(name), { part, count, stroke, pill, x });
    return group;
  }

  /** A part of the map that can be pointed at, focused and chosen. */
  part(name, style, what, anchor, ...children) {
    const group = drawing('g', { class: style, tabindex: 0, role: 'button', 'data-key': name }, ...children);
    this.drawn.set(name, { group, style, anchor });
    const act = () => this.choose(what);
    group.addEventListener('click', act);
    group.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      act();
    });
    group.addEventListener('pointerenter', () => this.explain(name));
    group.addEventListener('focus', () => this.explain(name));
    group.addEventListener('blur', () => this.hide());
    return group;
  }

  updateNode(node, calls, chosen) {
    const drawn = this.drawn.get(`node ${node.id}`);
    const [into, out] = [sum(calls.filter(({ to }) => to === node.id)), sum(calls.filter(({ from }) => from === node.id))];
    const runtimes = node.runtimes.join(', ');
    const words = WORDS[node.kind] ?? ([drawn.space, runtimes].filter(Boolean).join(' · ') || 'workload');
    write(drawn.words, shorten(words, LETTERS + 4));
    const name = NAMES[node.kind] ?? node.name;
    const lines = [`${plural(into.requests, 'request', 'requests')} in, ${number(out.requests)} out`];
    if (runtimes) lines.push(`Runs ${runtimes}.`);
    if (WORDS[node.kind]) lines.push(`${WORDS[node.kind]}.`);
    this.describe(drawn, name, lines, out, chosen?.id === node.id);
  }

  updateCall(call, chosen) {
    const drawn = this.drawn.get(key(call.from, call.to));
    const part = share(call);
    const isEntry = call.from === 'clients';
    drawn.stroke.style.strokeWidth = `${1.5 + Math.min(4, Math.log10(call.requests + 1) * 1.2)}px`;
    write(drawn.part, part === null ? '' : percent(part));
    write(drawn.count, `${part === null ? '' : ' · '}${number(call.requests)}`);
    const width = 12 + 6.5 * (drawn.part.textContent.length + drawn.count.textContent.length);
    drawn.pill.setAttribute('width', width);
    drawn.pill.setAttribute('x', drawn.x - width / 2);
    drawn.style = `call ${kind(part)}`;
    const lines = isEntry
      ? [`${plural(call.requests, 'request', 'requests')}, ${number(call.carried)} with headers to carry`]
      : [`${plural(call.requests, 'request', 'requests')}: ${outcomes(call)}`];
    this.describe(drawn, `${named(call.from)} → ${named(call.to)}`, lines, call, chosen?.from === call.from && chosen?.to === call.to);
  }

  /** Sets what is read out and what is hinted at. */
  describe(drawn, name, lines, tally, isChosen) {
    Object.assign(drawn, { name, lines, tally });
    const reasons = Object.entries(tally.reasons).map(([reason, count]) => `${reason} ${number(count)}`);
    const label = [name, ...lines, ...(reasons.length > 0 ? [`Reasons: ${reasons.join(', ')}`] : [])].join('. ');
    if (drawn.group.getAttribute('aria-label') !== label) drawn.group.setAttribute('aria-label', label);
    drawn.group.setAttribute('aria-pressed', String(isChosen));
    drawn.group.setAttribute('class', `${drawn.style}${isChosen ? ' chosen' : ''}`);
  }

  /** Shows what is known of a part, beside it. */
  explain(name) {
    const drawn = this.drawn.get(name);
    if (!drawn) return;
    this.shown = name;
    const reasons = Object.entries(drawn.tally.reasons).sort(([, one], [, other]) => other - one);
    const rows = reasons.slice(0, 4).map(([reason, count]) =>
      element('li', {}, element('strong', {}, `${reason} `), `× ${number(count)}`, element('span', {}, ...prose(this.reasons()[reason]?.why ?? ''))));
    this.hint.replaceChildren(
      element('p', { class: 'title' }, drawn.name),
      ...drawn.lines.map((line) => element('p', {}, line)),
      ...(rows.length > 0 ? [element('ul', {}, ...rows)] : []),
    );
    this.hint.hidden = false;
    const [svg, card] = [this.svg.getBoundingClientRect(), this.hint.parentElement.getBoundingClientRect()];
    const scale = svg.width / this.places.width;
    const x = svg.left - card.left + drawn.anchor.x * scale - this.hint.offsetWidth / 2;
    this.hint.style.left = `${Math.max(8, Math.min(x, card.width - this.hint.offsetWidth - 8))}px`;
    this.hint.style.top = `${svg.top - card.top + drawn.anchor.y * scale + 6}px`;
  }

  /** Hides what the pointer has left; what has the focus stays explained. */
  leave() {
    const focused = document.activeElement?.dataset?.key;
    if (this.drawn.has(focused)) this.explain(focused);
    else this.hide();
  }

  hide() {
    this.shown = null;
    this.hint.hidden = true;
  }

  /** Whether something was hinted at, which is hidden now. */
  dismiss() {
    const wasShown = !this.hint.hidden;
    this.hide();
    return wasShown;
  }
}

/** A node's name from its id, as the daemon makes it. */
export const named = (id) => id.replace(/^(workload|peer) /, '');

/** What became of calls, without what there was none of. */
function outcomes({ kept, lost, nothing }) {
  const parts = [[kept, 'kept'], [lost, 'lost'], [nothing, 'with nothing to insert']];
  return parts.filter(([count]) => count > 0).map(([count, words]) => `${number(count)} ${words}`).join(', ');
}

/** Several calls together. */
function sum(calls) {
  const total = { requests: 0, kept: 0, lost: 0, reasons: {} };
  for (const call of calls) {
    total.requests += call.requests;
    total.kept += call.kept;
    total.lost += call.lost;
    for (const [reason, count] of Object.entries(call.reasons)) total.reasons[reason] = (total.reasons[reason] ?? 0) + count;
  }
  return total;
}
