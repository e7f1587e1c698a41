//! Exports: exact bytes for fixed rows, cells that no spreadsheet runs, one snapshot, whole files.

use creditd::commands::export::{ExportArgs, ExportFormat, ExportKind, ExportUsageError, parse_time, run};
use creditd::exports::csv::guarded;
use creditd::exports::{Cell, Format, RowWriter};
use creditd::store::Store;
use creditd::store::reports::ReportPeriod;
use futures_util::TryStreamExt;
use proptest::prelude::*;
use rstest::rstest;
use sqlx::{Executor, PgPool};

use crate::support::database::{fresh_both, fresh_store};
use crate::verify::lived_in;

/// Two accounts with fixed ids; ada bought a pack and used it, bob's texts are hostile.
const FIXED: &str = r#"
INSERT INTO accounts (account_id, state, last_entry_at, created_at) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'open', '2026-11-01Z', '2026-11-01Z'),
    ('00000000-0000-7000-8000-00000000000b', 'open', '2026-11-01Z', '2026-11-01Z');
INSERT INTO customers (account_id, customer_id, updated_at) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'ada', '2026-11-01Z'),
    ('00000000-0000-7000-8000-00000000000b', '=1+1', '2026-11-01Z');
INSERT INTO payments (account_id, payment_id, payment_key, basis, status, currency, amount_paid_minor, stripe_session, stripe_payment_intent, stripe_charge, created_at)
VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000f1', 'pi_1', 'lines', 'paid', 'usd', 1200, 'cs_1', 'pi_1', 'ch_1', '2026-11-01Z');
INSERT INTO wallets (account_id, wallet_id, feature, is_default, created_at) VALUES
    ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000b1', 'credits', true, '2026-11-01Z'),
    ('00000000-0000-7000-8000-00000000000b', '00000000-0000-7000-8000-0000000000b2', 'credits', true, '2026-11-01Z');
INSERT INTO grants (account_id, grant_id, wallet_id, feature, entity, category, priority, original, remaining, is_open, starts_at, expires_at,
    payment_id, item_key, currency, amount_paid_minor, tax_minor, discount_minor, basis_minor, stripe_price, reason, created_at) VALUES
    ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-0000000000b1', 'credits', '', 'prepaid', 50,
        10, 7.5, true, '2026-11-01Z', NULL, '00000000-0000-7000-8000-0000000000f1', 'price_1:credits', 'usd', 1200, 200, 0, 1000, 'price_1', NULL, '2026-11-01Z'),
    ('00000000-0000-7000-8000-00000000000b', '00000000-0000-7000-8000-0000000000c2', '00000000-0000-7000-8000-0000000000b2', 'credits', '@seat', 'promotional', 10,
        3, 3, true, '2026-11-01Z', '2026-12-01Z', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, E'-goodwill, "so"\r\nhe said', '2026-11-30T23:59:59.999999Z');
INSERT INTO entries (account_id, seq, at, event_at, kind, grant_id, wallet_id, feature, amount, command, used_feature, quantity, shortfall, source, hash) VALUES
    ('00000000-0000-7000-8000-00000000000a', 1, '2026-11-01T00:00:00Z', '2026-10-31T23:00:00Z', 'grant', '00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-0000000000b1', 'credits', 10, 1, NULL, NULL, NULL, 'payment', decode(repeat('01', 32), 'hex')),
    ('00000000-0000-7000-8000-00000000000a', 2, '2026-11-15T12:00:00.5Z', NULL, 'draw', '00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-0000000000b1', 'credits', -2.5, 2, 'messages', 250, 0.000000001, 'track', decode(repeat('02', 32), 'hex')),
    ('00000000-0000-7000-8000-00000000000a', 3, '2026-12-01T00:00:00Z', NULL, 'adjust', '00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-0000000000b1', 'credits', 0, 3, NULL, NULL, NULL, 'cli', decode(repeat('03', 32), 'hex')),
    ('00000000-0000-7000-8000-00000000000b', 1, '2026-11-30T23:59:59.999999Z', NULL, 'grant', '00000000-0000-7000-8000-0000000000c2', '00000000-0000-7000-8000-0000000000b2', 'credits', 3, 1, NULL, NULL, NULL, 'api', decode(repeat('04', 32), 'hex'));
