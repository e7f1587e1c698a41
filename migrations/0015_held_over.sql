-- What a hold pins when its plan ends before its period ends with the plan, not with the period (rule 16).

ALTER TABLE grants DROP CONSTRAINT grants_grace_after_expiry;
COMMENT ON COLUMN grants.grace_ends_at IS
    'Spendable until then: later than its expiry while its successor is awaited (rule 14), earlier when its plan ended while a hold pinned it (rule 16).';
