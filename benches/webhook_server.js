// What a backend without creditd would run: Stripe's own library verifies, one row is stored, then 200.
// Needs the packages `stripe` and `pg`, and DATABASE_URL and WEBHOOK_SECRET; prints the port it listens on.
'use strict';

const http = require('node:http');
const stripePackage = require('stripe');
const { Pool } = require('pg');

const Stripe = stripePackage.default || stripePackage.Stripe || stripePackage;
const stripe = new Stripe('sk_test_bench');
// As many connections as a daemon of creditd has.
const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 32 });
const table = `CREATE SCHEMA IF NOT EXISTS creditd_bench;
  CREATE TABLE IF NOT EXISTS creditd_bench.webhook_events (
    id text PRIMARY KEY, type text NOT NULL, payload jsonb NOT NULL, received_at timestamptz NOT NULL DEFAULT now())`;
const insert = {
  name: 'insert_event',
  text: 'INSERT INTO creditd_bench.webhook_events (id, type, payload) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING',
};

async function take(body, signature) {
  const event = stripe.webhooks.constructEvent(body, signature, process.env.WEBHOOK_SECRET);
  await pool.query({ ...insert, values: [event.id, event.type, body.toString('utf8')] });
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    take(Buffer.concat(chunks), request.headers['stripe-signature']).then(
      () => answer(response, 200, '{"received":true}'),
      (error) => {
        console.error(error.message);
        answer(response, 400, '{"received":false}');
      },
    );
  });
});

function answer(response, status, text) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

pool.query(table).then(() => {
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
});
