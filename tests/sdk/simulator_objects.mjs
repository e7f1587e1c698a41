// Drives a running simulator with the official Node SDK and checks every object against the SDK's own declarations.
//
// Usage: CREDITD_TEST_NODE_MODULES=/path/to/node_modules node simulator_objects.mjs http://127.0.0.1:PORT
// (the folder holds: npm install stripe@23.1.0)

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';

const modules = process.env.CREDITD_TEST_NODE_MODULES;
const Stripe = createRequire(path.join(modules, 'package.json'))('stripe');
const base = new URL(process.argv[2]);
const SECRET = 'whsec_node';
const WANTED = '23.1.0';

const control = async (name, body) => {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(new URL(`/control/${name}`, base), { method: 'POST', headers, body: JSON.stringify(body) });
  assert.equal(response.status, 200, await response.clone().text());
  return response.json();
};

// The fields of an interface in a declaration file: name, whether it may be absent, its type.
const declared = (file, name, namespace) => {
  let text = fs.readFileSync(path.join(modules, 'stripe/esm/resources', file), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
  if (namespace) {
    const at = text.search(new RegExp(`namespace ${namespace} \\{`));
    assert.ok(at >= 0, `${namespace} is not in ${file}`);
    text = text.slice(at);
  }
  const head = new RegExp(`interface ${name}(?: extends [^{]*)? \\{`).exec(text);
  assert.ok(head, `${name} is not in ${file}`);
  const fields = [];
  let depth = 1;
  let field = '';
  for (let place = head.index + head[0].length; depth > 0; place += 1) {
    const letter = text[place];
    depth += letter === '{' ? 1 : letter === '}' ? -1 : 0;
    if (letter === ';' && depth === 1) {
      const parts = /^\s*(\w+)(\??):\s*([\s\S]*)$/.exec(field);
      if (parts) fields.push({ name: parts[1], optional: parts[2] === '?', type: parts[3].trim() });
      field = '';
    } else {
      field += letter;
    }
  }
  return fields;
};

const fits = (value, type) => {
  if (type === 'null') return value === null;
  if (type === 'string') return typeof value === 'string';
  if (type === 'number') return Number.isInteger(value);
  if (type === 'boolean') return typeof value === 'boolean';
  if (type.startsWith("'")) return `'${value}'` === type;
  if (type.startsWith('Array<')) return Array.isArray(value);
  if (type === 'Decimal') return value !== null && value !== undefined;
  return value !== null && value !== undefined;
};

let checked = 0;
// Checks an object, and the objects of its namespace within it.
const check = (found, file, name, namespace, where = name) => {
  const fields = declared(file, name, namespace);
  for (const { name: field, optional, type } of fields) {
    const value = found[field];
    if (value === undefined) {
      assert.ok(optional, `${where}.${field} is missing (${type})`);
      continue;
    }
    const choices = type.replace(/Array<[^>]*>/g, 'Array<>').split('|').map((choice) => choice.trim());
    assert.ok(choices.some((choice) => fits(value, choice)), `${where}.${field} is ${JSON.stringify(value)}, not ${type}`);
    const inner = choices.find((choice) => /^\w+\.\w+$/.test(choice) && !choice.startsWith('Stripe.'));
    const plain = value !== null && typeof value === 'object' && !Array.isArray(value);
    if (inner && plain && Object.keys(value).length > 0) {
      const [, last] = inner.split('.');
      check(value, file, last, inner.split('.')[0], `${where}.${field}`);
    }
    checked += 1;
  }
  if (name === found.object || where === name) {
    const known = new Set(fields.map((field) => field.name).concat(['lastResponse', 'total_count']));
    for (const field of Object.keys(found)) assert.ok(known.has(field), `${where}.${field} is not in the SDK`);
  }
};

const files = {
  customer: ['Customers.d.ts', 'Customer'],
  product: ['Products.d.ts', 'Product'],
  price: ['Prices.d.ts', 'Price'],
  'checkout.session': ['Checkout/Sessions.d.ts', 'Session'],
  payment_intent: ['PaymentIntents.d.ts', 'PaymentIntent'],
  charge: ['Charges.d.ts', 'Charge'],
  invoice: ['Invoices.d.ts', 'Invoice'],
  line_item: ['InvoiceLineItems.d.ts', 'InvoiceLineItem'],
  invoice_payment: ['InvoicePayments.d.ts', 'InvoicePayment'],
  subscription: ['Subscriptions.d.ts', 'Subscription'],
  subscription_item: ['SubscriptionItems.d.ts', 'SubscriptionItem'],
  plan: ['Plans.d.ts', 'Plan'],
  item: ['LineItems.d.ts', 'LineItem'],
  event: ['Events.d.ts', 'EventBase'],
  refund: ['Refunds.d.ts', 'Refund'],
  dispute: ['Disputes.d.ts', 'Dispute'],
  'radar.early_fraud_warning': ['Radar/EarlyFraudWarnings.d.ts', 'EarlyFraudWarning'],
  credit_note: ['CreditNotes.d.ts', 'CreditNote'],
  credit_note_line_item: ['CreditNoteLineItems.d.ts', 'CreditNoteLineItem'],
  invoiceitem: ['InvoiceItems.d.ts', 'InvoiceItem'],
  subscription_schedule: ['SubscriptionSchedules.d.ts', 'SubscriptionSchedule'],
  payment_method: ['PaymentMethods.d.ts', 'PaymentMethod'],
  setup_intent: ['SetupIntents.d.ts', 'SetupIntent'],
  payment_link: ['PaymentLinks.d.ts', 'PaymentLink'],
  'billing_portal.session': ['BillingPortal/Sessions.d.ts', 'Session'],
  balance_transaction: ['BalanceTransactions.d.ts', 'BalanceTransaction'],
};

// Checks an object and every object with an `object` field within it.
const checkAll = (found) => {
  if (found === null || typeof found !== 'object') return;
  if (files[found.object]) check(found, ...files[found.object]);
  Object.values(found).forEach(checkAll);
};

const received = [];
const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    received.push([Buffer.concat(parts), request.headers['stripe-signature']]);
    response.end();
  });
});
await new Promise((done) => { server.listen(0, '127.0.0.1', done); });

