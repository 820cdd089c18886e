// Listens to the daemon and keeps the page as it says.

import { byId, clock, element, number, percent, plural, share, write } from './dom.js';
import { CallList } from './list.js';
import { Losses } from './losses.js';
import { NodeMap, named } from './map.js';

/** Time until a daemon that refuses is asked again, in milliseconds. */
const AGAIN = 5000;

let reasons = {};
let picture = null;
let chosen = null;
let told = '';

const same = (one, other) => one && other && one.id === other.id && one.from === other.from && one.to === other.to;

/** Shows only the losses of a call or a node; all for null, and for what was chosen before. */
function choose(what) {
  chosen = same(what, chosen) ? null : what;
  if (picture) draw();
}

const map = new NodeMap(choose, () => reasons);
const list = new CallList(choose);
const losses = new Losses(() => reasons);

const fits = ({ from, to }) =>
  !chosen || (chosen.id ? from === chosen.id || to === chosen.id : from === chosen.from && to === chosen.to);

function say(state, text) {
  byId('state').dataset.state = state;
  write(byId('state'), text);
  document.body.classList.toggle('stale', state !== 'live');
}

function draw() {
  const { node, is_live: isLive, shown } = picture;
  say(isLive ? 'live' : 'waiting', isLive ? 'live' : 'waiting for the daemon');
  write(byId('node'), node);
  document.title = node ? `baton · ${node}` : 'baton';
  const { requests, kept, lost, missed } = shown.totals;
  const isYoung = Date.now() - new Date(shown.since).getTime() < shown.window_seconds * 1000;
  write(byId('window'), isYoung ? `requests since ${clock(shown.since)}` : `requests in the last ${shown.window_seconds / 60} minutes`);
  write(byId('requests'), number(requests));
  write(byId('kept'), percent(share({ kept, lost })));
  write(byId('lost'), number(lost));
  byId('lost').classList.toggle('bad', lost > 0);
  byId('missing').hidden = missed === 0;
  write(byId('missed'), number(missed));

  const isEmpty = shown.calls.length === 0;
  byId('empty').hidden = !isEmpty;
  byId('map').hidden = isEmpty;
  byId('legend').hidden = isEmpty;
  byId('list').hidden = isEmpty;
  byId('losses').hidden = isEmpty && shown.losses.length === 0;
  if (!isEmpty) map.show(shown, chosen);
  list.show(shown.calls, chosen);
  byId('left-out').hidden = shown.left_out === 0;
  write(byId('left-out'), `${plural(shown.left_out, 'more call is', 'more calls are')} not drawn.`);

  byId('chosen').hidden = !chosen;
  write(byId('chosen-name'), chosen ? (chosen.id ? `of ${named(chosen.id)}` : `from ${named(chosen.from)} to ${named(chosen.to)}`) : '');
  losses.show(shown.losses, fits, !chosen);

  byId('notices').hidden = shown.notices.length === 0;
  const notices = JSON.stringify(shown.notices);
  if (notices === told) return;
  told = notices;
  byId('notice-list').replaceChildren(...shown.notices.map(({ time, about, message }) =>
    element('li', {}, element('strong', {}, about), ` ${message} `, element('span', { class: 'note' }, clock(time)))));
}

/** Listens for pictures, and goes on trying when the daemon ends. */
function listen() {
  const events = new EventSource('/events');
  events.addEventListener('message', ({ data }) => {
    picture = JSON.parse(data);
    draw();
  });
  events.addEventListener('error', () => {
    const isRefused = events.readyState === EventSource.CLOSED;
    say('lost', isRefused ? 'refused: too many pages are open, or this name is not known; trying again' : 'no connection to the daemon; trying again');
    if (!isRefused) return;
    events.close();
    setTimeout(listen, AGAIN);
  });
}

byId('all').addEventListener('click', () => choose(null));
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || byId('journey').open) return;
  if (!map.dismiss()) choose(null);
});

try {
  reasons = await (await fetch('/reasons.json')).json();
} catch {
  // They are told without words then.
}
listen();
