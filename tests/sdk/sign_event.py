"""Signs the payload on standard input with the official Python SDK and prints the Stripe-Signature header.

Usage: python sign_event.py SECRET UNIX_SECONDS < payload      (needs: pip install stripe==16.1.0)
"""

import sys

import stripe

secret, timestamp = sys.argv[1], int(sys.argv[2])
payload = sys.stdin.buffer.read().decode("utf-8")
print(stripe.WebhookSignature.generate_signature_header(payload, secret, timestamp))
