-- Rollover: what is unspent of a period moves into a grant of its own (rules 20, 21 and 39).

ALTER TABLE grants
    ADD COLUMN rolled_attachment_id uuid,
    ADD COLUMN rolled_item text,
    ADD CONSTRAINT grants_rolled_from_fkey FOREIGN KEY (account_id, rolled_from) REFERENCES grants (account_id, grant_id),
    ADD CONSTRAINT grants_rolled_attachment_fkey FOREIGN KEY (account_id, rolled_attachment_id)
        REFERENCES attachments (account_id, attachment_id),
    ADD CONSTRAINT grants_rolled_is_whole CHECK ((rolled_from IS NULL) = (rolled_attachment_id IS NULL)
        AND (rolled_from IS NULL) = (rolled_item IS NULL)),
    ADD CONSTRAINT grants_rolled_is_of_no_period CHECK (rolled_from IS NULL OR period_start IS NULL),
    ADD CONSTRAINT grants_rolled_from_another CHECK (rolled_from <> grant_id);
-- A grant's rest moves once.
CREATE UNIQUE INDEX grants_rolled_once ON grants (account_id, rolled_from) WHERE rolled_from IS NOT NULL;
COMMENT ON COLUMN grants.rolled_attachment_id IS 'The attachment whose rest it carries; null: it is no rollover grant.';
COMMENT ON COLUMN grants.rolled_item IS 'The plan''s item whose rest it carries; the most that is carried over is counted by it.';
