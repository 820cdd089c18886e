'use strict';
// A relay on Express and axios: see common.js for its interface.
//
// The packages are found next to this file, or in $NODE_PATH:
// npm install --no-save --no-package-lock --prefix DIR, with package.json in DIR.
const http = require('node:http');
const axios = require('axios');
const express = require('express');
const { BACKEND, newAgent, relay, serve } = require('./common');

const backend = axios.create({
  baseURL: BACKEND,
  httpAgent: newAgent(),
  responseType: 'arraybuffer', // text would count characters
  timeout: 60_000,
});

async function get(path) {
  const response = await backend.get(path);
  return response.data.length;
}

const app = express();
app.disable('etag'); // the answers are never asked for again
app.use(express.raw({ type: () => true, limit: '64mb' })); // reads the body, whatever it is

async function handle(request, response) {
  const { status, text, afterwards } = await relay(get, request.query);
  if (afterwards) response.on('finish', afterwards);
  response.status(status).type('text/plain').send(text);
}

app.get('/relay', handle);
app.post('/relay', handle);

// The rest of the paths. Express answers 404 by itself, but in HTML.
app.use((request, response) => {
  response.status(404).type('text/plain').send('no such thing\n');
});

serve(http.createServer(app), get);
