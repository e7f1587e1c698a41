-- Accounts and the look-ups that lead to them.
-- Rules held by tests/it/schema.rs: account_id leads every key and index of an account table; what is unique beyond one
-- account has a look-up table keyed by its value; foreign keys stay inside the account's group or go to small
-- reference tables; no triggers, serials, deferrable constraints or defaults that are volatile.

CREATE TABLE instance (
    singleton boolean CONSTRAINT instance_pkey PRIMARY KEY CONSTRAINT instance_one_row CHECK (singleton),
    livemode boolean NOT NULL,
    cutover_at timestamptz,
    test_offset_seconds bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    CONSTRAINT instance_clock_only_in_test CHECK (NOT livemode OR test_offset_seconds = 0)
);
COMMENT ON TABLE instance IS 'The one row that says what this database is: one Stripe account in one mode (rule 1).';
COMMENT ON COLUMN instance.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN instance.livemode IS 'True for Stripe''s live mode; fixed at the first start.';
COMMENT ON COLUMN instance.cutover_at IS 'Objects paid before it never grant (rule 11); null in dev and test databases.';
COMMENT ON COLUMN instance.test_offset_seconds IS 'Seconds added to the database clock by the test clock (rule 27).';
COMMENT ON COLUMN instance.created_at IS 'First start.';

CREATE TABLE accounts (
    account_id uuid CONSTRAINT accounts_pkey PRIMARY KEY,
    state text NOT NULL,
    entry_seq bigint NOT NULL DEFAULT 0,
    chain_head bytea NOT NULL DEFAULT '\x0000000000000000000000000000000000000000000000000000000000000000',
    last_entry_at timestamptz NOT NULL,
    next_due_at timestamptz,
    created_at timestamptz NOT NULL,
    CONSTRAINT accounts_state_known CHECK (state IN ('new', 'open', 'erased')),
    CONSTRAINT accounts_entry_seq_counts_up CHECK (entry_seq >= 0),
    CONSTRAINT accounts_chain_head_is_sha256 CHECK (octet_length(chain_head) = 32)
) WITH (fillfactor = 70);
COMMENT ON TABLE accounts IS 'Our record of a customer: the row posting locks, and nothing that could name a person.';
COMMENT ON COLUMN accounts.account_id IS 'Our id of the customer (uuid v7).';
COMMENT ON COLUMN accounts.state IS 'new: claimed, plans not yet attached; open; erased: a tombstone, books kept.';
COMMENT ON COLUMN accounts.entry_seq IS 'Number of the account''s newest entry.';
COMMENT ON COLUMN accounts.chain_head IS 'SHA-256 of the newest entry, chained over all before it.';
COMMENT ON COLUMN accounts.last_entry_at IS 'Time of the newest entry: ledger time never runs backwards (rule 27).';
COMMENT ON COLUMN accounts.next_due_at IS 'Earliest time at which an expiry or a renewal falls due; null: none.';
COMMENT ON COLUMN accounts.created_at IS 'When the customer was first seen.';

CREATE TABLE customers (
    account_id uuid CONSTRAINT customers_pkey PRIMARY KEY,
    customer_id text NOT NULL,
    name text,
    email text,
    metadata jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL,
    CONSTRAINT customers_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT customers_customer_id_length CHECK (octet_length(customer_id) BETWEEN 1 AND 512),
    CONSTRAINT customers_name_length CHECK (octet_length(name) <= 1024),
    CONSTRAINT customers_email_length CHECK (octet_length(email) <= 1024),
    CONSTRAINT customers_metadata_is_object CHECK (jsonb_typeof(metadata) = 'object')
);
COMMENT ON TABLE customers IS 'The person or organisation behind an account; erasable (rule 36).';
COMMENT ON COLUMN customers.account_id IS 'The account.';
COMMENT ON COLUMN customers.customer_id IS 'The app''s own id.';
COMMENT ON COLUMN customers.name IS 'Name, as the app gave it.';
COMMENT ON COLUMN customers.email IS 'E-mail, as the app gave it.';
COMMENT ON COLUMN customers.metadata IS 'Free keys of the app.';
COMMENT ON COLUMN customers.updated_at IS 'Last change.';