"#;

const LEDGER_CSV: &str = "account_id,seq,at,event_at,kind,grant_id,wallet_id,debt_id,hold_id,feature,amount,command,used_feature,quantity,shortfall,source,hash\r
account_0000000000007000800000000000000a,1,2026-11-01T00:00:00Z,2026-10-31T23:00:00Z,grant,grant_000000000000700080000000000000c1,wallet_000000000000700080000000000000b1,,,credits,10,1,,,,payment,0101010101010101010101010101010101010101010101010101010101010101\r
account_0000000000007000800000000000000a,2,2026-11-15T12:00:00.5Z,,draw,grant_000000000000700080000000000000c1,wallet_000000000000700080000000000000b1,,,credits,-2.5,2,messages,250,0.000000001,track,0202020202020202020202020202020202020202020202020202020202020202\r
account_0000000000007000800000000000000b,1,2026-11-30T23:59:59.999999Z,,grant,grant_000000000000700080000000000000c2,wallet_000000000000700080000000000000b2,,,credits,3,1,,,,api,0404040404040404040404040404040404040404040404040404040404040404\r
";

const LEDGER_JSONL_LINE: &str = r#"{"account_id":"account_0000000000007000800000000000000a","seq":2,"at":"2026-11-15T12:00:00.5Z","event_at":null,"kind":"draw","grant_id":"grant_000000000000700080000000000000c1","wallet_id":"wallet_000000000000700080000000000000b1","debt_id":null,"hold_id":null,"feature":"credits","amount":"-2.5","command":2,"used_feature":"messages","quantity":"250","shortfall":"0.000000001","source":"track","hash":"0202020202020202020202020202020202020202020202020202020202020202","customer_id":"ada"}"#;

const GRANTS_CSV: &str = "grant_id,account_id,wallet_id,feature,entity,plan_id,plan_version,category,priority,unlimited,starts_at,expires_at,created_at,original,remaining,held,currency,amount_paid,tax,discount,basis,revenue_policy,payment_id,item_key,stripe_session,stripe_payment_intent,stripe_charge,stripe_invoice,stripe_balance_transaction,stripe_price,stripe_line,attachment_id,item,period_start,rolled_from,contract_ref,customer_id,reason\r
grant_000000000000700080000000000000c1,account_0000000000007000800000000000000a,wallet_000000000000700080000000000000b1,credits,,,,prepaid,50,false,2026-11-01T00:00:00Z,,2026-11-01T00:00:00Z,10,7.5,0,usd,1200,200,0,1000,,payment_000000000000700080000000000000f1,price_1:credits,cs_1,pi_1,ch_1,,,price_1,,,,,,,ada,\r
grant_000000000000700080000000000000c2,account_0000000000007000800000000000000b,wallet_000000000000700080000000000000b2,credits,'@seat,,,promotional,10,false,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,2026-11-30T23:59:59.999999Z,3,3,0,,,,,,,,,,,,,,,,,,,,,'=1+1,\"'-goodwill, \"\"so\"\"\r\nhe said\"\r
";

fn args(kind: ExportKind, format: ExportFormat) -> ExportArgs {
    let day = |text| Some(parse_time(text).unwrap());
    ExportArgs { kind, format, from: day("2026-11-01"), to: day("2026-12-01"), names: false, out: None }
}

