-- Events that were given up are counted for the metrics and listed for people; they are few among all that is done.

CREATE INDEX stripe_events_dead ON stripe_events (received_at, event_id) WHERE state = 'dead';
