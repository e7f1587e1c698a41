-- Usage as it can be listed and taken back; holds, spend limits and levels.

CREATE TABLE usage_records (
    account_id uuid NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    event_at timestamptz,
    feature text NOT NULL,
    entity text NOT NULL DEFAULT '',
    quantity numeric(38,9) NOT NULL,
    returned numeric(38,9) NOT NULL DEFAULT 0,
    paid jsonb NOT NULL DEFAULT '[]',
    properties jsonb,
    hold_id uuid,
    CONSTRAINT usage_records_pkey PRIMARY KEY (account_id, seq),
    CONSTRAINT usage_records_quantity_range CHECK (quantity BETWEEN -1000000000000000000 AND 1000000000000000000),
    CONSTRAINT usage_records_returned_range CHECK (returned = 0 OR returned BETWEEN 0 AND quantity),
    CONSTRAINT usage_records_paid_is_list CHECK (jsonb_typeof(paid) = 'array'),
    CONSTRAINT usage_records_properties_is_object CHECK (jsonb_typeof(properties) = 'object')
) WITH (fillfactor = 90);
COMMENT ON TABLE usage_records IS 'Usage, one row a track: what was used, who paid, what was taken back since. No foreign keys: only the door writes here, and verify checks what they would.';
COMMENT ON COLUMN usage_records.account_id IS 'Whose usage.';
COMMENT ON COLUMN usage_records.seq IS 'First ledger line of its command.';
COMMENT ON COLUMN usage_records.at IS 'Ledger time.';
COMMENT ON COLUMN usage_records.event_at IS 'When it happened, if not then.';
COMMENT ON COLUMN usage_records.feature IS 'The metered feature.';
COMMENT ON COLUMN usage_records.entity IS 'Seat or workspace; empty: the customer.';
COMMENT ON COLUMN usage_records.quantity IS 'Units used; below zero: units taken back.';
COMMENT ON COLUMN usage_records.returned IS 'Units of it that were taken back since.';
COMMENT ON COLUMN usage_records.paid IS 'The parts of its cost in the order in which they were paid, each with grant, debt or neither, pool and credits.';
COMMENT ON COLUMN usage_records.properties IS 'Properties of the event; erasable.';
COMMENT ON COLUMN usage_records.hold_id IS 'The hold it settled.';

-- Usage from before this table can be taken back too.
INSERT INTO usage_records (account_id, seq, at, event_at, feature, entity, quantity, paid)
SELECT e.account_id, e.command, min(e.at), min(e.event_at), min(e.used_feature), '', min(e.quantity),
    coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('grant', 'grant_' || replace(e.grant_id::text, '-', ''),
        'pool', e.feature, 'amount', trim_scale(-e.amount)::text)) ORDER BY e.seq) FILTER (WHERE e.amount < 0), '[]')
    || coalesce(jsonb_agg(jsonb_build_object('pool', e.feature, 'amount', trim_scale(e.shortfall)::text))
        FILTER (WHERE e.shortfall > 0), '[]')
FROM entries e WHERE e.kind = 'draw' AND e.source = 'track'
GROUP BY e.account_id, e.command HAVING min(e.used_feature) IS NOT NULL AND min(e.quantity) IS NOT NULL;

-- What is taken back may have been a shortfall alone: such a line names no grant.
ALTER TABLE entries DROP CONSTRAINT entries_touches_grant_or_debt;
ALTER TABLE entries ADD CONSTRAINT entries_touches_grant_or_debt
    CHECK (grant_id IS NOT NULL OR debt_id IS NOT NULL OR (kind IN ('draw', 'return') AND amount = 0)) NOT VALID;
ALTER TABLE entries VALIDATE CONSTRAINT entries_touches_grant_or_debt;

ALTER TABLE accounts ADD COLUMN has_extras boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN accounts.has_extras IS 'Has, or had, a hold, a spend limit or a level: others are not asked for them.';

ALTER TABLE holds ADD COLUMN quantity numeric(38,9) NOT NULL DEFAULT 0;
ALTER TABLE holds ADD CONSTRAINT holds_quantity_range CHECK (quantity BETWEEN 0 AND 1000000000000000000);
COMMENT ON COLUMN holds.quantity IS 'Units it was placed for that no track has settled yet.';
ALTER TABLE hold_slices ADD COLUMN place smallint NOT NULL DEFAULT 0;
ALTER TABLE hold_slices ADD CONSTRAINT hold_slices_place_not_negative CHECK (place >= 0);
COMMENT ON COLUMN hold_slices.place IS 'Its place in the burn order.';
COMMENT ON COLUMN hold_slices.amount IS 'Credits still pinned.';

CREATE TABLE spend_limits (
    account_id uuid NOT NULL,
    name text NOT NULL,
    feature text NOT NULL,
    entity text NOT NULL DEFAULT '',
    time_window text NOT NULL,
    most numeric(38,9) NOT NULL,
    window_start timestamptz,
    used numeric(38,9) NOT NULL DEFAULT 0,
    CONSTRAINT spend_limits_pkey PRIMARY KEY (account_id, name),
    CONSTRAINT spend_limits_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT spend_limits_name_length CHECK (octet_length(name) BETWEEN 1 AND 128),
    CONSTRAINT spend_limits_window_known CHECK (time_window IN ('hour', 'day', 'week', 'month', 'year', 'lifetime')),
    CONSTRAINT spend_limits_window_has_start CHECK ((time_window = 'lifetime') = (window_start IS NULL)),
    CONSTRAINT spend_limits_most_range CHECK (most BETWEEN 0 AND 1000000000000000000),
    CONSTRAINT spend_limits_used_range CHECK (used BETWEEN 0 AND 1000000000000000000)
);
COMMENT ON TABLE spend_limits IS 'How much of a feature may be used within a window of time (rule 22).';
COMMENT ON COLUMN spend_limits.account_id IS 'Whose usage.';
COMMENT ON COLUMN spend_limits.name IS 'The name the app gave it.';
COMMENT ON COLUMN spend_limits.feature IS 'A metered feature, counted in its units, or a credit system, counted in credits.';
COMMENT ON COLUMN spend_limits.entity IS 'Seat or workspace whose usage counts; empty: all usage.';
COMMENT ON COLUMN spend_limits.time_window IS 'Over which time, by the calendar in UTC.';
COMMENT ON COLUMN spend_limits.most IS 'Most that may be used in it.';
COMMENT ON COLUMN spend_limits.window_start IS 'Start of the window that used is of.';
COMMENT ON COLUMN spend_limits.used IS 'Used in that window.';

CREATE TABLE levels (
    account_id uuid NOT NULL,
    feature text NOT NULL,
    entity text NOT NULL,
    used numeric(38,9) NOT NULL,
    CONSTRAINT levels_pkey PRIMARY KEY (account_id, feature, entity),
    CONSTRAINT levels_account_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT levels_used_range CHECK (used BETWEEN 0 AND 1000000000000000000)
);
COMMENT ON TABLE levels IS 'What is in use of features that are set and freed, such as seats.';
COMMENT ON COLUMN levels.account_id IS 'Whose.';
COMMENT ON COLUMN levels.feature IS 'The metered feature.';
COMMENT ON COLUMN levels.entity IS 'Seat or workspace; empty: the customer.';
COMMENT ON COLUMN levels.used IS 'Units in use.';
