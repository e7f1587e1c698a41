// Signs the payload on standard input with the official Node SDK and prints the Stripe-Signature header.
//
// Usage: CREDITD_TEST_NODE_MODULES=/path/to/node_modules node sign_event.mjs SECRET UNIX_SECONDS < payload
// (the folder holds: npm install stripe@23.1.0)

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const Stripe = createRequire(path.join(process.env.CREDITD_TEST_NODE_MODULES, 'package.json'))('stripe');
const stripe = new (Stripe.default ?? Stripe)('sk_test_never_sent');
const [secret, timestamp] = process.argv.slice(2);
const payload = fs.readFileSync(0, 'utf8');
console.log(stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp: Number(timestamp), scheme: 'v1' }));
