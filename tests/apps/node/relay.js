'use strict';
// A relay on node's own HTTP server and client: see common.js for its interface.
//
// $CLIENT=request calls the backend with http.request, $CLIENT=fetch with the global fetch, which has
// no limit for its connections: it ignores $BACKEND_POOL.
const http = require('node:http');
const { BACKEND, KEEP_ALIVE, newAgent, relay, serve } = require('./common');

const agent = newAgent();

function byRequest(path) {
  return new Promise((resolve, reject) => {
    const request = http.request(BACKEND + path, { agent, timeout: 60_000 }, (response) => {
      let length = 0;
      response.on('data', (chunk) => {
        length += chunk.length;
      });
      response.on('end', () => {
        if (response.statusCode < 400) resolve(length);
        else reject(new Error(`${path}: status ${response.statusCode}`));
      });
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error(`${path}: timeout`)));
    request.on('error', reject);
    request.end();
  });
}

async function byFetch(path) {
  const response = await fetch(BACKEND + path, { headers: KEEP_ALIVE ? {} : { connection: 'close' } });
  const { byteLength } = await response.arrayBuffer();
  if (!response.ok) throw new Error(`${path}: status ${response.status}`);
  return byteLength;
}

const get = process.env.CLIENT === 'fetch' ? byFetch : byRequest;

async function answer(request, response) {
  for await (const chunk of request); // reads the body
  const url = new URL(request.url, 'http://localhost');
  const query = url.pathname === '/relay' ? Object.fromEntries(url.searchParams) : {};
  const { status, text, afterwards } = await relay(get, query);
  if (afterwards) response.on('finish', afterwards);
  response.writeHead(status, { 'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

const server = http.createServer((request, response) => {
  answer(request, response).catch((error) => response.destroy(error)); // the client has gone
});
serve(server, get);
