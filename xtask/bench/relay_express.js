'use strict';
// The benchmark's relay on Express and http.request: case (f).
const http = require('node:http');
const express = require('express');

const backend = process.env.BACKEND + '/relay';
const agent = new http.Agent({ keepAlive: true });
const app = express();
app.disable('etag');

app.get('/relay', (request, response) => {
  http
    .get(backend, { agent }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => response.type('text/plain').send(Buffer.concat(pieces)));
    })
    .on('error', (error) => response.status(502).send(`${error}\n`));
});

app.listen(Number(process.env.PORT), '127.0.0.1');
