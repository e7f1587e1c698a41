-- What a hold sets free, or a return brings back, of a plan that took its period grants with it is gone like the rest (rule 16).

ALTER TABLE attachments ADD COLUMN grants_ended_at timestamptz;
COMMENT ON COLUMN attachments.grants_ended_at IS 'Its period grants ended then, before their time; null: they stay until their own ends.';
