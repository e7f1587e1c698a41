-- Changes of plan or seats inside a period (rule 15), and since when a payment is overdue (rule 18).

ALTER TABLE attachments
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN past_due_since timestamptz;
COMMENT ON COLUMN attachments.changed_at IS 'A change inside its subscription brought it then: the clock gives only periods that start from then on. Null: it came with a period of its own.';
COMMENT ON COLUMN attachments.past_due_since IS 'Its payment was first seen overdue then; null: it is not, or was so before this column was.';

-- A period is given once whole; a change of it once for each step of the allowance it adds. Older code, which writes no
-- changed_at, keeps to the first.
ALTER TABLE grants
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN level_from numeric(38,9),
    ADD COLUMN level_to numeric(38,9),
    DROP CONSTRAINT grants_once_per_period,
    ADD CONSTRAINT grants_step_is_whole CHECK ((level_from IS NULL) = (level_to IS NULL)
        AND (changed_at IS NULL OR level_to IS NOT NULL) AND (level_to IS NULL OR period_start IS NOT NULL)),
    ADD CONSTRAINT grants_step_goes_up CHECK (level_from >= 0 AND level_to > level_from
        AND level_to <= 1000000000000000000);
CREATE UNIQUE INDEX grants_once_per_period ON grants (account_id, attachment_id, item, period_start)
    WHERE attachment_id IS NOT NULL AND changed_at IS NULL;
CREATE UNIQUE INDEX grants_once_per_change ON grants (account_id, attachment_id, item, changed_at, level_to)
    WHERE changed_at IS NOT NULL;
COMMENT ON COLUMN grants.changed_at IS 'The proration date of the change that gave it; null: not given by a change.';
COMMENT ON COLUMN grants.level_from IS 'It is the part of the period''s allowance above this level; null: it is the whole allowance.';
COMMENT ON COLUMN grants.level_to IS 'It is the part of the period''s allowance up to this level; null: it is the whole allowance.';