async fn exported(store: &Store, args: &ExportArgs) -> String {
    let mut out = Vec::new();
    run(store, args, &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

async fn fixed() -> (Store, PgPool) {
    let (store, pool) = fresh_both().await;
    pool.execute(FIXED).await.unwrap();
    (store, pool)
}

#[tokio::test]
async fn the_ledger_of_a_month_in_both_formats() {
    let (store, _) = fixed().await;
    let csv = exported(&store, &args(ExportKind::Ledger, ExportFormat::Csv)).await;
    assert_eq!(csv, LEDGER_CSV);
    let named = ExportArgs { names: true, ..args(ExportKind::Ledger, ExportFormat::Jsonl) };
    let jsonl = exported(&store, &named).await;
    let lines: Vec<&str> = jsonl.lines().collect();
    assert_eq!((lines.len(), lines[1]), (3, LEDGER_JSONL_LINE));
    assert!(lines[2].ends_with(r#","customer_id":"=1+1"}"#), "JSON Lines stays raw: {}", lines[2]);
}

#[tokio::test]
async fn the_grants_of_a_month_with_names() {
    let (store, _) = fixed().await;
    let named = ExportArgs { names: true, ..args(ExportKind::Grants, ExportFormat::Csv) };
    assert_eq!(exported(&store, &named).await, GRANTS_CSV);
    let jsonl = exported(&store, &ExportArgs { names: true, ..args(ExportKind::Grants, ExportFormat::Jsonl) }).await;
    let second: serde_json::Value = serde_json::from_str(jsonl.lines().nth(1).unwrap()).unwrap();
    assert_eq!(second["reason"], "-goodwill, \"so\"\r\nhe said");
    assert_eq!((second["remaining"].clone(), second["amount_paid"].clone()), ("3".into(), serde_json::Value::Null));
}

#[tokio::test]
async fn customers_are_a_file_of_their_own() {
    let (store, pool) = fixed().await;
    let all = ExportArgs { from: None, to: None, ..args(ExportKind::Customers, ExportFormat::Csv) };
    let wanted = "account_id,customer_id\r\naccount_0000000000007000800000000000000a,ada\r\naccount_0000000000007000800000000000000b,'=1+1\r\n";
    assert_eq!(exported(&store, &all).await, wanted);
    // An erasure takes the customer out of this file, and changes no byte of the others.
    let before = exported(&store, &args(ExportKind::Grants, ExportFormat::Csv)).await;
    pool.execute("DELETE FROM customers; UPDATE grants SET reason = NULL, metadata = '{}'").await.unwrap();
    assert_eq!(exported(&store, &all).await, "account_id,customer_id\r\n");
    assert_eq!(exported(&store, &args(ExportKind::Grants, ExportFormat::Csv)).await, before);
}

/// A closed period reads the same for ever: what happens afterwards changes no byte of it.
#[tokio::test]
async fn a_closed_period_never_changes() {
    let (store, pool) = fixed().await;
    let before = exported(&store, &args(ExportKind::Grants, ExportFormat::Csv)).await;
    pool.execute(
        "INSERT INTO entries (account_id, seq, at, kind, grant_id, wallet_id, feature, amount, command, source, hash)
         SELECT account_id, 4, '2026-12-01Z', 'draw', grant_id, wallet_id, feature, -7.5, 4, 'track', hash FROM entries WHERE seq = 2;
         UPDATE grants SET remaining = 0, is_open = false WHERE category = 'prepaid'",
    )
    .await
    .unwrap();
    assert_eq!(exported(&store, &args(ExportKind::Grants, ExportFormat::Csv)).await, before);
    let open = ExportArgs { to: None, ..args(ExportKind::Grants, ExportFormat::Csv) };
    assert!(exported(&store, &open).await.contains(",10,0,0,usd,"), "without an end the balance is today's");
}

#[tokio::test]
async fn periods_are_half_open_and_join_without_gap() {
    let (store, _) = fixed().await;
    let between = |from: Option<&str>, to: Option<&str>| ExportArgs {
        from: from.map(|text| parse_time(text).unwrap()),
        to: to.map(|text| parse_time(text).unwrap()),
        ..args(ExportKind::Ledger, ExportFormat::Jsonl)
    };
    let all = exported(&store, &between(None, None)).await;
    let mut parts = String::new();
    for part in [
        between(None, Some("2026-11-01")),
        between(Some("2026-11-01"), Some("2026-11-15T13:00:00.5+01:00")),
        between(Some("2026-11-15T12:00:00.5Z"), Some("2026-12-01")),
        between(Some("2026-12-01"), None),
    ] {
        parts.push_str(&exported(&store, &part).await);
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!((sorted(&all), all.lines().count()), (sorted(&parts), 4));
}

#[tokio::test]
async fn two_runs_give_the_same_bytes_and_the_csv_reads_back() {
    let (store, _) = lived_in().await;
    for kind in [ExportKind::Ledger, ExportKind::Grants] {
        for format in [ExportFormat::Csv, ExportFormat::Jsonl] {
            let whole = ExportArgs { from: None, to: None, names: true, ..args(kind, format) };
            let first = exported(&store, &whole).await;
            assert_eq!(first, exported(&store, &whole).await);
        }
        let whole = |format| ExportArgs { from: None, to: None, names: true, ..args(kind, format) };
        let csv = exported(&store, &whole(ExportFormat::Csv)).await;
        let jsonl = exported(&store, &whole(ExportFormat::Jsonl)).await;
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let header = reader.headers().unwrap().clone();
        let mut rows = 0;
        for (record, line) in reader.records().zip(jsonl.lines()) {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            for (column, field) in header.iter().zip(record.unwrap().iter()) {
                let wanted = match &json[column] {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let read = field.strip_prefix('\'').unwrap_or(field);
                assert!(field == wanted || read == wanted, "{column}: {field:?} for {wanted:?}");
            }
            rows += 1;
        }
        assert!(rows >= 9, "{rows} rows");
    }
}

/// Rows written while an export runs are not in it, and what belongs together is from one moment.
#[tokio::test]
async fn an_export_sees_one_snapshot() {
    let (store, pool) = fixed().await;
    let mut snapshot = store.snapshot().await.unwrap();
    let first: Vec<_> = snapshot.customers().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(first.len(), 2);
    pool.execute("DELETE FROM entries; UPDATE grants SET original = 99").await.unwrap();
    let lines: Vec<_> = snapshot.ledger(ReportPeriod::default()).try_collect().await.unwrap();
    assert_eq!(lines.len(), 4, "the lines of the moment the snapshot began");
    let lots: Vec<_> = snapshot.grants(ReportPeriod::default()).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(lots[0].remaining.to_string(), "7.5");
    snapshot.close().await.unwrap();
    let mut later = store.snapshot().await.unwrap();
    assert!(later.ledger(ReportPeriod::default()).try_next().await.unwrap().is_none());
}

/// A writer that stops after a few rows has cost a few rows, and the connection serves on.
#[tokio::test]
async fn a_broken_pipe_ends_the_export() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (store, pool) = fixed().await;
    let many =
        "INSERT INTO entries (account_id, seq, at, kind, grant_id, wallet_id, feature, amount, command, source, hash)
        SELECT account_id, n, '2026-11-02Z', 'adjust', grant_id, wallet_id, feature, 0, n, 'cli', hash FROM entries,
        generate_series(10, 60009) AS n WHERE seq = 2";
    pool.execute(many).await.unwrap();
    for _ in 0..12 {
        assert!(run(&store, &args(ExportKind::Ledger, ExportFormat::Csv), &mut Full).await.is_err());
    }
    let csv = exported(&store, &args(ExportKind::Ledger, ExportFormat::Csv)).await;
    assert_eq!(csv.lines().count(), 60_004);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let (store, pool) = fixed().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.csv");
    std::fs::write(&path, "the last one").unwrap();
    let to_file = ExportArgs { out: Some(path.clone()), ..args(ExportKind::Ledger, ExportFormat::Csv) };
    let mut out = Vec::new();
    run(&store, &to_file, &mut out).await.unwrap();
    assert!(out.is_empty(), "a named file leaves standard output alone");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), LEDGER_CSV);
    // A row that cannot be read stops the export: the file stays as it was, and nothing is left beside it.
    pool.execute("UPDATE entries SET feature = 'no such!' WHERE seq = 2").await.unwrap();
    assert!(run(&store, &to_file, &mut out).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), LEDGER_CSV);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = ExportArgs { out: Some(folder.path().join("no/such/ledger.csv")), ..to_file };
    assert!(run(&store, &nowhere, &mut out).await.unwrap_err().to_string().contains("cannot write into folder"));
}

#[rstest]
#[case::backwards("2026-12-01", "2026-11-01")]
#[case::empty("2026-11-01", "2026-11-01T00:00:00Z")]
#[tokio::test]
async fn an_empty_period_is_bad_usage(#[case] from: &str, #[case] to: &str) {
    let store = fresh_store().await;
    let (from, to) = (parse_time(from).unwrap(), parse_time(to).unwrap());
    let asked = ExportArgs { from: Some(from), to: Some(to), ..args(ExportKind::Ledger, ExportFormat::Csv) };
    let mut out = Vec::new();
    let error = run(&store, &asked, &mut out).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&ExportUsageError::EmptyPeriod { from, to }));
    assert!(out.is_empty(), "not even a header");
    let customers = ExportArgs { kind: ExportKind::Customers, from: None, ..asked };
    let error = run(&store, &customers, &mut out).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&ExportUsageError::CustomersTakeNoPeriod));
}

