//! The rules every table keeps, read from the catalogue of a migrated database, and every statement prepared on it.

use creditd::store::top_ups;
use creditd::store::{
    accounts, booked, catalog, catch_up, census, charge_steps, charge_work, circuits, customers, debt_rows,
    event_intake, event_listings, event_waits, events, holds, instance, keys, leases, ledger, ledger_usual, listings,
    outbox, overage_bills, past, payments, reports, retention, reversals, sales, top_up_listings, top_up_rows,
    top_up_work, usage_listings, usage_rows, verify, wallet_rows, wallets, work,
};
use sqlx::{Executor, PgPool};

use crate::support::database::fresh_pool;

/// Tables that carry an `account_id` and are no account tables: look-ups keyed by their value, and queues.
const NOT_LED_BY_ACCOUNT: [&str; 14] = [
    "account_work",
    "charge_work",
    "top_up_ids",
    "customer_ids",
    "grant_ids",
    "hold_ids",
    "outbox",
    "payment_aliases",
    "stripe_customer_ids",
    "stripe_event_waits",
    "stripe_events",
    "stripe_subscription_ids",
    "wallet_ids",
    "_sqlx_migrations",
];
/// NUMERIC columns that hold no credits: (table, column, precision, scale).
const OTHER_NUMERICS: [(&str, &str, i32, i32); 1] = [("debts", "unit_price_minor", 38, 18)];
/// Small reference tables that an account table may point to.
const REFERENCE_TABLES: [&str; 1] = ["catalog_plans"];

async fn names(pool: &PgPool, statement: &'static str) -> Vec<String> {
    sqlx::query_scalar(statement).fetch_all(pool).await.unwrap()
}

async fn account_tables(pool: &PgPool) -> Vec<String> {
    let all = names(
        pool,
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1",
    )
    .await;
    all.into_iter().filter(|table| !NOT_LED_BY_ACCOUNT.contains(&table.as_str())).collect()
}

#[tokio::test]
async fn account_id_leads_every_key_and_index_of_an_account_table() {
    let pool = fresh_pool().await;
    let tables = account_tables(&pool).await;
    assert!(tables.len() >= 12, "the look at the catalogue finds too little: {tables:?}");
    let indexes: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT t.relname::text, i.relname::text, a.attname::text FROM pg_index x
         JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
         JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0]
         WHERE t.relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    for table in &tables {
        let mine: Vec<_> = indexes.iter().filter(|(of, _, _)| of == table).collect();
        assert!(!mine.is_empty(), "{table} has no primary key");
        for (_, index, first) in mine {
            assert_eq!(first, "account_id", "first column of {index} on {table}");
        }
    }
}

#[tokio::test]
async fn foreign_keys_stay_inside_the_account_or_go_to_reference_tables() {
    let pool = fresh_pool().await;
    let tables = account_tables(&pool).await;
    let keys: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT k.conname::text, t.relname::text, r.relname::text, a.attname::text FROM pg_constraint k
         JOIN pg_class t ON t.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
         JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.conkey[1] WHERE k.contype = 'f'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(!keys.is_empty());
    for (key, table, target, first) in keys {
        if tables.contains(&table) && !REFERENCE_TABLES.contains(&target.as_str()) {
            assert_eq!(first, "account_id", "{key} leaves the account");
            assert!(tables.contains(&target), "{key} leaves the account's group: {target}");
        }
        assert!(
            !NOT_LED_BY_ACCOUNT.contains(&table.as_str())
                || ["stripe_inputs", "stripe_event_waits"].contains(&table.as_str()),
            "{key}: a look-up points out"
        );
    }
}

#[tokio::test]
async fn every_table_and_column_says_what_it_is() {
    let pool = fresh_pool().await;
    let silent = names(
        &pool,
        "SELECT c.relname || coalesce('.' || a.attname, '') FROM pg_class c
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
             AND c.relname <> '_sqlx_migrations'
             AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL) ORDER BY 1",
    )
    .await;
    assert_eq!(silent, Vec::<String>::new());
}

