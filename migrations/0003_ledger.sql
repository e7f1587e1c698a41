-- Money in, credits, and the ledger. Amounts of credits are NUMERIC(38,9), at most 10^18 either way (rule 23); money is
-- integer minor units with its currency.

CREATE TABLE payments (
    account_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    payment_key text NOT NULL,
    basis text,
    status text NOT NULL,
    currency text,
    amount_paid_minor bigint,
    tax_minor bigint,
    discount_minor bigint,
    fee_minor bigint,
    fee_currency text,
    stripe_session text,
    stripe_payment_intent text,
    stripe_charge text,
    stripe_invoice text,
    stripe_balance_transaction text,
    stripe_customer text,
    stripe_subscription text,
    paid_at timestamptz,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    CONSTRAINT payments_pkey PRIMARY KEY (account_id, payment_id),
    CONSTRAINT payments_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT payments_key_length CHECK (octet_length(payment_key) BETWEEN 1 AND 255),
    CONSTRAINT payments_basis_known CHECK (basis IN ('metadata', 'lines')),
    CONSTRAINT payments_status_known CHECK (status IN ('claimed', 'paid', 'free', 'failed')),
    CONSTRAINT payments_currency_is_code CHECK (currency ~ '^[a-z]{3}$'),
    CONSTRAINT payments_fee_currency_is_code CHECK (fee_currency ~ '^[a-z]{3}$'),
    CONSTRAINT payments_money_has_currency CHECK (currency IS NOT NULL
        OR (amount_paid_minor IS NULL AND tax_minor IS NULL AND discount_minor IS NULL)),
    CONSTRAINT payments_fee_has_currency CHECK ((fee_minor IS NULL) = (fee_currency IS NULL)),
    CONSTRAINT payments_amounts_not_negative CHECK (amount_paid_minor >= 0 AND tax_minor >= 0 AND discount_minor >= 0)
);
COMMENT ON TABLE payments IS 'Money taken once, whatever Stripe objects tell of it; claimed before anything is granted (rule 5).';
COMMENT ON COLUMN payments.account_id IS 'Whose payment; fixed by the claim.';
COMMENT ON COLUMN payments.payment_id IS 'Our id.';
COMMENT ON COLUMN payments.payment_key IS 'The first Stripe id that named it: payment intent, else session, else invoice.';
COMMENT ON COLUMN payments.basis IS 'Whether metadata or lines decided its credits (rule 10); null: nothing granted yet.';
COMMENT ON COLUMN payments.status IS 'claimed: not known to be paid; paid; free: nothing to pay; failed.';
COMMENT ON COLUMN payments.currency IS 'Currency of what was sold.';
COMMENT ON COLUMN payments.amount_paid_minor IS 'What was paid, tax included, in minor units.';
COMMENT ON COLUMN payments.tax_minor IS 'Tax within it, in minor units.';
COMMENT ON COLUMN payments.discount_minor IS 'Discount given, in minor units.';
COMMENT ON COLUMN payments.fee_minor IS 'Stripe''s fee, in minor units of fee_currency; null until the balance transaction is known.';
COMMENT ON COLUMN payments.fee_currency IS 'Settlement currency of the fee.';
COMMENT ON COLUMN payments.stripe_session IS 'Checkout session (cs_..).';
COMMENT ON COLUMN payments.stripe_payment_intent IS 'Payment intent (pi_..).';
COMMENT ON COLUMN payments.stripe_charge IS 'Charge (ch_..).';
COMMENT ON COLUMN payments.stripe_invoice IS 'Invoice (in_..).';
COMMENT ON COLUMN payments.stripe_balance_transaction IS 'Balance transaction (txn_..): finance''s join.';
COMMENT ON COLUMN payments.stripe_customer IS 'Stripe''s customer (cus_..).';
COMMENT ON COLUMN payments.stripe_subscription IS 'Subscription (sub_..) whose period it pays.';
COMMENT ON COLUMN payments.paid_at IS 'When Stripe says it was paid (rule 9).';
COMMENT ON COLUMN payments.metadata IS 'The payment''s metadata; erasable.';
COMMENT ON COLUMN payments.created_at IS 'When it was claimed.';