CREATE TABLE customer_ids (
    customer_id text CONSTRAINT customer_ids_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    CONSTRAINT customer_ids_length CHECK (octet_length(customer_id) BETWEEN 1 AND 512)
);
COMMENT ON TABLE customer_ids IS 'Look-up: the app''s customer id to the account; fixed while the account lives (rule 2).';
COMMENT ON COLUMN customer_ids.customer_id IS 'The app''s own id.';
COMMENT ON COLUMN customer_ids.account_id IS 'The account.';

CREATE TABLE stripe_customer_ids (
    stripe_customer_id text CONSTRAINT stripe_customer_ids_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    CONSTRAINT stripe_customer_ids_length CHECK (octet_length(stripe_customer_id) BETWEEN 1 AND 255)
);
-- A customer's page names the Stripe customers linked to it; without this, every look would read the whole look-up.
CREATE INDEX stripe_customer_ids_by_account ON stripe_customer_ids (account_id);
COMMENT ON TABLE stripe_customer_ids IS 'Look-up: Stripe''s customer to the account.';
COMMENT ON COLUMN stripe_customer_ids.stripe_customer_id IS 'Stripe''s id (cus_..).';
COMMENT ON COLUMN stripe_customer_ids.account_id IS 'The account.';

CREATE TABLE wallet_ids (
    wallet_key text CONSTRAINT wallet_ids_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    CONSTRAINT wallet_ids_length CHECK (octet_length(wallet_key) BETWEEN 1 AND 512)
);
COMMENT ON TABLE wallet_ids IS 'Look-up: a wallet''s public id, the app''s own or ours, to the wallet.';
COMMENT ON COLUMN wallet_ids.wallet_key IS 'The id in requests and metadata.';
COMMENT ON COLUMN wallet_ids.account_id IS 'Whose wallet.';
COMMENT ON COLUMN wallet_ids.wallet_id IS 'Our id of it.';

CREATE TABLE grant_ids (
    grant_id uuid CONSTRAINT grant_ids_pkey PRIMARY KEY,
    account_id uuid NOT NULL
);
COMMENT ON TABLE grant_ids IS 'Look-up: a grant to its account.';
COMMENT ON COLUMN grant_ids.grant_id IS 'The grant.';
COMMENT ON COLUMN grant_ids.account_id IS 'Whose grant.';

CREATE TABLE hold_ids (
    hold_key text CONSTRAINT hold_ids_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    hold_id uuid NOT NULL,
    CONSTRAINT hold_ids_length CHECK (octet_length(hold_key) BETWEEN 1 AND 512)
);
COMMENT ON TABLE hold_ids IS 'Look-up: a hold''s or lock''s public id to the hold.';
COMMENT ON COLUMN hold_ids.hold_key IS 'Our id as text, or the lock id a caller chose.';
COMMENT ON COLUMN hold_ids.account_id IS 'Whose hold.';
COMMENT ON COLUMN hold_ids.hold_id IS 'Our id of it.';

CREATE TABLE api_keys (
    key_hash bytea CONSTRAINT api_keys_pkey PRIMARY KEY,
    key_id uuid NOT NULL,
    scope text NOT NULL,
    name text NOT NULL,
    shown text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT api_keys_hash_is_sha256 CHECK (octet_length(key_hash) = 32),
    CONSTRAINT api_keys_scope_known CHECK (scope IN ('app', 'finance', 'admin')),
    CONSTRAINT api_keys_name_length CHECK (octet_length(name) <= 256),
    CONSTRAINT api_keys_shown_is_no_key CHECK (octet_length(shown) <= 24)
);
CREATE UNIQUE INDEX api_keys_key_id_key ON api_keys (key_id);
COMMENT ON TABLE api_keys IS 'API keys, hashed: 160 random bits each, so one SHA-256 is enough.';
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the whole key.';
COMMENT ON COLUMN api_keys.key_id IS 'What lists and revocations name.';
COMMENT ON COLUMN api_keys.scope IS 'app: check and track; finance: reports; admin: everything.';
COMMENT ON COLUMN api_keys.name IS 'What it is for.';
COMMENT ON COLUMN api_keys.shown IS 'Its first characters, to recognise it by.';
COMMENT ON COLUMN api_keys.created_at IS 'Made at.';
COMMENT ON COLUMN api_keys.expires_at IS 'Refused from then on; null: never.';
COMMENT ON COLUMN api_keys.revoked_at IS 'Refused since; null: valid.';
COMMENT ON COLUMN api_keys.last_used_at IS 'About when it was last used, kept to the minute at best.';
