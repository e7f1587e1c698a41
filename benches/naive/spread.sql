-- One transaction for each event, on any of 10,000 customers.
\set c random(1, 10000)
BEGIN;
INSERT INTO creditd_bench.ledger (customer_id, idem, amount) VALUES (:c, gen_random_uuid(), 1);
UPDATE creditd_bench.grants SET remaining = remaining - 1 WHERE customer_id = :c AND prio = 1 AND remaining >= 1 RETURNING remaining;
COMMIT;
