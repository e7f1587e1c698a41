-- The daemon's role: run once by the database's owner, after `creditd migrate`, and again after each later migrate.
--   psql "$OWNER_DATABASE_URL" -f deploy/roles.sql
-- The ledger can then be read and added to, and never changed: creditd verify finds whoever does it another way.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'creditd_app') THEN
        CREATE ROLE creditd_app LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

GRANT USAGE ON SCHEMA public TO creditd_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO creditd_app;
REVOKE UPDATE, DELETE, TRUNCATE ON entries FROM creditd_app;
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON _sqlx_migrations FROM creditd_app;
-- The ring of idempotency keys is emptied a day at a time.
GRANT TRUNCATE ON idempotency_0, idempotency_1, idempotency_2, idempotency_3, idempotency_4, idempotency_5,
    idempotency_6, idempotency_7, idempotency_8, idempotency_9 TO creditd_app;
ALTER ROLE creditd_app SET idle_in_transaction_session_timeout = '30s';
