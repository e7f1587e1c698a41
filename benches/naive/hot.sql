-- One transaction for each event, all on one customer: the row stays locked until the log is flushed.
\set c random(7, 7)
BEGIN;
INSERT INTO creditd_bench.ledger (customer_id, idem, amount) VALUES (:c, gen_random_uuid(), 1);
UPDATE creditd_bench.grants SET remaining = remaining - 1 WHERE customer_id = :c AND prio = 1 AND remaining >= 1 RETURNING remaining;
COMMIT;
