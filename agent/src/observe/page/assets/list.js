// The calls as a list, for windows in which a map has no room.

import { byId, element, kind, number, percent, plural, share, write } from './dom.js';
import { key } from './layout.js';
import { named } from './map.js';

/** Draws the calls. A call stays in its place while it is there. */
export class CallList {
  constructor(choose) {
    this.choose = choose;
    this.drawn = new Map();
  }

  /** Shows calls, and which of them is chosen. */
  show(calls, chosen) {
    const wanted = new Set(calls.map(({ from, to }) => key(from, to)));
    for (const [name, { item }] of this.drawn) {
      if (wanted.has(name)) continue;
      item.remove();
      this.drawn.delete(name);
    }
    let before = byId('list').firstElementChild;
    for (const call of calls) {
      const drawn = this.drawn.get(key(call.from, call.to)) ?? this.begin(call);
      if (drawn.item === before) before = before.nextElementSibling;
      else byId('list').insertBefore(drawn.item, before);
      const part = share(call);
      const reasons = Object.entries(call.reasons).map(([reason, count]) => `${reason} × ${number(count)}`);
      drawn.button.className = kind(part);
      drawn.button.setAttribute('aria-pressed', String(chosen?.from === call.from && chosen?.to === call.to));
      write(drawn.part, part === null ? '' : `${percent(part)} kept`);
      write(drawn.count, plural(call.requests, 'request', 'requests'));
      write(drawn.reasons, reasons.join(', '));
    }
  }

  begin({ from, to }) {
    const [part, count, reasons] = ['part', 'note', 'bad'].map((style) => element('span', { class: style }));
    const button = element('button', { type: 'button' }, element('span', { class: 'name' }, `${named(from)} → ${named(to)}`), part, count, reasons);
    button.addEventListener('click', () => this.choose({ from, to }));
    const drawn = { item: element('li', {}, button), button, part, count, reasons };
    this.drawn.set(key(from, to), drawn);
    return drawn;
  }
}
