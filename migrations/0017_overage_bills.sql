-- Overage is billed: usage that was allowed beyond the balance at a price becomes lines of a Stripe invoice.

ALTER TABLE debts
    ADD COLUMN billed numeric(38,9) NOT NULL DEFAULT 0,
    ADD CONSTRAINT debts_billed_range CHECK (billed BETWEEN 0 AND greatest(outstanding, 0)),
    ADD CONSTRAINT debts_billed_has_price CHECK (billed = 0 OR unit_price_minor IS NOT NULL);
-- Who has something to bill is asked again and again.
CREATE INDEX debts_to_bill ON debts (account_id, currency) WHERE unit_price_minor IS NOT NULL AND outstanding > billed;
COMMENT ON COLUMN debts.billed IS 'Credits of it that are on a bill which is not paid; they stay owed until it is.';

-- What a debt owes of usage after a time is summed for every bill.
CREATE INDEX entries_debts ON entries (account_id, debt_id, seq) WHERE kind = 'debt';

CREATE TABLE overage_bills (
    account_id uuid NOT NULL,
    bill_id uuid NOT NULL,
    currency text NOT NULL,
    period_end timestamptz NOT NULL,
    stripe_customer text NOT NULL,
    draft_invoice text,
    is_own boolean NOT NULL,
    state text NOT NULL,
    stripe_invoice text,
    invoice_url text,
    payment_id uuid,
    reason text,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT overage_bills_pkey PRIMARY KEY (account_id, bill_id),
    CONSTRAINT overage_bills_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT overage_bills_payment_fkey FOREIGN KEY (account_id, payment_id) REFERENCES payments (account_id, payment_id),
    CONSTRAINT overage_bills_currency_is_code CHECK (currency ~ '^[a-z]{3}$'),
    CONSTRAINT overage_bills_customer_length CHECK (octet_length(stripe_customer) BETWEEN 1 AND 255),
    CONSTRAINT overage_bills_draft_length CHECK (octet_length(draft_invoice) BETWEEN 1 AND 255),
    CONSTRAINT overage_bills_no_draft_is_own CHECK (is_own OR draft_invoice IS NOT NULL),
    CONSTRAINT overage_bills_state_known CHECK (state IN ('open', 'invoiced', 'paid', 'void')),
    CONSTRAINT overage_bills_invoiced_has_invoice CHECK (state NOT IN ('invoiced', 'paid') OR stripe_invoice IS NOT NULL),
    CONSTRAINT overage_bills_paid_has_payment CHECK ((state = 'paid') = (payment_id IS NOT NULL)),
    CONSTRAINT overage_bills_void_has_reason CHECK ((state = 'void') = (reason IS NOT NULL)),
    CONSTRAINT overage_bills_ended_has_time CHECK ((state IN ('paid', 'void')) = (ended_at IS NOT NULL))
);
CREATE UNIQUE INDEX overage_bills_once_per_draft ON overage_bills (account_id, currency, draft_invoice)
    WHERE draft_invoice IS NOT NULL;
CREATE UNIQUE INDEX overage_bills_once_per_period ON overage_bills (account_id, currency, period_end)
    WHERE draft_invoice IS NULL;
COMMENT ON TABLE overage_bills IS 'Overage made into lines of an invoice, once for each subscription''s invoice or month.';
COMMENT ON COLUMN overage_bills.account_id IS 'Who owes.';
COMMENT ON COLUMN overage_bills.bill_id IS 'Our id; every idempotency key sent to Stripe is made of it.';
COMMENT ON COLUMN overage_bills.currency IS 'Of its amounts.';
COMMENT ON COLUMN overage_bills.period_end IS 'Usage before then is on it.';
COMMENT ON COLUMN overage_bills.stripe_customer IS 'Stripe''s customer who pays.';
COMMENT ON COLUMN overage_bills.draft_invoice IS 'The draft of a subscription''s invoice it was made for; null: it has an invoice of its own.';
COMMENT ON COLUMN overage_bills.is_own IS 'Does it go on an invoice of its own: because it was made so, or because the draft was final already?';
COMMENT ON COLUMN overage_bills.state IS 'open: on its way to Stripe; invoiced: on an invoice; paid; void: over without being paid, its credits wait for the next bill.';
COMMENT ON COLUMN overage_bills.stripe_invoice IS 'The invoice it is on, once that is known.';
COMMENT ON COLUMN overage_bills.invoice_url IS 'Stripe''s page of an invoice of its own.';
COMMENT ON COLUMN overage_bills.payment_id IS 'The payment that paid it.';
COMMENT ON COLUMN overage_bills.reason IS 'Why it is void, in words.';
COMMENT ON COLUMN overage_bills.created_at IS 'When it was made.';
COMMENT ON COLUMN overage_bills.ended_at IS 'When it was paid, by Stripe''s time, or void.';

CREATE TABLE overage_bill_lines (
    account_id uuid NOT NULL,
    bill_id uuid NOT NULL,
    line integer NOT NULL,
    debt_id uuid NOT NULL,
    feature text NOT NULL,
    credits numeric(38,9) NOT NULL,
    unit_price text NOT NULL,
    amount_minor bigint NOT NULL,
    is_released boolean NOT NULL DEFAULT false,
    CONSTRAINT overage_bill_lines_pkey PRIMARY KEY (account_id, bill_id, line),
    CONSTRAINT overage_bill_lines_bill_fkey FOREIGN KEY (account_id, bill_id) REFERENCES overage_bills (account_id, bill_id),
    CONSTRAINT overage_bill_lines_debt_fkey FOREIGN KEY (account_id, debt_id) REFERENCES debts (account_id, debt_id),
    CONSTRAINT overage_bill_lines_debt_once UNIQUE (account_id, bill_id, debt_id),
    CONSTRAINT overage_bill_lines_line_range CHECK (line BETWEEN 0 AND 99),
    CONSTRAINT overage_bill_lines_credits_range CHECK (credits > 0 AND credits <= 1000000000000000000),
    CONSTRAINT overage_bill_lines_price_is_decimal CHECK (unit_price ~ '^[0-9]+(\.[0-9]{1,18})?$'),
    CONSTRAINT overage_bill_lines_amount_range CHECK (amount_minor BETWEEN 1 AND 99999999)
);
-- How much of a debt is billed is held against its bills.
CREATE INDEX overage_bill_lines_by_debt ON overage_bill_lines (account_id, debt_id);
COMMENT ON TABLE overage_bill_lines IS 'Credits of a debt on a bill: one item of an invoice.';
COMMENT ON COLUMN overage_bill_lines.account_id IS 'Who owes.';
COMMENT ON COLUMN overage_bill_lines.bill_id IS 'The bill.';
COMMENT ON COLUMN overage_bill_lines.line IS 'Its place, from 0; with the bill''s id in the metadata of the invoice''s item.';
COMMENT ON COLUMN overage_bill_lines.debt_id IS 'The debt.';
COMMENT ON COLUMN overage_bill_lines.feature IS 'Whose credits.';
COMMENT ON COLUMN overage_bill_lines.credits IS 'How many.';
COMMENT ON COLUMN overage_bill_lines.unit_price IS 'What one costs, in major units, as the catalogue had it.';
COMMENT ON COLUMN overage_bill_lines.amount_minor IS 'What they cost together, rounded half to even once, in minor units.';
COMMENT ON COLUMN overage_bill_lines.is_released IS 'Not on the invoice, or not paid with it: its credits wait for the next bill.';