const stripe = new Stripe('sk_test_node', {
  host: base.hostname, port: Number(base.port), protocol: 'http', maxNetworkRetries: 0, telemetry: false,
});
const version = JSON.parse(fs.readFileSync(path.join(modules, 'stripe/package.json'), 'utf8')).version;
assert.equal(version, WANTED);
await control('webhook', { url: `http://127.0.0.1:${server.address().port}/`, secrets: ['whsec_last', SECRET] });
const customer = await stripe.customers.create({ email: 'a@example.com', metadata: { user: 'u1' } });
const product = await stripe.products.create({ name: 'Credits' });
const once = await stripe.prices.create({ currency: 'eur', unit_amount: 1000, product: product.id });
const recurring = { interval: 'month' };
const monthly = await stripe.prices.create({ currency: 'eur', unit_amount: 500, product: product.id, recurring });
[customer, product, once, monthly].forEach(checkAll);
const buy = async (mode, price, more) => {
  const line_items = [{ price: price.id, quantity: 2 }];
  const success_url = 'http://127.0.0.1/ok';
  const session = await stripe.checkout.sessions.create({ mode, customer: customer.id, success_url, line_items, ...more });
  checkAll(session);
  await control(`pay/${session.id}`, { outcome: 'paid' });
  return session.id;
};
const paid = await buy('payment', once, { payment_intent_data: { metadata: { topup: 't' } } });
checkAll(await stripe.checkout.sessions.retrieve(paid, { expand: ['line_items', 'payment_intent.latest_charge'] }));
checkAll(await stripe.checkout.sessions.listLineItems(paid));
const subscribed = await buy('subscription', monthly, { subscription_data: { metadata: { wallet: 'w' } } });
const session = await stripe.checkout.sessions.retrieve(subscribed, { expand: ['invoice.payments', 'subscription'] });
checkAll(session);
assert.deepEqual(session.invoice.parent.subscription_details.metadata, { wallet: 'w' });
checkAll(await stripe.invoices.listLineItems(session.invoice.id));
checkAll(await stripe.invoicePayments.list({ invoice: session.invoice.id }));
await assert.rejects(
  stripe.paymentIntents.create({ amount: 1, currency: 'eur', confirm: true, payment_method: 'pm_card_chargeDeclined' }),
  (error) => error instanceof Stripe.errors.StripeCardError && error.code === 'card_declined',
);
await assert.rejects(
  stripe.customers.create({ email: 'b@example.com' }, { idempotencyKey: 'node' })
    .then(() => stripe.customers.create({ email: 'c@example.com' }, { idempotencyKey: 'node' })),
  (error) => error instanceof Stripe.errors.StripeIdempotencyError,
);
const kept = await stripe.setupIntents.create({ customer: customer.id, usage: 'off_session', payment_method: 'pm_card_visa', confirm: true, automatic_payment_methods: { enabled: true, allow_redirects: 'never' } });
assert.equal(kept.status, 'succeeded');
checkAll(kept);
const bank = await stripe.paymentMethods.attach('pm_usBankAccount_success', { customer: customer.id });
checkAll(bank);
const charge = { amount: 700, currency: 'eur', customer: customer.id, confirm: true, off_session: true };
const delayed = await stripe.paymentIntents.create({ ...charge, payment_method: bank.id });
assert.equal(delayed.status, 'processing');
checkAll(delayed);
await control(`customers/${customer.id}/card`, {
  code: 'card_declined', decline_code: 'insufficient_funds', advice_code: 'try_again_later', network_decline_code: '51', times: 1,
});
await assert.rejects(stripe.paymentIntents.create({ ...charge, payment_method: kept.payment_method }), (error) => {
  checkAll(error.payment_intent);
  assert.equal(error.payment_intent.last_payment_error.network_decline_code, '51');
  return error.decline_code === 'insufficient_funds' && error.raw.advice_code === 'try_again_later';
});
const draft = await stripe.invoices.create({ customer: customer.id, currency: 'eur', pending_invoice_items_behavior: 'exclude' });
checkAll(await stripe.invoiceItems.create({ customer: customer.id, invoice: draft.id, amount: 500, currency: 'eur' }));
await stripe.invoices.finalizeInvoice(draft.id);
checkAll(await stripe.invoices.pay(draft.id, { payment_method: kept.payment_method }));
await assert.rejects(stripe.invoices.pay(draft.id), (error) => error.message === 'Invoice is already paid');
checkAll(await stripe.billingPortal.sessions.create({ customer: customer.id }));
const events = [];
for await (const event of stripe.events.list({ limit: 100 })) events.push(event);
events.forEach(checkAll);
for (const service of [
  stripe.invoices, stripe.paymentIntents, stripe.charges, stripe.invoicePayments, stripe.refunds, stripe.disputes,
  stripe.radar.earlyFraudWarnings, stripe.creditNotes, stripe.balanceTransactions,
  stripe.invoiceItems, stripe.subscriptionSchedules, stripe.setupIntents, stripe.paymentMethods, stripe.paymentLinks,
]) {
  const found = [];
  for await (const one of service.list({ limit: 100 })) found.push(one);
  assert.ok(found.length > 0);
  found.forEach(checkAll);
}
const statuses = new Set();
for await (const one of stripe.subscriptions.list({ limit: 100, status: 'all' })) {
  checkAll(one);
  statuses.add(one.status);
}
for (const status of ['active', 'canceled', 'incomplete_expired']) assert.ok(statuses.has(status), status);
const told = new Set(events.map((event) => event.type));
for (const type of ['payment_intent.processing', 'setup_intent.setup_failed', 'customer.subscription.trial_will_end', 'invoice.voided', 'invoice.payment_failed', 'customer.deleted']) {
  assert.ok(told.has(type), type);
}
for (let turn = 0; turn < 100 && received.length < 20; turn += 1) await new Promise((done) => { setTimeout(done, 20); });
const types = new Set();
for (const [body, signature] of received) {
  const event = stripe.webhooks.constructEvent(body, signature, SECRET);
  checkAll(event);
  types.add(event.type);
}
for (const type of ['checkout.session.completed', 'invoice.paid', 'customer.subscription.created']) assert.ok(types.has(type), type);
await control('webhook', { url: null });
server.close();
server.closeAllConnections();
console.log(`${events.length} events, ${received.length} deliveries and ${checked} fields read by stripe ${version}`);
