-- Subscriptions: whose each is, fixed by the first input that names it, and how far Stripe's view of it has got.

CREATE TABLE stripe_subscription_ids (
    stripe_subscription_id text CONSTRAINT stripe_subscription_ids_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    CONSTRAINT stripe_subscription_ids_length CHECK (octet_length(stripe_subscription_id) BETWEEN 1 AND 255)
);
COMMENT ON TABLE stripe_subscription_ids IS 'Look-up: Stripe''s subscription to the account; claimed once, so that no later metadata moves a plan to somebody else.';
COMMENT ON COLUMN stripe_subscription_ids.stripe_subscription_id IS 'Stripe''s id (sub_..).';
COMMENT ON COLUMN stripe_subscription_ids.account_id IS 'The account.';

ALTER TABLE attachments
    ADD COLUMN seen_at timestamptz,
    ADD COLUMN is_final boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT attachments_state_known,
    ADD CONSTRAINT attachments_state_known
        CHECK (state IN ('active', 'trialing', 'past_due', 'scheduled', 'paused', 'ended')),
    ADD CONSTRAINT attachments_final_has_ended CHECK (NOT is_final OR state = 'ended');
COMMENT ON COLUMN attachments.seen_at IS 'When Stripe was last asked about its subscription; older views change nothing. Null: never.';
COMMENT ON COLUMN attachments.is_final IS 'The subscription is over for good: nothing Stripe says later brings the plan back.';

-- What the renewal worker has failed at waits longer; the row's time comes from the account again with its next posting.
COMMENT ON COLUMN account_work.due_at IS 'accounts.next_due_at, kept here so that what is due is found without asking every account; later after a failed try.';
