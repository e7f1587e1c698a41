"""Holds requests against the official Python SDK's types of their parameters.

Usage: python lint_requests.py < requests.jsonl      (needs: pip install stripe==16.1.0 pydantic==2.14.3)

A line is {"method": "POST", "path": "/v1/refunds", "form": "amount=5&charge=ch_1"}; of a GET the form is its query. For
each line one is printed: a JSON list of what is wrong, empty for a good request.
"""

import importlib
import json
import re
import sys
import urllib.parse

import pydantic
import stripe
from stripe import _request_options
from stripe._request_options import RequestOptions

WANTED = "16.1.0"
ID = r"[A-Za-z0-9_]+"

# Method and path of what creditd sends, with the module and class of its parameters.
ROUTES = [
    ("POST", "payment_intents", "_payment_intent_create_params", "PaymentIntentCreateParams"),
    ("POST", f"payment_intents/{ID}/cancel", "_payment_intent_cancel_params", "PaymentIntentCancelParams"),
    ("POST", "customers", "_customer_create_params", "CustomerCreateParams"),
    ("POST", f"customers/{ID}", "_customer_update_params", "CustomerUpdateParams"),
    ("POST", "checkout/sessions", "checkout._session_create_params", "SessionCreateParams"),
    ("POST", f"checkout/sessions/{ID}/expire", "checkout._session_expire_params", "SessionExpireParams"),
    ("POST", "invoices", "_invoice_create_params", "InvoiceCreateParams"),
    ("POST", "invoiceitems", "_invoice_item_create_params", "InvoiceItemCreateParams"),
    ("POST", f"invoices/{ID}/finalize", "_invoice_finalize_invoice_params", "InvoiceFinalizeInvoiceParams"),
    ("POST", f"invoices/{ID}/pay", "_invoice_pay_params", "InvoicePayParams"),
    ("POST", f"invoices/{ID}/void", "_invoice_void_invoice_params", "InvoiceVoidInvoiceParams"),
    ("POST", f"invoices/{ID}/mark_uncollectible", "_invoice_mark_uncollectible_params", "InvoiceMarkUncollectibleParams"),
    ("POST", "subscriptions", "_subscription_create_params", "SubscriptionCreateParams"),
    ("POST", f"subscriptions/{ID}", "_subscription_update_params", "SubscriptionUpdateParams"),
    ("DELETE", f"subscriptions/{ID}", "_subscription_cancel_params", "SubscriptionCancelParams"),
    ("POST", "refunds", "_refund_create_params", "RefundCreateParams"),
    ("POST", "billing_portal/sessions", "billing_portal._session_create_params", "SessionCreateParams"),
    ("POST", "subscription_schedules", "_subscription_schedule_create_params", "SubscriptionScheduleCreateParams"),
    ("POST", f"subscription_schedules/{ID}", "_subscription_schedule_update_params", "SubscriptionScheduleUpdateParams"),
    ("POST", f"subscription_schedules/{ID}/release", "_subscription_schedule_release_params", "SubscriptionScheduleReleaseParams"),
    ("GET", f"checkout/sessions/{ID}/line_items", "checkout._session_line_item_list_params", "SessionLineItemListParams"),
    ("GET", f"checkout/sessions/{ID}", "checkout._session_retrieve_params", "SessionRetrieveParams"),
    ("GET", "checkout/sessions", "checkout._session_list_params", "SessionListParams"),
    ("GET", f"payment_intents/{ID}", "_payment_intent_retrieve_params", "PaymentIntentRetrieveParams"),
    ("GET", "payment_intents", "_payment_intent_list_params", "PaymentIntentListParams"),
    ("GET", f"charges/{ID}", "_charge_retrieve_params", "ChargeRetrieveParams"),
    ("GET", f"invoices/{ID}", "_invoice_retrieve_params", "InvoiceRetrieveParams"),
    ("GET", f"invoices/{ID}/lines", "_invoice_line_item_list_params", "InvoiceLineItemListParams"),
    ("GET", "invoice_payments", "_invoice_payment_list_params", "InvoicePaymentListParams"),
    ("GET", f"subscriptions/{ID}", "_subscription_retrieve_params", "SubscriptionRetrieveParams"),
    ("GET", "subscriptions", "_subscription_list_params", "SubscriptionListParams"),
    ("GET", f"subscription_schedules/{ID}", "_subscription_schedule_retrieve_params", "SubscriptionScheduleRetrieveParams"),
    ("GET", f"customers/{ID}/payment_methods", "_customer_payment_method_list_params", "CustomerPaymentMethodListParams"),
    ("GET", f"customers/{ID}", "_customer_retrieve_params", "CustomerRetrieveParams"),
    ("GET", "invoices", "_invoice_list_params", "InvoiceListParams"),
    ("GET", f"refunds/{ID}", "_refund_retrieve_params", "RefundRetrieveParams"),
    ("GET", f"credit_notes/{ID}", "_credit_note_retrieve_params", "CreditNoteRetrieveParams"),
    ("GET", f"credit_notes/{ID}/lines", "_credit_note_line_item_list_params", "CreditNoteLineItemListParams"),
    ("GET", "refunds", "_refund_list_params", "RefundListParams"),
    ("GET", "disputes", "_dispute_list_params", "DisputeListParams"),
    ("GET", "events", "_event_list_params", "EventListParams"),
]

