-- What a backend without creditd would keep: a balance for each customer, and a ledger keyed by the request's key.
DROP SCHEMA IF EXISTS creditd_bench CASCADE;
CREATE SCHEMA creditd_bench;
CREATE TABLE creditd_bench.grants (customer_id int NOT NULL, prio int NOT NULL, remaining bigint NOT NULL CHECK (remaining >= 0), expires_at timestamptz, PRIMARY KEY (customer_id, prio)) WITH (fillfactor = 60);
INSERT INTO creditd_bench.grants SELECT c, p, 1000000000, now() + interval '1 year' FROM generate_series(1, 10000) c, generate_series(1, 2) p;
CREATE TABLE creditd_bench.ledger (customer_id int NOT NULL, idem uuid NOT NULL, amount bigint NOT NULL, balance_after bigint, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (customer_id, idem));
VACUUM ANALYZE creditd_bench.grants;
