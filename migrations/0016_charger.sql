-- The charger: rules, decisions, tries, and every request to Stripe before it is sent.

CREATE TABLE top_up_rules (
    account_id uuid NOT NULL,
    name text NOT NULL,
    origin text NOT NULL,
    terms jsonb NOT NULL,
    enabled boolean NOT NULL,
    paused_because text,
    paused_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    day_start timestamptz,
    day_count bigint NOT NULL DEFAULT 0,
    day_minor bigint NOT NULL DEFAULT 0,
    month_start timestamptz,
    month_count bigint NOT NULL DEFAULT 0,
    month_minor bigint NOT NULL DEFAULT 0,
    decided_at timestamptz,
    look_at timestamptz,
    CONSTRAINT top_up_rules_pkey PRIMARY KEY (account_id, name),
    CONSTRAINT top_up_rules_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT top_up_rules_name_length CHECK (octet_length(name) BETWEEN 1 AND 300),
    CONSTRAINT top_up_rules_origin_known CHECK (origin IN ('api', 'plan', 'demand', 'dropped')),
    CONSTRAINT top_up_rules_terms_is_object CHECK (jsonb_typeof(terms) = 'object'),
    CONSTRAINT top_up_rules_pause_known CHECK (paused_because IN ('no_payment_method', 'card_declined',
        'authentication_required', 'refused', 'customer_deleted')),
    CONSTRAINT top_up_rules_pause_has_time CHECK ((paused_because IS NULL) = (paused_at IS NULL)),
    CONSTRAINT top_up_rules_failures_not_negative CHECK (failures >= 0),
    CONSTRAINT top_up_rules_counts_not_negative
        CHECK (day_count >= 0 AND day_minor >= 0 AND month_count >= 0 AND month_minor >= 0)
) WITH (fillfactor = 80);
COMMENT ON TABLE top_up_rules IS 'When a customer''s balance is topped up by itself, how much, and how often at most.';
COMMENT ON COLUMN top_up_rules.account_id IS 'Whose.';
COMMENT ON COLUMN top_up_rules.name IS 'The name the app gave it; of a plan''s rule plan/<plan>/<feature>, of orders by hand demand/<feature>/<currency>.';
COMMENT ON COLUMN top_up_rules.origin IS 'api: set by the app; plan: of an attached plan; demand: counts what is ordered by POST /topups; dropped: taken away, and kept until its last decision is over and the month that it counts.';
COMMENT ON COLUMN top_up_rules.terms IS 'Feature, wallet, threshold, amount, currency, card, ceilings, cooldown and consent.';
COMMENT ON COLUMN top_up_rules.enabled IS 'Does it decide anything?';
COMMENT ON COLUMN top_up_rules.paused_because IS 'Why it decides nothing until somebody acts; null: it is not paused.';
COMMENT ON COLUMN top_up_rules.paused_at IS 'Since when.';
COMMENT ON COLUMN top_up_rules.failures IS 'Decisions in a row that failed.';
COMMENT ON COLUMN top_up_rules.day_start IS 'Start of the UTC day that day_count and day_minor are of.';
COMMENT ON COLUMN top_up_rules.day_count IS 'Decisions of that day, but for those that certainly took nothing.';
COMMENT ON COLUMN top_up_rules.day_minor IS 'Minor units decided on that day, but for those that were certainly not taken.';
COMMENT ON COLUMN top_up_rules.month_start IS 'Start of the UTC month that month_count and month_minor are of.';
COMMENT ON COLUMN top_up_rules.month_count IS 'Decisions of that month, but for those that certainly took nothing.';
COMMENT ON COLUMN top_up_rules.month_minor IS 'Minor units decided in that month, but for those that were certainly not taken.';
COMMENT ON COLUMN top_up_rules.decided_at IS 'When it decided last: the cooldown counts from there.';
COMMENT ON COLUMN top_up_rules.look_at IS 'When a cooldown or a ceiling that holds it back ends.';

