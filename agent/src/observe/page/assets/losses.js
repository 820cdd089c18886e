// The table of losses, and the journey to one of them.

import { byId, clock, element, number, prose, write } from './dom.js';
import { named } from './map.js';

/** Draws the rows. A row stays in its place while it is there, so that nothing moves under a pointer or a focus. */
export class Losses {
  constructor(reasons) {
    this.reasons = reasons;
    this.rows = new Map();
    this.dialog = byId('journey');
    byId('close').addEventListener('click', () => this.dialog.close());
    this.dialog.addEventListener('click', (event) => {
      // A click beside it is one on its backdrop.
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener('close', () => this.rows.get(this.open)?.button.focus());
  }

  /** Shows those that `fits` lets through. */
  show(losses, fits, isEverything) {
    const shown = losses.filter(fits);
    const wanted = new Set(shown.map(({ id }) => id));
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      row.line.remove();
      this.rows.delete(id);
    }
    // The newest first; those that are there keep their order.
    let before = byId('rows').firstElementChild;
    for (const loss of shown) {
      const known = this.rows.get(loss.id) ?? this.begin(loss);
      if (known.line === before) before = before.nextElementSibling;
      else byId('rows').insertBefore(known.line, before);
      write(known.latest, clock(loss.latest));
      write(known.from, named(loss.from));
      write(known.to, named(loss.to));
      write(known.button, loss.request);
      write(known.count, number(loss.count));
    }
    byId('table').hidden = shown.length === 0;
    byId('no-losses').hidden = shown.length > 0;
    write(byId('no-losses'), isEverything ? 'None in the last minutes.' : 'No loss in the last minutes fits this choice.');
  }

  begin({ id, request, reason }) {
    const cells = { latest: element('time'), from: element('span'), to: element('span'), count: element('span') };
    const button = element('button', { type: 'button', title: 'Show how it was lost' }, request);
    const line = element('tr', { 'data-loss': id },
      element('td', { class: 'latest' }, cells.latest),
      element('td', { class: 'call-name' }, cells.from, ' → ', cells.to),
      element('td', { class: 'request' }, button),
      element('td', { class: 'reason' }, element('span', { title: this.reasons()[reason]?.why }, reason)),
      element('td', { class: 'count' }, '× ', cells.count));
    // The whole row for pointers, the button for all others.
    line.addEventListener('click', () => this.explain(id));
    const row = { line, button, ...cells };
    this.rows.set(id, row);
    return row;
  }

  async explain(id) {
    this.open = id;
    let told;
    try {
      const response = await fetch(`/losses/${id}`);
      if (!response.ok) throw new Error(await response.text());
      told = await response.json();
    } catch (error) {
      byId('journey-title').textContent = 'This cannot be told';
      byId('journey-body').replaceChildren(element('p', { class: 'note' }, String(error.message ?? error)));
      if (!this.dialog.open) this.dialog.showModal();
      return;
    }
    byId('journey-title').textContent = `${told.request} lost its context`;
    const where = told.is_inbound
      ? `Read by ${told.workload} from ${told.peer} at ${clock(told.time)}, by ${told.thread}. `
      : `Sent by ${told.workload} to ${told.peer} at ${clock(told.time)}, by ${told.thread}. `;
    const tree = told.journey
      ? element('ul', { class: 'tree' }, hop(told.journey))
      : element('p', { class: 'note' }, told.is_too_large
        ? 'The journey is too large for this page: baton explain shows it.'
        : 'No request that may have caused it was open in this process.');
    byId('journey-body').replaceChildren(
      element('p', { class: 'where' }, where, element('span', { class: 'reason' }, told.reason)),
      told.explained ? remedy(told.explained) : '',
      element('h3', {}, 'The journey'),
      ...told.conclusion.map((sentence) => element('p', { class: 'conclusion' }, sentence)),
      tree);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }
}

/** Why, and what to do. */
function remedy({ why, remedy: what }) {
  return element('dl', { class: 'remedy' },
    element('dt', {}, 'Why'), element('dd', {}, ...prose(why)),
    element('dt', {}, 'What to do'), element('dd', {}, ...prose(what)));
}

/** The same in the tree, where it is not said above. */
const words = ({ is_it: isIt, explained }) =>
  (isIt || !explained ? [] : [explained.why, explained.remedy].map((text) => element('p', { class: 'why' }, ...prose(text))));

function hop(told) {
  const carried = told.carried === null
    ? element('p', { class: 'carried none' }, 'its headers are not known')
    : told.carried.length === 0
      ? element('p', { class: 'carried none' }, 'carried none of the configured headers')
      : element('p', { class: 'carried' }, 'carried ', ...told.carried.map((field) => element('code', {}, field)));
  const branches = told.calls.map(call);
  if (told.left_out > 0) branches.push(element('li', { class: 'note' }, `and ${number(told.left_out)} more`));
  return element('li', { class: `hop${told.is_it ? ' here' : ''}` },
    element('p', {}, element('strong', {}, told.workload), ` ${told.request}`, answer(told)),
    element('p', { class: 'note' }, `from ${told.peer}, read by ${told.thread} (${told.runtime})`),
    told.sent_by ? element('p', { class: 'note' }, `sent by ${told.sent_by}`) : null,
    carried,
    told.reason ? element('p', { class: `outcome ${told.is_lost ? 'bad' : 'note'}` }, told.is_lost ? `lost here: ${told.reason}` : told.reason) : null,
    ...words(told),
    branches.length > 0 ? element('ul', {}, ...branches) : element('p', { class: 'note' }, 'sent no request that baton has seen'));
}

function call(told) {
  return element('li', { class: `sent${told.is_it ? ' here' : ''}` },
    element('p', {}, told.is_certain ? null : element('em', {}, 'perhaps '), told.request, answer(told)),
    element('p', { class: 'note' }, `to ${told.peer}, by ${told.thread}`),
    outcome(told),
    ...words(told),
    told.is_likely ? element('p', {}, element('em', {}, 'probably')) : null,
    told.next ? element('ul', {}, hop(told.next)) : element('p', { class: 'note' }, 'its other end is not followed on this node'));
}

function outcome({ verdict, reason, headers }) {
  const [style, text] = {
    injected: ['good', `inserted ${headers.join(', ')}`],
    'already-present': ['note', 'has headers of its own'],
    'nothing-to-insert': ['note', 'nothing to insert'],
  }[verdict] ?? ['bad', `lost here: ${reason ?? 'unknown'}`];
  return element('p', { class: `outcome ${style}` }, text);
}

const answer = (told) => (told.answer ? element('span', { class: 'note' }, `  ${told.answer}`) : null);