CREATE TABLE payment_aliases (
    alias text CONSTRAINT payment_aliases_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    CONSTRAINT payment_aliases_length CHECK (octet_length(alias) BETWEEN 1 AND 255)
);
COMMENT ON TABLE payment_aliases IS 'Look-up: every Stripe id of a payment, and its top-up id, to the payment.';
COMMENT ON COLUMN payment_aliases.alias IS 'Session, intent, charge, invoice or top-up id.';
COMMENT ON COLUMN payment_aliases.account_id IS 'Whose payment.';
COMMENT ON COLUMN payment_aliases.payment_id IS 'The payment.';

CREATE TABLE wallets (
    account_id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    feature text NOT NULL,
    wallet_key text,
    name text,
    is_default boolean NOT NULL,
    priority integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'open',
    default_expiry_days integer,
    debt_limit numeric(38,9) NOT NULL DEFAULT 0,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    CONSTRAINT wallets_pkey PRIMARY KEY (account_id, wallet_id),
    CONSTRAINT wallets_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT wallets_state_known CHECK (state IN ('open', 'frozen', 'closed')),
    CONSTRAINT wallets_priority_range CHECK (priority BETWEEN -1000 AND 1000),
    CONSTRAINT wallets_default_expiry_positive CHECK (default_expiry_days BETWEEN 1 AND 36500),
    CONSTRAINT wallets_debt_limit_range CHECK (debt_limit BETWEEN 0 AND 1000000000000000000)
);
CREATE UNIQUE INDEX wallets_one_default ON wallets (account_id, feature) WHERE is_default;
COMMENT ON TABLE wallets IS 'Named groups of a customer''s grants of one feature; each feature has a default one.';
COMMENT ON COLUMN wallets.account_id IS 'Whose wallet.';
COMMENT ON COLUMN wallets.wallet_id IS 'Our id.';
COMMENT ON COLUMN wallets.feature IS 'The feature its credits are of.';
COMMENT ON COLUMN wallets.wallet_key IS 'The id the app gave it; null: ours is used.';
COMMENT ON COLUMN wallets.name IS 'Name for people.';
COMMENT ON COLUMN wallets.is_default IS 'Where grants go that name no wallet.';
COMMENT ON COLUMN wallets.priority IS 'Burn priority, lower first (rule 20).';
COMMENT ON COLUMN wallets.state IS 'open; frozen: not spendable; closed.';
COMMENT ON COLUMN wallets.default_expiry_days IS 'Days that grants without an expiry of their own live; null: for ever.';
COMMENT ON COLUMN wallets.debt_limit IS 'Most credits of usage debt (rule 22); 0: none allowed.';
COMMENT ON COLUMN wallets.metadata IS 'Free keys of the app.';
COMMENT ON COLUMN wallets.created_at IS 'Made at.';

CREATE TABLE attachments (
    account_id uuid NOT NULL,
    attachment_id uuid NOT NULL,
    plan_id text NOT NULL,
    plan_version integer NOT NULL,
    state text NOT NULL,
    origin text NOT NULL,
    stripe_subscription text,
    entity text NOT NULL DEFAULT '',
    quantity bigint NOT NULL DEFAULT 1,
    anchor timestamptz NOT NULL,
    paid_through timestamptz,
    started_at timestamptz NOT NULL,
    trial_ends_at timestamptz,
    cancel_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT attachments_pkey PRIMARY KEY (account_id, attachment_id),
    CONSTRAINT attachments_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT attachments_plan_fkey FOREIGN KEY (plan_id, plan_version) REFERENCES catalog_plans (plan_id, plan_version),
    CONSTRAINT attachments_state_known CHECK (state IN ('active', 'trialing', 'past_due', 'scheduled', 'ended')),
    CONSTRAINT attachments_origin_known CHECK (origin IN ('auto', 'stripe', 'api', 'import')),
    CONSTRAINT attachments_quantity_positive CHECK (quantity BETWEEN 1 AND 1000000000),
    CONSTRAINT attachments_ended_has_time CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
    CONSTRAINT attachments_stripe_has_subscription CHECK (origin <> 'stripe' OR stripe_subscription IS NOT NULL)
);
CREATE UNIQUE INDEX attachments_one_per_subscription ON attachments (account_id, stripe_subscription, plan_id, entity)
    WHERE stripe_subscription IS NOT NULL;
CREATE UNIQUE INDEX attachments_one_live_own ON attachments (account_id, plan_id, entity)
    WHERE stripe_subscription IS NULL AND state <> 'ended';
