"""Drives a running simulator with the official Python SDK and checks every object against the SDK's own types.

Usage: python simulator_objects.py http://127.0.0.1:PORT      (needs: pip install stripe==16.1.0)
"""

import http.server
import json
import sys
import threading
import typing
import urllib.request

import stripe

WANTED = "16.1.0"
SECRET = "whsec_python"
BASE = sys.argv[1]


def control(path, body):
    request = urllib.request.Request(BASE + "/control/" + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


class Endpoint(http.server.BaseHTTPRequestHandler):
    received = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        Endpoint.received.append((body, self.headers["stripe-signature"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


PLAIN = {"str": str, "int": int, "bool": bool}


def hint_text(hint):
    """An annotation as text: they come as strings, forward references or types."""
    if isinstance(hint, str):
        return hint
    if isinstance(hint, typing.ForwardRef):
        return hint.__forward_arg__
    if isinstance(hint, type):
        return hint.__name__
    return str(hint).replace("typing.", "")


def check(found, where):
    """Every field the SDK's class requires is there; plain ones have the right type."""
    checked = 0
    for name, hint in type(found).__annotations__.items():
        text = hint_text(hint)
        if name == "deleted" or text.startswith(("ClassVar", "Optional")) or "NoneType" in text:
            continue
        assert name in found, f"{where}.{name} is missing ({text})"
        wanted = PLAIN.get(text)
        value = found[name]
        if wanted is not None:
            assert type(value) is wanted, f"{where}.{name} is {value!r}, not {text}"
        else:
            assert value is not None, f"{where}.{name} is null ({text})"
        checked += 1
    # An Optional field of a plain type is that or null.
    for name, hint in type(found).__annotations__.items():
        text = hint_text(hint)
        for plain, wanted in PLAIN.items():
            if text == f"Optional[{plain}]" and name in found and found[name] is not None:
                assert type(found[name]) is wanted, f"{where}.{name} is {found[name]!r}, not {text}"
    assert checked > 0, f"{where}: the SDK's annotations were not understood"


def pay_absent(v1, customer):
    """Keeps a card, charges it while its owner is away, and bills by hand."""
    intent = v1.setup_intents.create({"customer": customer.id, "usage": "off_session"})
    check(intent, "setup intent")
    intent = v1.setup_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert intent.status == "succeeded"
    card = v1.payment_methods.attach("pm_card_chargeDeclinedLostCard", {"customer": customer.id})
    check(card, "payment method")
    customer = v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": intent.payment_method}})
    assert customer.invoice_settings.default_payment_method == intent.payment_method
    assert {card.id, intent.payment_method} <= {one.id for one in v1.customers.payment_methods.list(customer.id).data}
    charge = {"amount": 700, "currency": "eur", "customer": customer.id, "confirm": True, "off_session": True}
    try:
        v1.payment_intents.create(charge | {"payment_method": card.id})
        raise AssertionError("a lost card was charged")
    except stripe.CardError as error:
        assert error.error.decline_code == "lost_card" and error.error.payment_method.id == card.id
        waiting = error.error.payment_intent
        assert waiting.status == "requires_payment_method" and waiting.last_payment_error.decline_code == "lost_card"
    paid = v1.payment_intents.confirm(waiting.id, {"payment_method": intent.payment_method})
    check(paid, "payment intent")
    assert paid.status == "succeeded"
    try:
        v1.payment_intents.cancel(paid.id)
        raise AssertionError("a payment was canceled")
    except stripe.InvalidRequestError as error:
        assert error.code == "payment_intent_unexpected_state" and error.error.payment_intent.status == "succeeded"
    invoice = v1.invoices.create({"customer": customer.id, "currency": "eur", "pending_invoice_items_behavior": "exclude",
                                  "auto_advance": False, "collection_method": "charge_automatically"})
    v1.invoice_items.create({"customer": customer.id, "invoice": invoice.id, "amount": 500, "currency": "eur"})
    v1.invoices.finalize_invoice(invoice.id, {"auto_advance": False})
    invoice = v1.invoices.pay(invoice.id, {"off_session": True})
    check(invoice, "invoice")
    assert invoice.status == "paid" and invoice.amount_paid == 500
    v1.payment_methods.detach(card.id)


def main():
    assert stripe.VERSION == WANTED, f"stripe {stripe.VERSION}, wanted {WANTED}"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = stripe.StripeClient("sk_test_python", base_addresses={"api": BASE}, max_network_retries=0)
    v1 = client.v1
    control("webhook", {"url": f"http://127.0.0.1:{server.server_port}/", "secrets": [SECRET, "whsec_next"]})
    customer = v1.customers.create({"email": "a@example.com", "metadata": {"user": "u1"}})
    product = v1.products.create({"name": "Credits"})
    once = v1.prices.create({"currency": "eur", "unit_amount": 1000, "product": product.id, "lookup_key": "pack-py"})
    monthly = v1.prices.create({"currency": "eur", "unit_amount": 500, "product": product.id, "recurring": {"interval": "month"}})
    for name, found in {"customer": customer, "product": product, "price": once, "monthly": monthly}.items():
        check(found, name)
    lines = [{"price": once.id, "quantity": 2}]
    session = v1.checkout.sessions.create({
        "mode": "payment", "customer": customer.id, "success_url": "http://127.0.0.1/ok", "line_items": lines,
        "payment_intent_data": {"metadata": {"topup": "t"}},
    })
    check(session, "session")
    control("pay/" + session.id, {"outcome": "paid"})
    session = v1.checkout.sessions.retrieve(session.id, {"expand": ["line_items", "payment_intent.latest_charge"]})
    assert session.payment_status == "paid" and session.line_items.data[0].quantity == 2
    check(session.line_items.data[0], "line item")
    check(session.payment_intent, "payment intent")
    check(session.payment_intent.latest_charge, "charge")
    check(session.payment_intent.latest_charge.outcome, "charge.outcome")
    assert [item.amount_total for item in v1.checkout.sessions.line_items.list(session.id).auto_paging_iter()] == [2000]
    lines = [{"price": monthly.id, "quantity": 1}]
    session = v1.checkout.sessions.create({
        "mode": "subscription", "customer": customer.id, "success_url": "http://127.0.0.1/ok", "line_items": lines,
        "subscription_data": {"metadata": {"wallet": "w"}},
    })
    control("pay/" + session.id, {"outcome": "paid"})
    session = v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice", "subscription"]})
    invoice, subscription = session.invoice, session.subscription
    for name, found in {
        "invoice": invoice, "invoice.parent": invoice.parent, "invoice.automatic_tax": invoice.automatic_tax,
        "subscription": subscription, "subscription item": subscription["items"].data[0],
        "line": v1.invoices.line_items.list(invoice.id).data[0],
        "invoice payment": v1.invoice_payments.list({"invoice": invoice.id}).data[0],
    }.items():
        check(found, name)
    assert invoice.parent.subscription_details.metadata["wallet"] == "w"
    try:
        v1.payment_intents.create({"amount": 1, "currency": "eur", "confirm": True, "payment_method": "pm_card_chargeDeclined"})
        raise AssertionError("a declined card was charged")
    except stripe.CardError as error:
        assert error.http_status == 402 and error.code == "card_declined"
    pay_absent(v1, customer)
    try:
        v1.customers.retrieve("cus_none")
        raise AssertionError("a customer that is not there was found")
    except stripe.InvalidRequestError as error:
        assert error.http_status == 404 and error.request_id
    events = list(v1.events.list({"limit": 100}).auto_paging_iter())
    since = [event for event in events if event.created >= customer.created]
    assert len(events) > 10
    for event in events:
        check(event, "event " + event.type)
    for _ in range(100):
        if len(Endpoint.received) >= len(since):
            break
        threading.Event().wait(0.05)
    lived = {"customer": v1.customers, "invoice": v1.invoices, "payment intent": v1.payment_intents, "charge": v1.charges,
             "invoice payment": v1.invoice_payments, "refund": v1.refunds, "dispute": v1.disputes,
             "fraud warning": v1.radar.early_fraud_warnings, "credit note": v1.credit_notes,
             "invoice item": v1.invoice_items, "schedule": v1.subscription_schedules,
             "setup intent": v1.setup_intents, "payment method": v1.payment_methods, "payment link": v1.payment_links,
             "balance transaction": v1.balance_transactions, "subscription": v1.subscriptions}
    for name, service in lived.items():
        params = {"limit": 100} | ({"status": "all"} if name == "subscription" else {})
        found = list(service.list(params).auto_paging_iter())
        assert found, f"no {name}"
        for one in found:
            check(one, name)
    assert {"canceled", "active", "incomplete_expired"} <= {one.status for one in found}
    assert {"draft", "paid", "void", "uncollectible", "open"} >= {one.status for one in v1.invoices.list({"limit": 100}).data}
    told = {event.type for event in events}
    assert {"payment_intent.processing", "setup_intent.setup_failed", "invoice.payment_action_required"} <= told, told
    assert {"customer.subscription.trial_will_end", "invoice.voided", "invoice.payment_failed"} <= told, told
    types = set()
    for body, signature in Endpoint.received:
        event = stripe.Webhook.construct_event(body, signature, SECRET)
        check(event.data.object, "delivered " + event.type)
        types.add(event.type)
    assert {"checkout.session.completed", "invoice.paid", "payment_intent.succeeded"} <= types, types
    control("webhook", {"url": None})
    print(f"{len(events)} events and {len(Endpoint.received)} deliveries read by stripe {stripe.VERSION}")


main()
