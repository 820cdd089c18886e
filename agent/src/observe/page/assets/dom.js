// Elements, numbers and times. Text from traffic is only ever set as text: it may come from anybody.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes and children; strings become text. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for a drawing. */
export function drawing(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

/** Text with code in backticks. */
export const prose = (text) => text.split('`').map((part, at) => (at % 2 === 1 ? element('code', {}, part) : part));

export const byId = (id) => document.getElementById(id);

/** Sets text where it differs, so that nothing is drawn or read out again. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const NUMBERS = new Intl.NumberFormat('en');
export const number = (count) => NUMBERS.format(count);

export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

/** How much of calls kept their context, 0 to 1; null if none had one to keep. */
export const share = ({ kept, lost }) => (kept + lost > 0 ? kept / (kept + lost) : null);

/** As people read it: all only if it is all, and none only if it is none. */
export function percent(part) {
  if (part === null) return '–';
  const rounded = Math.round(part * 100);
  const shown = part < 1 ? Math.min(rounded, 99) : rounded;
  return `${part > 0 ? Math.max(shown, 1) : shown} %`;
}

/** How a line is drawn. */
export const kind = (part) => (part === null ? 'quiet' : part === 1 ? 'all' : part === 0 ? 'none' : 'some');

/** The time of day of an RFC 3339 time, in this browser's zone. */
export function clock(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toLocaleTimeString('en-GB');
}

/** A long name, shortened in the middle: its end often says more. */
export function shorten(name, most) {
  if (name.length <= most) return name;
  const end = Math.floor((most - 1) * 0.45);
  return `${name.slice(0, most - 1 - end)}…${name.slice(-end)}`;
}
