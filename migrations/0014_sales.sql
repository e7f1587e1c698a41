-- What is asked of Stripe for a customer who buys: written down before it is sent, so that a repeat finds it.

CREATE TABLE sales (
    account_id uuid NOT NULL,
    sale_id uuid NOT NULL,
    slot bytea NOT NULL,
    request bytea NOT NULL,
    caller_key bytea,
    kind text NOT NULL,
    terms jsonb NOT NULL,
    state text NOT NULL,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT sales_pkey PRIMARY KEY (account_id, sale_id),
    CONSTRAINT sales_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT sales_slot_length CHECK (octet_length(slot) = 16),
    CONSTRAINT sales_request_length CHECK (octet_length(request) = 16),
    CONSTRAINT sales_caller_key_length CHECK (octet_length(caller_key) = 16),
    CONSTRAINT sales_kind_known CHECK (kind IN ('customer', 'checkout', 'subscription', 'invoice', 'change')),
    CONSTRAINT sales_state_known CHECK (state IN ('open', 'done', 'dropped')),
    CONSTRAINT sales_ended_has_time CHECK ((state = 'open') = (ended_at IS NULL)),
    CONSTRAINT sales_dropped_has_no_key CHECK (state <> 'dropped' OR caller_key IS NULL)
);
CREATE UNIQUE INDEX sales_one_open ON sales (account_id, slot) WHERE state = 'open';
CREATE UNIQUE INDEX sales_once_per_key ON sales (account_id, caller_key) WHERE caller_key IS NOT NULL;
COMMENT ON TABLE sales IS 'What a customer is about to buy, or bought, through Stripe by POST /attach.';
COMMENT ON COLUMN sales.account_id IS 'Who buys.';
COMMENT ON COLUMN sales.sale_id IS 'Our id; every idempotency key sent to Stripe is made of it.';
COMMENT ON COLUMN sales.slot IS 'What only one open sale may be about: a group of plans, a set of packs, a subscription, or a caller''s key.';
COMMENT ON COLUMN sales.request IS 'Hash of what was asked for: the same again finds the sale, something else takes its place.';
COMMENT ON COLUMN sales.caller_key IS 'Hash of the caller''s key, with which a sale happens once; free again once the sale is dropped.';
COMMENT ON COLUMN sales.kind IS 'customer: Stripe''s customer is made; checkout: a page is opened; subscription, invoice: a saved card is charged; change: a subscription changes.';
COMMENT ON COLUMN sales.terms IS 'What is bought, as the steps need it.';
COMMENT ON COLUMN sales.state IS 'open: under way or waiting for its buyer; done: Stripe did it; dropped: refused, expired or replaced.';
COMMENT ON COLUMN sales.created_at IS 'When it was asked for.';
COMMENT ON COLUMN sales.ended_at IS 'When it was done or dropped.';

CREATE TABLE sale_steps (
    account_id uuid NOT NULL,
    sale_id uuid NOT NULL,
    step text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    body text NOT NULL,
    answer jsonb,
    created_at timestamptz NOT NULL,
    answered_at timestamptz,
    CONSTRAINT sale_steps_pkey PRIMARY KEY (account_id, sale_id, step),
    CONSTRAINT sale_steps_sale_fkey FOREIGN KEY (account_id, sale_id) REFERENCES sales (account_id, sale_id),
    CONSTRAINT sale_steps_step_length CHECK (octet_length(step) BETWEEN 1 AND 64),
    CONSTRAINT sale_steps_answer_has_time CHECK ((answer IS NULL) = (answered_at IS NULL))
);
COMMENT ON TABLE sale_steps IS 'Requests of a sale to Stripe, committed before they are sent and sent again byte by byte.';
COMMENT ON COLUMN sale_steps.account_id IS 'Who buys.';
COMMENT ON COLUMN sale_steps.sale_id IS 'The sale.';
COMMENT ON COLUMN sale_steps.step IS 'Which of its requests; with sale_id the idempotency key.';
COMMENT ON COLUMN sale_steps.method IS 'POST or DELETE.';
COMMENT ON COLUMN sale_steps.path IS 'The path, with /v1.';
COMMENT ON COLUMN sale_steps.body IS 'The form as it is sent.';
COMMENT ON COLUMN sale_steps.answer IS 'What later steps and repeats need of Stripe''s answer: ids and addresses. Null: not answered yet.';
COMMENT ON COLUMN sale_steps.created_at IS 'When it was written down.';
COMMENT ON COLUMN sale_steps.answered_at IS 'When Stripe answered.';
