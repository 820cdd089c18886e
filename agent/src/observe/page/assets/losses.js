// The table of losses, and the journey to one of them.

import { byId, clock, element, number, write } from './dom.js';
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
      write(known.to, named(loss.to));
      write(known.count, number(loss.count));
    }
    byId('table').hidden = shown.length === 0;
    byId('no-losses').hidden = shown.length > 0;
    write(byId('no-losses'), isEverything ? 'None in the last minutes.' : 'No loss in the last minutes fits this choice.');
  }

  begin({ id, from, method, path, reason }) {
    const cells = { latest: element('time'), to: element('span'), count: element('span') };
    const button = element('button', { type: 'button', title: 'Show how it was lost' }, request({ method, path }));
    const line = element('tr', { 'data-loss': id },
      element('td', { class: 'latest' }, cells.latest),
      element('td', { class: 'call-name' }, `${named(from)} → `, cells.to),
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
    const { loss, journey } = told;
    byId('journey-title').textContent = `${request(loss)} lost its context`;
    const where = element('p', { class: 'where' },
      `Sent by ${loss.workload} to ${peer(loss)} at ${clock(loss.time)}, by ${thread(loss)}. `,
      element('span', { class: 'reason' }, loss.reason));
    const tree = journey
      ? element('ul', { class: 'tree' }, this.hop(journey, loss))
      : element('p', { class: 'note' }, told.is_too_large
        ? 'The journey is too large for this page: baton explain shows it.'
        : 'No inbound request was open in this process that may have caused it, or it came too long before.');
    byId('journey-body').replaceChildren(where, this.remedy(loss.reason), element('h3', {}, 'The journey'), tree);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  /** Why, and what to do. */
  remedy(reason) {
    const { why, remedy } = this.reasons()[reason] ?? { why: 'A later version of baton knows this reason.', remedy: 'Look it up there.' };
    return element('dl', { class: 'remedy' },
      element('dt', {}, 'Why'), element('dd', {}, why),
      element('dt', {}, 'What to do'), element('dd', {}, remedy));
  }

  hop({ inbound, response, calls, perhaps, left_out: leftOut }, loss) {
    const fields = inbound.headers.map((name) => (name in (inbound.values ?? {}) ? `${name}: ${inbound.values[name]}` : name));
    const carried = fields.length > 0
      ? element('p', { class: 'carried' }, 'carried ', ...fields.map((field) => element('code', {}, field)))
      : element('p', { class: 'carried none' }, 'carried none of the configured headers');
    const branches = [...calls.map((call) => this.call(call, true, loss)), ...perhaps.map((call) => this.call(call, false, loss))];
    if (leftOut) branches.push(element('li', { class: 'note' }, `and ${number(leftOut)} more`));
    return element('li', { class: 'hop' },
      element('p', {}, element('strong', {}, inbound.workload), ` ${inbound.method} ${inbound.path}`, answer(response)),
      element('p', { class: 'note' }, `from ${peer(inbound)}, read by ${thread(inbound)}`),
      carried,
      inbound.reason ? element('p', { class: 'why' }, `${inbound.reason}: ${this.reasons()[inbound.reason]?.why ?? ''}`) : null,
      branches.length > 0 ? element('ul', {}, ...branches) : element('p', { class: 'note' }, 'sent no request that baton has seen'));
  }

  call({ outbound, response, joined_by: join, next }, isCertain, loss) {
    const isIt = outbound.time === loss.time && outbound.tid === loss.tid && outbound.connection === loss.connection;
    const certainty = join === 'value' ? element('em', {}, 'probably ') : null;
    const item = element('li', { class: `sent${isIt ? ' here' : ''}` },
      element('p', {}, isCertain ? null : element('em', {}, 'perhaps '), request(outbound), answer(response)),
      element('p', { class: 'note' }, `to ${peer(outbound)}, by ${thread(outbound)}`),
      outcome(outbound));
    // What is said above is not said again.
    if (outbound.reason && !isIt) {
      const { why, remedy } = this.reasons()[outbound.reason] ?? {};
      item.append(...[why, remedy].filter(Boolean).map((text) => element('p', { class: 'why' }, text)));
    }
    item.append(next
      ? element('ul', {}, certainty ? element('li', {}, certainty) : '', this.hop(next, loss))
      : element('p', { class: 'note' }, 'its other end is not followed on this node'));
    return item;
  }
}

/** What was sent; a connection of another protocol has no request. */
const request = ({ method, path }) => `${method} ${path}`.trim() || 'no HTTP/1 request';

/** The other end, by its name where it has one. */
const peer = ({ peer: address, peer_name: name }) => (name ? `${name} (${address})` : address);

/** What read or wrote. */
const thread = ({ comm, tid, runtime, container }) => `${comm}[${tid}] (${[runtime, container && `container ${container}`].filter(Boolean).join(', ')})`;

function outcome({ verdict, reason, headers }) {
  const [style, text] = {
    injected: ['good', `inserted ${headers.join(', ')}`],
    'already-present': ['good', 'the application sends these headers itself'],
    'nothing-to-insert': ['note', 'nothing to insert'],
  }[verdict] ?? ['bad', `lost here: ${reason ?? 'unknown'}`];
  return element('p', { class: `outcome ${style}` }, text);
}

function answer(response) {
  if (!response?.status) return null;
  return element('span', { class: 'note' }, `  ${response.status} in ${((response.latency_us ?? 0) / 1000).toFixed(1)} ms`);
}