adapters = {}


def adapter(module_name, class_name):
    """A validator that refuses names the SDK does not know, on every level."""
    key = (module_name, class_name)
    if key not in adapters:
        module = importlib.import_module("stripe.params." + module_name)
        for found in vars(module).values():
            # Each typed dictionary of the module is a level of its parameters.
            if isinstance(found, type) and hasattr(found, "__total__") and found is not RequestOptions:
                found.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True)
        adapters[key] = pydantic.TypeAdapter(getattr(module, class_name))
        # The dictionaries inherit the SDK's own options, whose types stand in another module.
        names = {**vars(_request_options), "StripeContext": stripe.StripeContext, **vars(module)}
        adapters[key].rebuild(_types_namespace=names)
    return adapters[key]


def nested(form):
    """A form as nested dictionaries; those numbered from 0 without gaps become lists."""
    root = {}
    for name, value in urllib.parse.parse_qsl(form, keep_blank_values=True, strict_parsing=bool(form)):
        head, *rest = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        place = root
        path = [head, *rest]
        for step, following in zip(path, path[1:]):
            place = place.setdefault(step or str(len(place)), {})
        last = path[-1] or str(len(place))
        if last in place:
            raise ValueError(f"{name} is sent twice")
        place[last] = value

    def lists(value):
        if not isinstance(value, dict):
            return value
        inner = {key: lists(entry) for key, entry in value.items()}
        numbered = [str(number) for number in range(len(inner))]
        return [inner[number] for number in numbered] if inner and sorted(inner) == sorted(numbered) else inner

    return {key: lists(value) for key, value in root.items()}


def wrong(request):
    path = request["path"].removeprefix("/v1/")
    routes = [route for route in ROUTES if route[0] == request["method"] and re.fullmatch(route[1], path)]
    if len(routes) != 1:
        return [f"{len(routes)} routes for {request['method']} {request['path']}"]
    try:
        parameters = nested(request["form"])
    except ValueError as error:
        return [str(error)]
    # The SDK's own options share the dictionary and are no parameters.
    found = [f"{name}: no parameter" for name in parameters if name in RequestOptions.__annotations__]
    try:
        adapter(*routes[0][2:]).validate_python(parameters)
    except pydantic.ValidationError as error:
        found += [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return found


def main():
    assert stripe.VERSION == WANTED, f"stripe {stripe.VERSION}, wanted {WANTED}"
    for line in sys.stdin:
        print(json.dumps(wrong(json.loads(line))))


main()
