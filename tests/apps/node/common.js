'use strict';
// What the relays on node have in common: their settings and the handlers of /relay.
//
// /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with the length of
// each reply, one a line. HANDLER is how: now, sleep (MS first), fan (in parallel), file, resolve or
// database (reads a file, resolves a name or asks Redis on $REDIS_PORT first), task (in an async
// function of their own), or after: answers at once with nothing, and then calls
// $BACKEND/after/ID/1 … K.
// $BACKEND_KEEP_ALIVE=1 keeps backend connections, at most $BACKEND_POOL if that is set.
// $BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms.
const dns = require('node:dns');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const { setTimeout: sleep } = require('node:timers/promises');

const PORT = Number(process.env.PORT);
const BACKEND = process.env.BACKEND;
const KEEP_ALIVE = process.env.BACKEND_KEEP_ALIVE === '1';
const POOL = KEEP_ALIVE && process.env.BACKEND_POOL ? Number(process.env.BACKEND_POOL) : Infinity;

// Holds the connections to the backend.
function newAgent() {
  return new http.Agent({ keepAlive: KEEP_ALIVE, maxSockets: POOL });
}

// One connection to Redis for all requests, opened by the first. Replies come in the order of the commands.
const redis = { socket: null, waiting: [], received: Buffer.alloc(0) };

function openRedis() {
  redis.socket = net.connect(Number(process.env.REDIS_PORT), '127.0.0.1');
  redis.socket.setNoDelay(true);
  redis.socket.on('data', (chunk) => {
    redis.received = Buffer.concat([redis.received, chunk]);
    while (takeReply());
  });
  redis.socket.on('error', failRedis);
  redis.socket.on('close', () => failRedis(new Error('Redis closed the connection')));
}

function failRedis(error) {
  redis.socket = null; // the next command opens it again
  redis.received = Buffer.alloc(0);
  for (const { reject } of redis.waiting.splice(0)) reject(error);
}

// Gives the first complete reply to who waits for it: $LENGTH, line end, bytes, line end, or an error's line.
function takeReply() {
  const line = redis.received.indexOf('\r\n');
  if (line < 0) return false;
  const head = redis.received.toString('utf8', 0, line);
  const isBulk = head.startsWith('$');
  const end = line + 2 + (isBulk ? Number(head.slice(1)) + 2 : 0);
  if (redis.received.length < end) return false;
  const reply = redis.received.toString('utf8', line + 2, end - 2);
  redis.received = redis.received.subarray(end);
  const { resolve, reject } = redis.waiting.shift();
  if (isBulk) resolve(reply);
  else reject(new Error(head));
  return true;
}

function echo(text) {
  if (!redis.socket) openRedis();
  return new Promise((resolve, reject) => {
    redis.waiting.push({ resolve, reject });
    redis.socket.write(`*2\r\n$4\r\nECHO\r\n$${Buffer.byteLength(text)}\r\n${text}\r\n`);
  });
}

async function inOrder(get, paths) {
  const lengths = [];
  for (const path of paths) lengths.push(await get(path));
  return lengths;
}

// How each handler calls; `get` makes one call and resolves to the length of its reply.
const HANDLERS = {
  now: inOrder,
  async sleep(get, paths, { delay }) {
    await sleep(Number(delay ?? 0));
    return inOrder(get, paths);
  },
  fan: (get, paths) => Promise.all(paths.map((path) => get(path))),
  async file(get, paths) {
    await fs.promises.readFile(__filename);
    return inOrder(get, paths);
  },
  async resolve(get, paths) {
    await dns.promises.lookup('localhost');
    return inOrder(get, paths);
  },
  async database(get, paths, { id }) {
    if ((await echo(id)) !== id) throw new Error('the answer to another request');
    return inOrder(get, paths);
  },
  async task(get, paths) {
    const task = (async () => inOrder(get, paths))();
    return await task;
  },
};

// Answers a request whose body has been read: { status, text, afterwards }. `afterwards`, if any, is to be
// called once the response is sent.
async function relay(get, query) {
  const { id, n = '1', via = 'now' } = query;
  if (!id || !(via === 'after' || Object.hasOwn(HANDLERS, via))) return { status: 404, text: 'no such thing\n' };
  const paths = (kind) => Array.from({ length: Number(n) }, (_, k) => `/${kind}/${id}/${k + 1}`);
  if (via === 'after') {
    return { status: 200, text: '', afterwards: () => inOrder(get, paths('after')).catch(() => {}) };
  }
  try {
    const lengths = await HANDLERS[via](get, paths('out'), query);
    return { status: 200, text: lengths.map((length) => `${length}\n`).join('') };
  } catch (error) {
    return { status: 502, text: `${error.cause ?? error}\n` };
  }
}

function serve(server, get) {
  server.keepAliveTimeout = 60_000; // with node's 5 s a client may be about to use what node closes
  server.listen(PORT, '127.0.0.1', 256);
  if (process.env.BACKGROUND === '1') {
    let n = 0;
    setInterval(() => get(`/background/${++n}`).catch(() => {}), 50);
  }
}

module.exports = { BACKEND, KEEP_ALIVE, newAgent, relay, serve };
