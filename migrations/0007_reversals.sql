-- Money going back: what Stripe's objects say of it, what it took of each grant, and the events that wait for a payment.

CREATE TABLE reversals (
    account_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    object_id text NOT NULL,
    seen_at timestamptz NOT NULL,
    document jsonb NOT NULL,
    CONSTRAINT reversals_pkey PRIMARY KEY (account_id, payment_id, object_id),
    CONSTRAINT reversals_payment_fkey FOREIGN KEY (account_id, payment_id) REFERENCES payments (account_id, payment_id),
    CONSTRAINT reversals_object_length CHECK (octet_length(object_id) BETWEEN 1 AND 255),
    CONSTRAINT reversals_document_is_object CHECK (jsonb_typeof(document) = 'object')
);
COMMENT ON TABLE reversals IS 'Refunded charges, disputes, fraud warnings and credit notes of payments, each as it was last seen (rules 28, 29).';
COMMENT ON COLUMN reversals.account_id IS 'Whose payment.';
COMMENT ON COLUMN reversals.payment_id IS 'The payment whose money went back.';
COMMENT ON COLUMN reversals.object_id IS 'Stripe''s id: the charge (ch_..) for its refunds, a dispute, a warning, a credit note.';
COMMENT ON COLUMN reversals.seen_at IS 'When Stripe was asked, or made the event: older views change nothing.';
COMMENT ON COLUMN reversals.document IS 'What it says, as domain::reversal writes it: amounts in minor units of the payment''s currency.';

CREATE TABLE reversed_grants (
    account_id uuid NOT NULL,
    grant_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    taken numeric(38,9) NOT NULL,
    owed numeric(38,9) NOT NULL,
    waived numeric(38,9) NOT NULL,
    CONSTRAINT reversed_grants_pkey PRIMARY KEY (account_id, grant_id),
    CONSTRAINT reversed_grants_grant_fkey FOREIGN KEY (account_id, grant_id) REFERENCES grants (account_id, grant_id),
    CONSTRAINT reversed_grants_payment_fkey FOREIGN KEY (account_id, payment_id) REFERENCES payments (account_id, payment_id),
    CONSTRAINT reversed_grants_taken_range CHECK (taken BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT reversed_grants_owed_range CHECK (owed BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT reversed_grants_waived_range CHECK (waived BETWEEN 0 AND 1000000000000000000)
);
COMMENT ON TABLE reversed_grants IS 'What money going back did to each grant so far; the three add up to the share that went back.';
COMMENT ON COLUMN reversed_grants.account_id IS 'Whose grant.';
COMMENT ON COLUMN reversed_grants.grant_id IS 'The grant.';
COMMENT ON COLUMN reversed_grants.payment_id IS 'The payment that bought it.';
COMMENT ON COLUMN reversed_grants.taken IS 'Credits taken from the grant: its claw_back and reinstate entries.';
COMMENT ON COLUMN reversed_grants.owed IS 'Credits that were spent and became debt of the wallet.';
COMMENT ON COLUMN reversed_grants.waived IS 'Credits that were spent or gone and are not asked for: a plan''s fee, or by policy.';

-- A repayment goes back to the grant that made it when its debt is cancelled.
ALTER TABLE entries DROP CONSTRAINT entries_sign_fits_kind, ADD CONSTRAINT entries_sign_fits_kind CHECK (CASE kind
    WHEN 'grant' THEN amount >= 0 WHEN 'return' THEN amount >= 0 WHEN 'reinstate' THEN amount >= 0
    WHEN 'rollover_in' THEN amount >= 0 WHEN 'debt' THEN true WHEN 'repay' THEN true WHEN 'hold' THEN amount >= 0
    WHEN 'adjust' THEN true ELSE amount <= 0 END);
-- Few lines are of these kinds; what a reversal asks of an account must not read all it ever used.
CREATE INDEX entries_repayments ON entries (account_id, debt_id) WHERE kind = 'repay';
CREATE INDEX entries_losses ON entries (account_id, grant_id) WHERE kind IN ('expire', 'end', 'void', 'adjust', 'rollover_out');

CREATE TABLE stripe_event_waits (
    alias text NOT NULL,
    event_id text NOT NULL,
    CONSTRAINT stripe_event_waits_pkey PRIMARY KEY (alias, event_id),
    CONSTRAINT stripe_event_waits_event_fkey FOREIGN KEY (event_id) REFERENCES stripe_events (event_id),
    CONSTRAINT stripe_event_waits_alias_length CHECK (octet_length(alias) BETWEEN 1 AND 255)
);
COMMENT ON TABLE stripe_event_waits IS 'Events ignored because no payment of ours has their charge: taken up when one does.';
COMMENT ON COLUMN stripe_event_waits.alias IS 'Charge, payment intent or invoice they tell of.';
COMMENT ON COLUMN stripe_event_waits.event_id IS 'The event.';
