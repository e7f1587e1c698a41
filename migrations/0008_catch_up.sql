-- What deliveries lost: how far Stripe's list of events has been read, and events made from Stripe's objects.

CREATE TABLE catch_up_streams (
    stream text CONSTRAINT catch_up_streams_pkey PRIMARY KEY,
    cursor_at timestamptz,
    pass_since timestamptz,
    pass_newest timestamptz,
    pass_after text,
    fence bigint NOT NULL,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    CONSTRAINT catch_up_streams_name_length CHECK (octet_length(stream) BETWEEN 1 AND 255),
    CONSTRAINT catch_up_streams_after_length CHECK (octet_length(pass_after) BETWEEN 1 AND 255),
    CONSTRAINT catch_up_streams_fence_counts_up CHECK (fence >= 1),
    CONSTRAINT catch_up_streams_place_needs_pass
        CHECK (pass_since IS NOT NULL OR (pass_after IS NULL AND pass_newest IS NULL))
);
COMMENT ON TABLE catch_up_streams IS 'How far Stripe''s list of events has been read, by family of types.';
COMMENT ON COLUMN catch_up_streams.stream IS 'The family: what its types begin with, such as invoice.';
COMMENT ON COLUMN catch_up_streams.cursor_at IS 'Creation of the newest event of the last pass that came to its end; the next pass begins an hour before. Null: no pass has found one.';
COMMENT ON COLUMN catch_up_streams.pass_since IS 'Where the pass under way begins; null: none is.';
COMMENT ON COLUMN catch_up_streams.pass_newest IS 'Creation of the newest event of the pass under way, its first; where the cursor goes at its end.';
COMMENT ON COLUMN catch_up_streams.pass_after IS 'The last event of the last page that is stored: the pass goes on after it.';
COMMENT ON COLUMN catch_up_streams.fence IS 'Number of the lease under which the row was written last; an older holder changes nothing.';
COMMENT ON COLUMN catch_up_streams.started_at IS 'When the first pass began.';
COMMENT ON COLUMN catch_up_streams.completed_at IS 'When a pass last came to its end.';

ALTER TABLE stripe_events
    DROP CONSTRAINT stripe_events_origin_known,
    ADD CONSTRAINT stripe_events_origin_known CHECK (origin IN ('webhook', 'catch_up', 'reconcile'));
COMMENT ON COLUMN stripe_events.origin IS 'webhook: a signed delivery; catch_up: listed from Stripe; reconcile: made from an object of Stripe''s that no event told of.';
COMMENT ON COLUMN stripe_events.event_id IS 'Stripe''s id (evt_..), or ours of what reconcile made (reconcile:type:object): a delivery twice is one row.';

-- What is known of an object: reconcile asks for a page of them at a time.
CREATE INDEX stripe_events_by_object ON stripe_events (object_id) WHERE object_id IS NOT NULL;
