-- The later months of a year's fee are of the payment that paid it, and go back with it.

ALTER TABLE attachments
    ADD COLUMN paid_by uuid,
    ADD COLUMN paid_from timestamptz,
    ADD CONSTRAINT attachments_paid_by_fkey FOREIGN KEY (account_id, paid_by) REFERENCES payments (account_id, payment_id),
    ADD CONSTRAINT attachments_paid_by_is_whole CHECK ((paid_by IS NULL) = (paid_from IS NULL));
COMMENT ON COLUMN attachments.paid_by IS 'The payment of its newest paid period: what the clock gives from paid_from on is of it. Null: nothing was paid, or before this column was.';
COMMENT ON COLUMN attachments.paid_from IS 'Start of that period.';