COMMENT ON TABLE attachments IS 'Customers having plans.';
COMMENT ON COLUMN attachments.account_id IS 'Who has the plan.';
COMMENT ON COLUMN attachments.attachment_id IS 'Our id.';
COMMENT ON COLUMN attachments.plan_id IS 'The plan.';
COMMENT ON COLUMN attachments.plan_version IS 'The version of its terms that was pinned.';
COMMENT ON COLUMN attachments.state IS 'Life of the attachment.';
COMMENT ON COLUMN attachments.origin IS 'auto: enabled for everyone; stripe: a subscription; api; import.';
COMMENT ON COLUMN attachments.stripe_subscription IS 'The subscription (sub_..) that pays for it.';
COMMENT ON COLUMN attachments.entity IS 'Seat or workspace it is for; empty: the customer.';
COMMENT ON COLUMN attachments.quantity IS 'Seats.';
COMMENT ON COLUMN attachments.anchor IS 'Every period boundary is computed from it, in UTC (rule 17).';
COMMENT ON COLUMN attachments.paid_through IS 'Periods that start before it are paid (rule 13); null for price-less plans.';
COMMENT ON COLUMN attachments.started_at IS 'Since when.';
COMMENT ON COLUMN attachments.trial_ends_at IS 'End of the trial; null: none.';
COMMENT ON COLUMN attachments.cancel_at IS 'It ends then; null: it goes on.';
COMMENT ON COLUMN attachments.ended_at IS 'It ended then.';