#[tokio::test]
async fn constraints_are_named_by_what_they_mean() {
    let pool = fresh_pool().await;
    let all: Vec<(String, String)> = sqlx::query_as(
        "SELECT t.relname::text, k.conname::text FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
         WHERE k.connamespace = 'public'::regnamespace AND NOT t.relispartition AND t.relname <> '_sqlx_migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    for (table, constraint) in all {
        assert!(constraint.starts_with(&format!("{table}_")), "{constraint} does not begin with its table {table}");
        let bare = constraint.trim_end_matches(|last: char| last.is_ascii_digit());
        let numbered = bare != constraint && (bare.ends_with("_fkey") || bare.ends_with("_key"));
        let by_default = bare.ends_with("_check") || numbered;
        assert!(!by_default, "{constraint} was named by the server");
    }
}

#[tokio::test]
async fn nothing_runs_inside_the_database_but_statements() {
    let pool = fresh_pool().await;
    for (what, statement) in [
        ("triggers", "SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal"),
        ("rules", "SELECT rulename::text FROM pg_rules WHERE schemaname = 'public'"),
        (
            "sequences",
            "SELECT relname::text FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace",
        ),
        (
            "identity columns",
            "SELECT attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE attidentity <> '' AND c.relnamespace = 'public'::regnamespace",
        ),
        ("functions", "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"),
        (
            "views",
            "SELECT relname::text FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace",
        ),
        ("deferrable constraints", "SELECT conname::text FROM pg_constraint WHERE condeferrable"),
        (
            "volatile defaults",
            "SELECT adrelid::regclass::text FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> '_sqlx_migrations'
                AND pg_get_expr(d.adbin, d.adrelid) ~ '\\('",
        ),
        ("row security", "SELECT relname::text FROM pg_class WHERE relrowsecurity"),
    ] {
        assert_eq!(names(&pool, statement).await, Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn hot_rows_leave_room_and_remaining_is_never_indexed() {
    let pool = fresh_pool().await;
    for table in ["grants", "accounts"] {
        let options: Option<Vec<String>> =
            sqlx::query_scalar("SELECT reloptions FROM pg_class WHERE oid = $1::text::regclass")
                .bind(table)
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!(options, Some(vec!["fillfactor=70".to_owned()]), "{table}");
    }
    // `remaining` in any index, predicate included, would make every draw a change of the index.
    let indexed = names(
        &pool,
        "SELECT indexname::text FROM pg_indexes WHERE tablename = 'grants' AND indexdef ~ '\\m(remaining|held)\\M'",
    )
    .await;
    assert_eq!(indexed, Vec::<String>::new());
}

type Column = (String, String, String, Option<i32>, Option<i32>);

#[tokio::test]
async fn every_amount_is_numeric_38_9_and_nothing_is_a_float() {
    let pool = fresh_pool().await;
    let columns: Vec<Column> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, data_type::text, numeric_precision::integer, numeric_scale::integer
         FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'
             AND data_type IN ('numeric', 'real', 'double precision', 'money', 'timestamp without time zone')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(columns.len() >= 12);
    for (table, column, kind, precision, scale) in columns {
        assert_eq!(kind, "numeric", "{table}.{column}");
        let other = OTHER_NUMERICS.iter().find(|(t, c, _, _)| *t == table && *c == column);
        let wanted = other.map_or((38, 9), |(_, _, precision, scale)| (*precision, *scale));
        assert_eq!((precision, scale), (Some(wanted.0), Some(wanted.1)), "{table}.{column}");
    }
}

fn statements() -> Vec<(&'static str, &'static str)> {
    let files: [(&'static str, &[&'static str]); 40] = [
        ("accounts", &accounts::STATEMENTS),
        ("booked", &booked::STATEMENTS),
        ("catalog", &catalog::STATEMENTS),
        ("catch_up", &catch_up::STATEMENTS),
        ("census", &census::STATEMENTS),
        ("customers", &customers::STATEMENTS),
        ("debt_rows", &debt_rows::STATEMENTS),
        ("event_listings", &event_listings::STATEMENTS),
        ("event_waits", &event_waits::STATEMENTS),
        ("events", &events::STATEMENTS),
        ("event_intake", &event_intake::STATEMENTS),
        ("holds", &holds::STATEMENTS),
        ("instance", &instance::STATEMENTS),
        ("keys", &keys::STATEMENTS),
        ("leases", &leases::STATEMENTS),
        ("ledger", &ledger::STATEMENTS),
        ("ledger_usual", &ledger_usual::STATEMENTS),
        ("ledger_write", &ledger::WRITE_STATEMENTS),
        ("listings", &listings::STATEMENTS),
        ("payments", &payments::STATEMENTS),
        ("reports", &reports::STATEMENTS),
        ("reversals", &reversals::STATEMENTS),
        ("sales", &sales::STATEMENTS),
        ("retention", &retention::STATEMENTS),
        ("usage_listings", &usage_listings::STATEMENTS),
        ("usage_rows", &usage_rows::STATEMENTS),
        ("verify", &verify::STATEMENTS),
        ("work", &work::STATEMENTS),
        ("charge_steps", &charge_steps::STATEMENTS),
        ("charge_work", &charge_work::STATEMENTS),
        ("outbox", &outbox::STATEMENTS),
        ("overage_bills", &overage_bills::STATEMENTS),
        ("top_up_rows", &top_up_rows::STATEMENTS),
        ("top_up_listings", &top_up_listings::STATEMENTS),
        ("circuits", &circuits::STATEMENTS),
        ("top_up_work", &top_up_work::STATEMENTS),
        ("top_ups", &top_ups::STATEMENTS),
        ("past", &past::STATEMENTS),
        ("wallet_rows", &wallet_rows::STATEMENTS),
        ("wallets", &wallets::STATEMENTS),
    ];
    files.into_iter().flat_map(|(file, all)| all.iter().map(move |statement| (file, *statement))).collect()
}

#[tokio::test]
async fn every_statement_prepares_on_the_migrated_schema() {
    let pool = fresh_pool().await;
    let mut connection = pool.acquire().await.unwrap();
    let all = statements();
    assert!(all.len() > 60);
    for (file, statement) in all {
        let prepared = connection.prepare(sqlx::SqlStr::from_static(statement)).await;
        assert!(prepared.is_ok(), "{file}: {}\n{statement}", prepared.err().unwrap());
    }
}

#[tokio::test]
async fn every_file_of_the_store_with_sql_is_in_that_list() {
    let listed: Vec<&str> = statements().into_iter().map(|(file, _)| file).collect();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store")).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| path.is_file()) else { continue };
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("pub const STATEMENTS") {
            assert!(listed.contains(&name), "src/store/{name}.rs has statements that no test prepares");
        }
    }
}

#[test]
fn statements_keep_to_what_every_engine_has() {
    for (file, statement) in statements() {
        let upper = statement.to_uppercase();
        for banned in
            ["ADVISORY", "MERGE INTO", "LISTEN ", "NOTIFY ", "NEXTVAL", "TRUNCATE ", " NOW()", "CURRENT_TIMESTAMP"]
        {
            assert!(!upper.contains(banned), "{file} says {banned}:\n{statement}");
        }
        assert!(statement.starts_with("-- "), "{file}: a statement does not begin with its name:\n{statement}");
    }
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap().to_uppercase();
        for banned in ["CREATE TRIGGER", "CREATE FUNCTION", "CREATE RULE", "ADVISORY"] {
            assert!(!text.contains(banned), "a migration says {banned}");
        }
    }
}
