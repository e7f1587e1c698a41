-- Stored webhook events with what was fetched for them, and the queues.

CREATE TABLE stripe_events (
    event_id text CONSTRAINT stripe_events_pkey PRIMARY KEY,
    event_type text NOT NULL,
    api_version text,
    livemode boolean NOT NULL,
    object_id text,
    created_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    origin text NOT NULL,
    body bytea,
    state text NOT NULL,
    reason text,
    detail text,
    account_id uuid,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz,
    lease_token uuid,
    leased_until timestamptz,
    done_at timestamptz,
    CONSTRAINT stripe_events_id_length CHECK (octet_length(event_id) BETWEEN 1 AND 255),
    CONSTRAINT stripe_events_type_length CHECK (octet_length(event_type) <= 255),
    CONSTRAINT stripe_events_origin_known CHECK (origin IN ('webhook', 'catch_up')),
    CONSTRAINT stripe_events_state_known CHECK (state IN ('received', 'processed', 'ignored', 'parked', 'dead')),
    CONSTRAINT stripe_events_open_is_due CHECK ((state IN ('received', 'parked')) = (due_at IS NOT NULL)),
    CONSTRAINT stripe_events_closed_has_time CHECK ((state IN ('processed', 'ignored', 'dead')) = (done_at IS NOT NULL)),
    CONSTRAINT stripe_events_says_why CHECK (state NOT IN ('ignored', 'parked', 'dead') OR reason IS NOT NULL),
    CONSTRAINT stripe_events_lease_is_whole CHECK ((lease_token IS NULL) = (leased_until IS NULL)),
    CONSTRAINT stripe_events_attempts_not_negative CHECK (attempts >= 0)
);
CREATE INDEX stripe_events_due ON stripe_events (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX stripe_events_by_time ON stripe_events (received_at, event_id);
COMMENT ON TABLE stripe_events IS 'Webhook events as they came, and how far each has got.';
COMMENT ON COLUMN stripe_events.event_id IS 'Stripe''s id (evt_..): a delivery twice is one row.';
COMMENT ON COLUMN stripe_events.event_type IS 'Such as checkout.session.completed.';
COMMENT ON COLUMN stripe_events.api_version IS 'The version whose shapes the body has.';
COMMENT ON COLUMN stripe_events.livemode IS 'Stripe''s mode.';
COMMENT ON COLUMN stripe_events.object_id IS 'Id of the object it tells of.';
COMMENT ON COLUMN stripe_events.created_at IS 'When Stripe made it.';
COMMENT ON COLUMN stripe_events.received_at IS 'When it was stored here.';
COMMENT ON COLUMN stripe_events.origin IS 'webhook: a signed delivery; catch_up: listed from Stripe.';
COMMENT ON COLUMN stripe_events.body IS 'The raw bytes; null once they are too old to keep or the person was erased.';
COMMENT ON COLUMN stripe_events.state IS 'Life of the event.';
COMMENT ON COLUMN stripe_events.reason IS 'Why it was ignored, parked or given up, as a stable code.';
COMMENT ON COLUMN stripe_events.detail IS 'The same in words, with the numbers.';
COMMENT ON COLUMN stripe_events.account_id IS 'The account it was found to be about.';
COMMENT ON COLUMN stripe_events.attempts IS 'How often it was worked on.';
COMMENT ON COLUMN stripe_events.due_at IS 'Worked on from then; null: done.';
COMMENT ON COLUMN stripe_events.lease_token IS 'Fencing token of the worker that has it.';
COMMENT ON COLUMN stripe_events.leased_until IS 'When that lease ends.';
COMMENT ON COLUMN stripe_events.done_at IS 'When it was done.';

CREATE TABLE stripe_inputs (
    event_id text NOT NULL,
    request text NOT NULL,
    status integer NOT NULL,
    body bytea,
    fetched_at timestamptz NOT NULL,
    CONSTRAINT stripe_inputs_pkey PRIMARY KEY (event_id, request),
    CONSTRAINT stripe_inputs_event_fkey FOREIGN KEY (event_id) REFERENCES stripe_events (event_id),
    CONSTRAINT stripe_inputs_status_is_http CHECK (status BETWEEN 100 AND 599),
    CONSTRAINT stripe_inputs_request_length CHECK (octet_length(request) BETWEEN 1 AND 2048)
);
COMMENT ON TABLE stripe_inputs IS 'Answers of Stripe that influenced a command: replay reads these, not Stripe (rule 8).';
COMMENT ON COLUMN stripe_inputs.event_id IS 'The event it was fetched for.';
COMMENT ON COLUMN stripe_inputs.request IS 'Path and query asked for.';
COMMENT ON COLUMN stripe_inputs.status IS 'HTTP status of the answer.';
COMMENT ON COLUMN stripe_inputs.body IS 'The answer''s raw bytes; erasable.';
COMMENT ON COLUMN stripe_inputs.fetched_at IS 'When.';

CREATE TABLE outbox (
    bucket smallint NOT NULL,
    message_id uuid NOT NULL,
    account_id uuid,
    topic text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    lease_token uuid,
    leased_until timestamptz,
    done_at timestamptz,
    CONSTRAINT outbox_pkey PRIMARY KEY (bucket, message_id),
    CONSTRAINT outbox_bucket_range CHECK (bucket BETWEEN 0 AND 15),
    CONSTRAINT outbox_open_is_due CHECK ((due_at IS NULL) = (done_at IS NOT NULL)),
    CONSTRAINT outbox_lease_is_whole CHECK ((lease_token IS NULL) = (leased_until IS NULL)),
    CONSTRAINT outbox_attempts_not_negative CHECK (attempts >= 0)
);
CREATE INDEX outbox_due ON outbox (bucket, due_at) WHERE due_at IS NOT NULL;
COMMENT ON TABLE outbox IS 'What has to be told outside, written with the change it tells of.';
COMMENT ON COLUMN outbox.bucket IS 'Spreads the queue: the last 4 bits of the account id.';
COMMENT ON COLUMN outbox.message_id IS 'Our id: the receiver''s idempotency key.';
COMMENT ON COLUMN outbox.account_id IS 'Whom it is about.';
COMMENT ON COLUMN outbox.topic IS 'Such as grant.created.';
COMMENT ON COLUMN outbox.payload IS 'What is told.';
COMMENT ON COLUMN outbox.created_at IS 'Written at.';
COMMENT ON COLUMN outbox.due_at IS 'Sent from then; null: done.';
COMMENT ON COLUMN outbox.attempts IS 'How often it was tried.';
COMMENT ON COLUMN outbox.lease_token IS 'Fencing token of the worker that has it.';
COMMENT ON COLUMN outbox.leased_until IS 'When that lease ends.';
COMMENT ON COLUMN outbox.done_at IS 'Sent or given up at.';

CREATE TABLE account_work (
    bucket smallint NOT NULL,
    account_id uuid NOT NULL,
    due_at timestamptz NOT NULL,
    CONSTRAINT account_work_pkey PRIMARY KEY (bucket, account_id),
    CONSTRAINT account_work_bucket_range CHECK (bucket BETWEEN 0 AND 15)
);
CREATE INDEX account_work_due ON account_work (bucket, due_at);
COMMENT ON TABLE account_work IS 'Accounts with an expiry or a renewal to book, by the time it falls due.';
COMMENT ON COLUMN account_work.bucket IS 'Spreads the queue: the last 4 bits of the account id.';
COMMENT ON COLUMN account_work.account_id IS 'The account.';
COMMENT ON COLUMN account_work.due_at IS 'accounts.next_due_at, kept here so that what is due is found without asking every account.';

CREATE TABLE leases (
    name text CONSTRAINT leases_pkey PRIMARY KEY,
    token uuid NOT NULL,
    fence bigint NOT NULL,
    until timestamptz NOT NULL,
    CONSTRAINT leases_fence_counts_up CHECK (fence >= 1)
);
COMMENT ON TABLE leases IS 'Who does what only one daemon may do at a time.';
COMMENT ON COLUMN leases.name IS 'The work.';
COMMENT ON COLUMN leases.token IS 'Who has it.';
COMMENT ON COLUMN leases.fence IS 'Counts up with each holder, so that a sleeper that wakes is refused.';
COMMENT ON COLUMN leases.until IS 'When it is free again.';