CREATE TABLE grants (
    account_id uuid NOT NULL,
    grant_id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    feature text NOT NULL,
    entity text NOT NULL DEFAULT '',
    category text NOT NULL,
    priority integer NOT NULL,
    unlimited boolean NOT NULL DEFAULT false,
    original numeric(38,9) NOT NULL,
    remaining numeric(38,9) NOT NULL,
    held numeric(38,9) NOT NULL DEFAULT 0,
    is_open boolean NOT NULL,
    frozen boolean NOT NULL DEFAULT false,
    starts_at timestamptz NOT NULL,
    expires_at timestamptz,
    grace_ends_at timestamptz,
    payment_id uuid,
    item_key text,
    plan_id text,
    plan_version integer,
    attachment_id uuid,
    item text,
    period_start timestamptz,
    rolled_from uuid,
    contract_ref text,
    currency text,
    amount_paid_minor bigint,
    tax_minor bigint,
    discount_minor bigint,
    basis_minor bigint,
    revenue_policy text,
    stripe_price text,
    stripe_line text,
    reason text,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    CONSTRAINT grants_pkey PRIMARY KEY (account_id, grant_id),
    CONSTRAINT grants_wallet_fkey FOREIGN KEY (account_id, wallet_id) REFERENCES wallets (account_id, wallet_id),
    CONSTRAINT grants_payment_fkey FOREIGN KEY (account_id, payment_id) REFERENCES payments (account_id, payment_id),
    CONSTRAINT grants_attachment_fkey FOREIGN KEY (account_id, attachment_id) REFERENCES attachments (account_id, attachment_id),
    CONSTRAINT grants_once_per_payment_item UNIQUE (account_id, payment_id, item_key),
    CONSTRAINT grants_once_per_period UNIQUE (account_id, attachment_id, item, period_start),
    CONSTRAINT grants_category_known CHECK (category IN ('plan', 'promotional', 'prepaid', 'committed')),
    CONSTRAINT grants_original_range CHECK (original BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT grants_remaining_range CHECK (remaining BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT grants_held_within_remaining CHECK (held >= 0 AND held <= remaining),
    CONSTRAINT grants_open_says_spendable CHECK (is_open = (unlimited OR remaining > 0)),
    CONSTRAINT grants_unlimited_has_no_amount CHECK (NOT unlimited OR (original = 0 AND remaining = 0)),
    CONSTRAINT grants_lives_forward CHECK (expires_at > starts_at),
    CONSTRAINT grants_grace_after_expiry CHECK (grace_ends_at >= expires_at),
    CONSTRAINT grants_item_key_needs_payment CHECK (item_key IS NULL OR payment_id IS NOT NULL),
    CONSTRAINT grants_period_is_whole CHECK ((attachment_id IS NULL) = (item IS NULL) AND (item IS NULL) = (period_start IS NULL)),
    CONSTRAINT grants_currency_is_code CHECK (currency ~ '^[a-z]{3}$'),
    CONSTRAINT grants_money_has_currency CHECK (currency IS NOT NULL OR (amount_paid_minor IS NULL
        AND tax_minor IS NULL AND discount_minor IS NULL AND basis_minor IS NULL)),
    CONSTRAINT grants_money_not_negative CHECK (amount_paid_minor >= 0 AND tax_minor >= 0 AND discount_minor >= 0 AND basis_minor >= 0),
    CONSTRAINT grants_revenue_policy_known CHECK (revenue_policy IN ('over_time', 'allocate', 'credits', 'external')),
    CONSTRAINT grants_priority_range CHECK (priority BETWEEN -1000 AND 1000)
) WITH (fillfactor = 70);
CREATE INDEX grants_open ON grants (account_id) WHERE is_open;
COMMENT ON TABLE grants IS 'Amounts of one feature''s credits given to one customer for one reason.';
COMMENT ON COLUMN grants.account_id IS 'Whose grant.';
COMMENT ON COLUMN grants.grant_id IS 'Our id.';
COMMENT ON COLUMN grants.wallet_id IS 'The wallet it lies in.';
COMMENT ON COLUMN grants.feature IS 'Which feature''s credits.';
COMMENT ON COLUMN grants.entity IS 'Seat or workspace it is for; empty: the customer.';
COMMENT ON COLUMN grants.category IS 'plan, promotional, prepaid or committed.';
COMMENT ON COLUMN grants.priority IS 'Burn priority, lower first (rule 20).';
COMMENT ON COLUMN grants.unlimited IS 'Absorbs all usage and counts nothing down.';
COMMENT ON COLUMN grants.original IS 'Credits given.';
COMMENT ON COLUMN grants.remaining IS 'Signed sum of its entries other than hold and release (law 1).';
COMMENT ON COLUMN grants.held IS 'Sum of its hold and release entries.';
COMMENT ON COLUMN grants.is_open IS 'Something is left: what the partial index reads.';
COMMENT ON COLUMN grants.frozen IS 'Not spendable while a dispute is open.';
COMMENT ON COLUMN grants.starts_at IS 'Spendable from then, inclusive.';
COMMENT ON COLUMN grants.expires_at IS 'Spendable until then, exclusive; null: never expires.';
COMMENT ON COLUMN grants.grace_ends_at IS 'Spendable until then while its successor is awaited (rule 14).';
COMMENT ON COLUMN grants.payment_id IS 'The payment that bought it or paid for its period.';
COMMENT ON COLUMN grants.item_key IS 'What of the payment it is: unique per payment; null for a period''s grant.';
COMMENT ON COLUMN grants.plan_id IS 'The plan it comes from.';
COMMENT ON COLUMN grants.plan_version IS 'The version of that plan.';
COMMENT ON COLUMN grants.attachment_id IS 'The attachment whose period it is.';
COMMENT ON COLUMN grants.item IS 'The plan''s item.';
COMMENT ON COLUMN grants.period_start IS 'Start of the period: unique per attachment and item.';
COMMENT ON COLUMN grants.rolled_from IS 'The grant whose rest it carries.';
COMMENT ON COLUMN grants.contract_ref IS 'Contract of a committed grant.';
COMMENT ON COLUMN grants.currency IS 'Currency of the money columns; null: no money.';
COMMENT ON COLUMN grants.amount_paid_minor IS 'Paid for it, tax included, in minor units.';
COMMENT ON COLUMN grants.tax_minor IS 'Tax within it, in minor units.';
COMMENT ON COLUMN grants.discount_minor IS 'Discount on it, in minor units.';
COMMENT ON COLUMN grants.basis_minor IS 'Deferred on it at the start, in minor units.';
COMMENT ON COLUMN grants.revenue_policy IS 'How the plan''s fee is recognised (rule 38).';
COMMENT ON COLUMN grants.stripe_price IS 'Stripe''s price of the line.';
COMMENT ON COLUMN grants.stripe_line IS 'Stripe''s line item.';
COMMENT ON COLUMN grants.reason IS 'Why it was given, in words; erasable.';
COMMENT ON COLUMN grants.metadata IS 'Metadata of its payment or request; erasable.';
COMMENT ON COLUMN grants.created_at IS 'When it was posted.';

CREATE TABLE holds (
    account_id uuid NOT NULL,
    hold_id uuid NOT NULL,
    feature text NOT NULL,
    entity text NOT NULL DEFAULT '',
    state text NOT NULL,
    amount numeric(38,9) NOT NULL,
    when_more text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT holds_pkey PRIMARY KEY (account_id, hold_id),
    CONSTRAINT holds_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT holds_state_known CHECK (state IN ('open', 'settled', 'released', 'expired')),
    CONSTRAINT holds_amount_range CHECK (amount BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT holds_when_more_known CHECK (when_more IN ('reject', 'take_available', 'debt')),
    CONSTRAINT holds_ended_has_time CHECK ((state = 'open') = (ended_at IS NULL)),
    CONSTRAINT holds_lives_forward CHECK (expires_at > created_at)
);
CREATE INDEX holds_open ON holds (account_id) WHERE state = 'open';
COMMENT ON TABLE holds IS 'Credits set aside until they are settled, released or expired.';
COMMENT ON COLUMN holds.account_id IS 'Whose credits.';
COMMENT ON COLUMN holds.hold_id IS 'Our id.';
COMMENT ON COLUMN holds.feature IS 'The feature to be used.';
COMMENT ON COLUMN holds.entity IS 'Seat or workspace; empty: the customer.';
COMMENT ON COLUMN holds.state IS 'Life of the hold.';
COMMENT ON COLUMN holds.amount IS 'Credits set aside.';
COMMENT ON COLUMN holds.when_more IS 'What happens when the real cost is higher.';
COMMENT ON COLUMN holds.created_at IS 'Placed at.';
COMMENT ON COLUMN holds.expires_at IS 'Released then, unless extended.';
COMMENT ON COLUMN holds.ended_at IS 'Settled, released or expired at.';

CREATE TABLE hold_slices (
    account_id uuid NOT NULL,
    hold_id uuid NOT NULL,
    grant_id uuid NOT NULL,
    amount numeric(38,9) NOT NULL,
    CONSTRAINT hold_slices_pkey PRIMARY KEY (account_id, hold_id, grant_id),
    CONSTRAINT hold_slices_hold_fkey FOREIGN KEY (account_id, hold_id) REFERENCES holds (account_id, hold_id),
    CONSTRAINT hold_slices_grant_fkey FOREIGN KEY (account_id, grant_id) REFERENCES grants (account_id, grant_id),
    CONSTRAINT hold_slices_amount_range CHECK (amount BETWEEN 0 AND 1000000000000000000)
);
COMMENT ON TABLE hold_slices IS 'What a hold pins of which grant.';
COMMENT ON COLUMN hold_slices.account_id IS 'Whose hold.';
COMMENT ON COLUMN hold_slices.hold_id IS 'The hold.';
COMMENT ON COLUMN hold_slices.grant_id IS 'The grant.';
COMMENT ON COLUMN hold_slices.amount IS 'Credits pinned.';

CREATE TABLE debts (
    account_id uuid NOT NULL,
    debt_id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    feature text NOT NULL,
    cause text NOT NULL,
    payment_id uuid,
    original numeric(38,9) NOT NULL,
    outstanding numeric(38,9) NOT NULL,
    unit_price_minor numeric(38,18),
    currency text,
    created_at timestamptz NOT NULL,
    CONSTRAINT debts_pkey PRIMARY KEY (account_id, debt_id),
    CONSTRAINT debts_wallet_fkey FOREIGN KEY (account_id, wallet_id) REFERENCES wallets (account_id, wallet_id),
    CONSTRAINT debts_payment_fkey FOREIGN KEY (account_id, payment_id) REFERENCES payments (account_id, payment_id),
    CONSTRAINT debts_cause_known CHECK (cause IN ('claw_back', 'usage')),
    CONSTRAINT debts_original_range CHECK (original BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT debts_outstanding_range CHECK (outstanding BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT debts_currency_is_code CHECK (currency ~ '^[a-z]{3}$'),
    CONSTRAINT debts_price_has_currency CHECK ((unit_price_minor IS NULL) = (currency IS NULL)),
    CONSTRAINT debts_price_not_negative CHECK (unit_price_minor >= 0),
    CONSTRAINT debts_claw_back_has_payment CHECK (cause <> 'claw_back' OR payment_id IS NOT NULL)
);
CREATE INDEX debts_outstanding ON debts (account_id) WHERE outstanding > 0;
COMMENT ON TABLE debts IS 'Deficits of a wallet, each with its cause (rule 21).';
COMMENT ON COLUMN debts.account_id IS 'Whose debt.';
COMMENT ON COLUMN debts.debt_id IS 'Our id.';
COMMENT ON COLUMN debts.wallet_id IS 'The wallet it burdens.';
COMMENT ON COLUMN debts.feature IS 'Which feature''s credits.';
COMMENT ON COLUMN debts.cause IS 'claw_back: a reversal found the credits spent; usage: debt was allowed.';
COMMENT ON COLUMN debts.payment_id IS 'The payment that was reversed.';
COMMENT ON COLUMN debts.original IS 'Credits owed at first.';
COMMENT ON COLUMN debts.outstanding IS 'Credits still owed.';
COMMENT ON COLUMN debts.unit_price_minor IS 'Price of one credit for later invoicing, in minor units; null: repaid in credits.';
COMMENT ON COLUMN debts.currency IS 'Currency of that price.';
COMMENT ON COLUMN debts.created_at IS 'Arose at.';

CREATE TABLE entries (
    account_id uuid NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    event_at timestamptz,
    kind text NOT NULL,
    grant_id uuid,
    wallet_id uuid,
    debt_id uuid,
    hold_id uuid,
    feature text NOT NULL,
    amount numeric(38,9) NOT NULL,
    command bigint NOT NULL,
    used_feature text,
    quantity numeric(38,9),
    shortfall numeric(38,9),
    source text NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT entries_pkey PRIMARY KEY (account_id, seq),
    CONSTRAINT entries_seq_positive CHECK (seq >= 1 AND command BETWEEN 1 AND seq),
    CONSTRAINT entries_kind_known CHECK (kind IN ('grant', 'draw', 'return', 'expire', 'end', 'void', 'adjust', 'claw_back',
        'reinstate', 'rollover_out', 'rollover_in', 'debt', 'repay', 'hold', 'release')),
    CONSTRAINT entries_amount_range CHECK (amount BETWEEN -1000000000000000000 AND 1000000000000000000),
    CONSTRAINT entries_sign_fits_kind CHECK (CASE kind
        WHEN 'grant' THEN amount >= 0 WHEN 'return' THEN amount >= 0 WHEN 'reinstate' THEN amount >= 0
        WHEN 'rollover_in' THEN amount >= 0 WHEN 'debt' THEN true WHEN 'hold' THEN amount >= 0
        WHEN 'adjust' THEN true ELSE amount <= 0 END),
    CONSTRAINT entries_touches_grant_or_debt CHECK (grant_id IS NOT NULL OR debt_id IS NOT NULL OR (kind = 'draw' AND amount = 0)),
    CONSTRAINT entries_debt_named CHECK ((kind IN ('debt', 'repay')) = (debt_id IS NOT NULL)),
    CONSTRAINT entries_hold_named CHECK (kind NOT IN ('hold', 'release') OR hold_id IS NOT NULL),
    CONSTRAINT entries_shortfall_range CHECK (shortfall BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT entries_source_known CHECK (source IN ('track', 'payment', 'plan', 'api', 'cli', 'import', 'time', 'reversal', 'charger')),
    CONSTRAINT entries_hash_is_sha256 CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE entries IS 'The ledger: immutable lines, chained per account. INSERT and SELECT only for the daemon''s role. No foreign keys: only the door writes here, under the account''s lock, and verify checks what they would.';
COMMENT ON COLUMN entries.account_id IS 'Whose ledger.';
COMMENT ON COLUMN entries.seq IS 'Number of the line in the account, without gaps.';
COMMENT ON COLUMN entries.at IS 'Ledger time: the database''s clock under the lock, never running backwards.';
COMMENT ON COLUMN entries.event_at IS 'When it happened in the world (paid, used, expired), if that differs.';
COMMENT ON COLUMN entries.kind IS 'What happened (rule 21).';
COMMENT ON COLUMN entries.grant_id IS 'The grant it changes.';
COMMENT ON COLUMN entries.wallet_id IS 'The wallet of that grant or debt.';
COMMENT ON COLUMN entries.debt_id IS 'The debt it raises (debt) or lowers (repay).';
COMMENT ON COLUMN entries.hold_id IS 'The hold it belongs to.';
COMMENT ON COLUMN entries.feature IS 'Which feature''s credits.';
COMMENT ON COLUMN entries.amount IS 'Signed credits: the change of the grant, of its held part (hold, release), or of the debt (debt).';
COMMENT ON COLUMN entries.command IS 'First line of the command it belongs to.';
COMMENT ON COLUMN entries.used_feature IS 'The metered feature whose usage this paid; on the command''s first line.';
COMMENT ON COLUMN entries.quantity IS 'Units of that feature; on the command''s first line.';
COMMENT ON COLUMN entries.shortfall IS 'Credits that no grant could pay; on the command''s first line.';
COMMENT ON COLUMN entries.source IS 'What kind of input caused it.';
COMMENT ON COLUMN entries.hash IS 'SHA-256 over the hash before it and this line.';

CREATE TABLE entry_notes (
    account_id uuid NOT NULL,
    seq bigint NOT NULL,
    reason text,
    actor text,
    metadata jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT entry_notes_pkey PRIMARY KEY (account_id, seq),
    CONSTRAINT entry_notes_entry_fkey FOREIGN KEY (account_id, seq) REFERENCES entries (account_id, seq)
);
COMMENT ON TABLE entry_notes IS 'Words beside an entry, outside the chain and erasable (rule 36).';
COMMENT ON COLUMN entry_notes.account_id IS 'Whose entry.';
COMMENT ON COLUMN entry_notes.seq IS 'The entry: the first of its command.';
COMMENT ON COLUMN entry_notes.reason IS 'Why, in words.';
COMMENT ON COLUMN entry_notes.actor IS 'The API key or command line that asked for it.';
COMMENT ON COLUMN entry_notes.metadata IS 'Free keys of the request.';

CREATE TABLE idempotency (
    account_id uuid NOT NULL,
    operation text NOT NULL,
    key_hash bytea NOT NULL,
    slot smallint NOT NULL,
    request_hash bytea NOT NULL,
    outcome jsonb NOT NULL,
    CONSTRAINT idempotency_pkey PRIMARY KEY (account_id, operation, key_hash, slot),
    CONSTRAINT idempotency_key_hash_length CHECK (octet_length(key_hash) = 16),
    CONSTRAINT idempotency_request_hash_length CHECK (octet_length(request_hash) = 16),
    CONSTRAINT idempotency_slot_range CHECK (slot BETWEEN 0 AND 9)
) PARTITION BY LIST (slot);
CREATE TABLE idempotency_0 PARTITION OF idempotency FOR VALUES IN (0);
CREATE TABLE idempotency_1 PARTITION OF idempotency FOR VALUES IN (1);
CREATE TABLE idempotency_2 PARTITION OF idempotency FOR VALUES IN (2);
CREATE TABLE idempotency_3 PARTITION OF idempotency FOR VALUES IN (3);
CREATE TABLE idempotency_4 PARTITION OF idempotency FOR VALUES IN (4);
CREATE TABLE idempotency_5 PARTITION OF idempotency FOR VALUES IN (5);
CREATE TABLE idempotency_6 PARTITION OF idempotency FOR VALUES IN (6);
CREATE TABLE idempotency_7 PARTITION OF idempotency FOR VALUES IN (7);
CREATE TABLE idempotency_8 PARTITION OF idempotency FOR VALUES IN (8);
CREATE TABLE idempotency_9 PARTITION OF idempotency FOR VALUES IN (9);
COMMENT ON TABLE idempotency IS 'Applied keys and their answers (rule 26). A ring of ten day slots: the one that is next is emptied, so keys live 8 full days.';
COMMENT ON COLUMN idempotency.account_id IS 'Scope: the account.';
COMMENT ON COLUMN idempotency.operation IS 'Scope: track, grant, ...';
COMMENT ON COLUMN idempotency.key_hash IS 'First 16 bytes of the SHA-256 of the caller''s key.';
COMMENT ON COLUMN idempotency.slot IS 'Days since 1970 modulo 10, of the day it was applied.';
COMMENT ON COLUMN idempotency.request_hash IS 'First 16 bytes of the SHA-256 of the parsed command.';
COMMENT ON COLUMN idempotency.outcome IS 'What was answered, rendered again for a repeat.';