#[rstest]
#[case("2026-11-01", Some("2026-11-01T00:00:00Z"))]
#[case("2026-11-01T01:00:00+01:00", Some("2026-11-01T00:00:00Z"))]
#[case("2026-11-01T00:00:00Z", Some("2026-11-01T00:00:00Z"))]
#[case("2026-02-30", None)]
#[case("2026-11", None)]
#[case("2026-11-01T00:00:00", None)]
#[case("yesterday", None)]
#[case("", None)]
fn a_time_is_a_utc_day_or_rfc_3339(#[case] text: &str, #[case] wanted: Option<&str>) {
    assert_eq!(parse_time(text).ok().map(|time| time.to_string()).as_deref(), wanted);
}

#[rstest]
#[case("=1+1", "'=1+1")]
#[case("+1", "'+1")]
#[case("-1", "'-1")]
#[case("@SUM(A1)", "'@SUM(A1)")]
#[case("\tx", "'\tx")]
#[case("\rx", "'\rx")]
#[case("＝1", "'＝1")]
#[case("＋1", "'＋1")]
#[case("－1", "'－1")]
#[case("＠x", "'＠x")]
#[case("'=1", "''=1")]
#[case("'quoted'", "'quoted'")]
#[case("a=b", "a=b")]
#[case("", "")]
fn text_never_starts_a_formula(#[case] text: &str, #[case] cell: &str) {
    assert_eq!(guarded(text), cell);
}

fn csv_of(cells: &[Cell<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rows = RowWriter::start(Format::Csv, &mut out, &["a", "b"]).unwrap();
    rows.row(cells).unwrap();
    rows.finish().unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text: never a formula, always read back as it was, and an amount beside it is never touched.
    #[test]
    fn any_text_is_safe_and_reads_back(
        start in prop_oneof![Just(""), Just("="), Just("+"), Just("-"), Just("@"), Just("\t"), Just("\r"), Just("＝"), Just("'"), Just("'=")],
        rest in any::<String>(),
    ) {
        let text = format!("{start}{rest}");
        let bytes = csv_of(&[Cell::text(&text), Cell::amount("-1.5")]);
        let mut reader = csv::ReaderBuilder::new().from_reader(bytes.as_slice());
        let record = reader.records().next().unwrap().unwrap();
        prop_assert!(!record[0].starts_with(['=', '+', '-', '@', '\t', '\r', '\0', '＝', '＋', '－', '＠']));
        let read = if record[0].trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r', '\0', '＝', '＋', '－', '＠']) {
            &record[0][1..]
        } else {
            &record[0]
        };
        prop_assert_eq!(read, text.as_str());
        prop_assert_eq!(&record[1], "-1.5");
    }
}
