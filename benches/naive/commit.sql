-- The cheapest durable write: one row, one flush.
INSERT INTO creditd_bench.ledger (customer_id, idem, amount) VALUES (1, gen_random_uuid(), 1);
