'use strict';
// The benchmark's relay on Express and http.get.
const http = require('node:http');
const express = require('express');

const backend = process.env.BACKEND + '/relay';
const forward = process.env.FORWARD;
const agent = new http.Agent({ keepAlive: true });
const app = express();
app.disable('etag');

app.get('/relay', (request, response) => {
  const own = forward && request.headers[forward] ? { [forward]: request.headers[forward] } : {};
  http
    .get(backend, { agent, headers: own }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => response.type('text/plain').send(Buffer.concat(pieces)));
    })
    .on('error', (error) => response.status(502).send(`${error}\n`));
});

app.listen(Number(process.env.PORT), '127.0.0.1');