CREATE TABLE top_ups (
    account_id uuid NOT NULL,
    topup_id uuid NOT NULL,
    rule text NOT NULL,
    state text NOT NULL,
    terms jsonb NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL,
    credits numeric(38,9) NOT NULL,
    grant_id uuid NOT NULL,
    payment_id uuid,
    reason text,
    link jsonb,
    tries integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    due_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT top_ups_pkey PRIMARY KEY (account_id, topup_id),
    CONSTRAINT top_ups_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT top_ups_state_known CHECK (state IN ('open', 'charging', 'processing', 'needs_action', 'closing',
        'succeeded', 'failed', 'dropped')),
    CONSTRAINT top_ups_terms_is_object CHECK (jsonb_typeof(terms) = 'object'),
    CONSTRAINT top_ups_currency_is_code CHECK (currency ~ '^[a-z]{3}$'),
    CONSTRAINT top_ups_amount_positive CHECK (amount_minor > 0),
    CONSTRAINT top_ups_credits_positive CHECK (credits > 0 AND credits <= 1000000000000000000),
    CONSTRAINT top_ups_tries_not_negative CHECK (tries >= 0),
    CONSTRAINT top_ups_ended_has_time CHECK ((state IN ('succeeded', 'failed', 'dropped')) = (ended_at IS NOT NULL)),
    CONSTRAINT top_ups_open_is_due CHECK ((ended_at IS NULL) = (due_at IS NOT NULL)),
    CONSTRAINT top_ups_failed_says_why CHECK (state NOT IN ('failed', 'dropped', 'closing') OR reason IS NOT NULL),
    CONSTRAINT top_ups_succeeded_is_paid CHECK (state <> 'succeeded' OR payment_id IS NOT NULL)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX top_ups_one_open ON top_ups (account_id, rule) WHERE ended_at IS NULL;
COMMENT ON TABLE top_ups IS 'Decisions to take money for credits: each takes it once at most.';
COMMENT ON COLUMN top_ups.account_id IS 'Who pays.';
COMMENT ON COLUMN top_ups.topup_id IS 'Our id; stands in the metadata of everything made for it at Stripe.';
COMMENT ON COLUMN top_ups.rule IS 'The rule that decided it; one of a rule is open at a time.';
COMMENT ON COLUMN top_ups.state IS 'open: to be charged; charging: sent, the outcome not known yet; processing: the bank takes its time; needs_action: waits for the card''s owner; closing: given up, what could still pay it is being ended; succeeded, failed, dropped (not wanted any more): over.';
COMMENT ON COLUMN top_ups.terms IS 'What is bought, of which plan''s pack, with which card and how: frozen.';
COMMENT ON COLUMN top_ups.currency IS 'Of the amount.';
COMMENT ON COLUMN top_ups.amount_minor IS 'What is to be paid, taxes left out, in minor units.';
COMMENT ON COLUMN top_ups.credits IS 'What it gives.';
COMMENT ON COLUMN top_ups.grant_id IS 'The grant it becomes when it is paid.';
COMMENT ON COLUMN top_ups.payment_id IS 'The payment that paid it.';
COMMENT ON COLUMN top_ups.reason IS 'Why it failed, waits or was dropped: a stable code.';
COMMENT ON COLUMN top_ups.link IS 'Where the card''s owner can pay it, and until when.';
COMMENT ON COLUMN top_ups.tries IS 'Tries made.';
COMMENT ON COLUMN top_ups.created_at IS 'When it was decided, in ledger time.';
COMMENT ON COLUMN top_ups.due_at IS 'When something is to be done about it; null: it is over.';
COMMENT ON COLUMN top_ups.ended_at IS 'When it was over.';

CREATE TABLE top_up_ids (
    topup_id uuid CONSTRAINT top_up_ids_pkey PRIMARY KEY,
    account_id uuid NOT NULL
);
COMMENT ON TABLE top_up_ids IS 'Whose a top-up is.';
COMMENT ON COLUMN top_up_ids.topup_id IS 'The top-up.';
COMMENT ON COLUMN top_up_ids.account_id IS 'Its account.';

CREATE TABLE top_up_tries (
    account_id uuid NOT NULL,
    topup_id uuid NOT NULL,
    try integer NOT NULL,
    attempt_id uuid NOT NULL,
    state text NOT NULL,
    stripe_customer text NOT NULL,
    payment_method text NOT NULL,
    payment_intent text,
    invoice text,
    code text,
    decline_code text,
    advice_code text,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT top_up_tries_pkey PRIMARY KEY (account_id, topup_id, try),
    CONSTRAINT top_up_tries_attempt_once UNIQUE (account_id, attempt_id),
    CONSTRAINT top_up_tries_topup_fkey FOREIGN KEY (account_id, topup_id) REFERENCES top_ups (account_id, topup_id),
    CONSTRAINT top_up_tries_try_positive CHECK (try >= 1),
    CONSTRAINT top_up_tries_state_known CHECK (state IN ('sent', 'processing', 'needs_action', 'succeeded', 'declined',
        'refused', 'not_done', 'cancelled')),
    CONSTRAINT top_up_tries_ended_has_time
        CHECK ((state IN ('succeeded', 'declined', 'refused', 'not_done', 'cancelled')) = (ended_at IS NOT NULL))
);
COMMENT ON TABLE top_up_tries IS 'Tries to charge a card for a top-up; another one only after a definite failure.';
COMMENT ON COLUMN top_up_tries.account_id IS 'Who pays.';
COMMENT ON COLUMN top_up_tries.topup_id IS 'The top-up.';
COMMENT ON COLUMN top_up_tries.try IS 'Which of its tries, from 1.';
COMMENT ON COLUMN top_up_tries.attempt_id IS 'Our id; the idempotency keys of its requests begin with it.';
COMMENT ON COLUMN top_up_tries.state IS 'sent: on its way, or its outcome is not known; processing; needs_action: the card''s owner is asked for; succeeded, declined, refused, not_done, cancelled: over.';
COMMENT ON COLUMN top_up_tries.stripe_customer IS 'Stripe''s customer.';
COMMENT ON COLUMN top_up_tries.payment_method IS 'The card.';
COMMENT ON COLUMN top_up_tries.payment_intent IS 'Stripe''s intent, once it is known.';
COMMENT ON COLUMN top_up_tries.invoice IS 'Stripe''s invoice, where one is paid.';
COMMENT ON COLUMN top_up_tries.code IS 'Stripe''s code of a failure.';
COMMENT ON COLUMN top_up_tries.decline_code IS 'The issuer''s reason.';
COMMENT ON COLUMN top_up_tries.advice_code IS 'What Stripe advises; it stands above the reason.';
COMMENT ON COLUMN top_up_tries.created_at IS 'When it was written down, in ledger time: just before its first sending.';
COMMENT ON COLUMN top_up_tries.ended_at IS 'When its outcome was known for certain.';

CREATE TABLE top_up_excess (
    account_id uuid NOT NULL,
    topup_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    payment_intent text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL,
    state text NOT NULL,
    stripe_refund text,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT top_up_excess_pkey PRIMARY KEY (account_id, topup_id, payment_id),
    CONSTRAINT top_up_excess_topup_fkey FOREIGN KEY (account_id, topup_id) REFERENCES top_ups (account_id, topup_id),
    CONSTRAINT top_up_excess_payment_fkey FOREIGN KEY (account_id, payment_id) REFERENCES payments (account_id, payment_id),
    CONSTRAINT top_up_excess_state_known CHECK (state IN ('due', 'refunded', 'failed')),
    CONSTRAINT top_up_excess_currency_is_code CHECK (currency ~ '^[a-z]{3}$'),
    CONSTRAINT top_up_excess_amount_positive CHECK (amount_minor > 0),
    CONSTRAINT top_up_excess_ended_has_time CHECK ((state = 'due') = (ended_at IS NULL)),
    CONSTRAINT top_up_excess_refunded_has_refund CHECK (state <> 'refunded' OR stripe_refund IS NOT NULL)
);
COMMENT ON TABLE top_up_excess IS 'Money that came for a top-up which was paid already: it goes back by itself.';
COMMENT ON COLUMN top_up_excess.account_id IS 'Who paid.';
COMMENT ON COLUMN top_up_excess.topup_id IS 'The top-up.';
COMMENT ON COLUMN top_up_excess.payment_id IS 'The payment that came too much.';
COMMENT ON COLUMN top_up_excess.payment_intent IS 'Its intent at Stripe.';
COMMENT ON COLUMN top_up_excess.currency IS 'Of the amount.';
COMMENT ON COLUMN top_up_excess.amount_minor IS 'What goes back, in minor units.';
COMMENT ON COLUMN top_up_excess.state IS 'due: to be refunded; refunded: Stripe has the refund; failed: Stripe refuses it, a person has to see to it.';
COMMENT ON COLUMN top_up_excess.stripe_refund IS 'The refund.';
COMMENT ON COLUMN top_up_excess.created_at IS 'When it was seen.';
COMMENT ON COLUMN top_up_excess.ended_at IS 'When it was refunded, or refused.';

CREATE TABLE charge_steps (
    account_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    step text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    body text NOT NULL,
    answer jsonb,
    created_at timestamptz NOT NULL,
    answered_at timestamptz,
    CONSTRAINT charge_steps_pkey PRIMARY KEY (account_id, owner_id, step),
    CONSTRAINT charge_steps_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT charge_steps_step_length CHECK (octet_length(step) BETWEEN 1 AND 64),
    CONSTRAINT charge_steps_answer_has_time CHECK ((answer IS NULL) = (answered_at IS NULL))
);
COMMENT ON TABLE charge_steps IS 'Requests of the charger to Stripe, committed before they are sent and sent again byte by byte.';
COMMENT ON COLUMN charge_steps.account_id IS 'Who pays.';
COMMENT ON COLUMN charge_steps.owner_id IS 'What it is for: a try, a top-up, an excess payment or a bill.';
COMMENT ON COLUMN charge_steps.step IS 'Which of its requests; with owner_id the idempotency key.';
COMMENT ON COLUMN charge_steps.method IS 'POST or DELETE.';
COMMENT ON COLUMN charge_steps.path IS 'The path, with /v1.';
COMMENT ON COLUMN charge_steps.body IS 'The form as it is sent.';
COMMENT ON COLUMN charge_steps.answer IS 'What later steps and repeats need of Stripe''s answer. Null: not answered for certain yet.';
COMMENT ON COLUMN charge_steps.created_at IS 'When it was written down, in ledger time: just before its first sending.';
COMMENT ON COLUMN charge_steps.answered_at IS 'When Stripe answered.';

CREATE TABLE charge_work (
    bucket smallint NOT NULL,
    account_id uuid NOT NULL,
    kind text NOT NULL,
    owner_id uuid NOT NULL,
    due_at timestamptz NOT NULL,
    fence bigint NOT NULL DEFAULT 0,
    lease_token uuid,
    leased_until timestamptz,
    CONSTRAINT charge_work_pkey PRIMARY KEY (bucket, account_id, kind, owner_id),
    CONSTRAINT charge_work_bucket_range CHECK (bucket BETWEEN 0 AND 15),
    CONSTRAINT charge_work_kind_known CHECK (kind IN ('top_up', 'look', 'refund', 'bill', 'card')),
    CONSTRAINT charge_work_lease_is_whole CHECK ((lease_token IS NULL) = (leased_until IS NULL)),
    CONSTRAINT charge_work_fence_not_negative CHECK (fence >= 0)
) WITH (fillfactor = 70);
CREATE INDEX charge_work_due ON charge_work (bucket, due_at);
COMMENT ON TABLE charge_work IS 'What the charger has to do, and when.';
COMMENT ON COLUMN charge_work.bucket IS 'Last 4 bits of the account''s id.';
COMMENT ON COLUMN charge_work.account_id IS 'Whose.';
COMMENT ON COLUMN charge_work.kind IS 'top_up: a top-up to be charged, repeated or ended; look: rules to be looked at again; refund: an excess payment; bill: overage to be invoiced; card: a card to become the default.';
COMMENT ON COLUMN charge_work.owner_id IS 'The top-up, the account itself, the excess payment, the bill or the saved card''s session.';
COMMENT ON COLUMN charge_work.due_at IS 'When, in ledger time.';
COMMENT ON COLUMN charge_work.fence IS 'Counts up with every holder of the lease.';
COMMENT ON COLUMN charge_work.lease_token IS 'Who works on it.';
COMMENT ON COLUMN charge_work.leased_until IS 'Until when, in real time.';

CREATE TABLE circuits (
    name text CONSTRAINT circuits_pkey PRIMARY KEY,
    failures integer NOT NULL,
    open_until timestamptz,
    reason text,
    CONSTRAINT circuits_failures_not_negative CHECK (failures >= 0)
);
COMMENT ON TABLE circuits IS 'Whether Stripe is worth asking: nothing is charged while its circuit is open.';
COMMENT ON COLUMN circuits.name IS 'Which: stripe.';
COMMENT ON COLUMN circuits.failures IS 'Failures in a row.';
COMMENT ON COLUMN circuits.open_until IS 'Nothing is sent before then, in real time; null: closed.';
COMMENT ON COLUMN circuits.reason IS 'What failed last.';
