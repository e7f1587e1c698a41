//! The real binary's commands: what they print, what they refuse, and with which exit code.

use std::path::PathBuf;
use std::time::Duration;

use creditd::clock::Clock;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::binary::{ADMIN, CATALOG_FILE, Ended, Running, Site, bare, call, client, free_address};
use crate::support::database::raw;

async fn served() -> (Site, Running, std::net::SocketAddr) {
    let (site, listen) = (Site::new().await, free_address());
    let running = site.serve(listen).await;
    let client = client();
    let (status, answer) = call(&client, listen, "PUT", "/api/v1/customers/ada", &json!({})).await.unwrap();
    assert_eq!(status, 201, "{answer}");
    (site, running, listen)
}

fn file(site: &Site, name: &str, text: &str) -> String {
    let path = site.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn help_names_every_command_and_mistakes_end_with_2() {
    let help = Ended::of(bare(&["--help"])).await.ok();
    for command in
        ["dev", "serve", "migrate", "catalog", "keys", "grant", "export", "verify", "health", "bench", "openapi", "why"]
    {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} in {help}");
    }
    assert!(Ended::of(bare(&["--version"])).await.ok().starts_with("creditd "));
    let mistakes: [&[&str]; 6] = [
        &["destroy"],
        &["serve", "--fast"],
        &["export", "secrets"],
        &["dev", "--tour-only", "--no-tour"],
        &["keys", "revoke", "nothing"],
        &["keys", "create", "--scope", "root", "--name", "x"],
    ];
    for arguments in mistakes {
        let told = Ended::of(bare(arguments)).await.usage();
        assert!(told.starts_with("error: "), "{told}");
    }
}

#[tokio::test]
async fn every_command_that_needs_a_database_asks_for_its_address() {
    for arguments in [&["migrate"][..], &["verify"], &["keys", "list"], &["export", "ledger"]] {
        let told = Ended::of(bare(arguments)).await.usage();
        assert!(told.starts_with("creditd: DATABASE_URL is not set: "), "{told}");
    }
    let mut serve = bare(&["serve"]);
    serve.env("STRIPE_SECRET_KEY", "sk_test_1").env("STRIPE_WEBHOOK_SECRETS", "whsec_0123456789abcdef");
    let told = Ended::of(serve).await.usage();
    assert!(told.starts_with("creditd: DATABASE_URL is not set: "), "{told}");
}

#[tokio::test]
async fn a_bad_setting_ends_every_command_by_its_name() {
    for (name, value) in [("RUST_LOG", "debug=chatty"), ("CREDITD_LISTEN", "8080"), ("CREDITD_LOG_FORMAT", "xml")] {
        let mut verify = bare(&["verify"]);
        verify.env(name, value);
        let told = Ended::of(verify).await.usage();
        assert!(told.starts_with(&format!("creditd: {name}: ")), "{told}");
    }
}

#[tokio::test]
async fn serve_says_which_setting_is_missing() {
    let site = Site::new().await;
    for (missing, wanted) in
        [("CREDITD_CONFIG", "live or test mode"), ("STRIPE_WEBHOOK_SECRETS", "STRIPE_WEBHOOK_SECRETS is not set")]
    {
        let mut serve = site.command(&["serve"]);
        serve.env_remove(missing);
        let told = Ended::of(serve).await.usage();
        assert!(told.contains(wanted), "{told}");
    }
    let mut serve = site.command(&["serve"]);
    serve.env("CREDITD_API_KEYS", "root:0123456789abcdef0123");
    let told = Ended::of(serve).await.usage();
    assert!(told.contains("CREDITD_API_KEYS: entry 1: scope has to be app, finance or admin"), "{told}");
    assert!(!told.contains("0123456789abcdef0123"), "a secret is never told");
}

#[tokio::test]
async fn serve_refuses_a_database_that_may_lose_what_it_acknowledged() {
    let site = Site::new().await;
    for mode in ["test", "live"] {
        // In live mode nothing allows it.
        let allow = if mode == "live" { "[database]\nallow_unsafe = true\n" } else { "" };
        let config = file(&site, "unsafe.toml", &format!("[stripe]\nmode = \"{mode}\"\n{allow}"));
        let mut serve = site.command(&["serve"]);
        serve.env("CREDITD_CONFIG", config);
        let told = Ended::of(serve).await.usage();
        assert!(told.contains("the database is unsafe") && told.contains("fsync is off"), "{told}");
    }
}

#[tokio::test]
async fn serve_refuses_a_database_without_a_schema_which_migrate_makes() {
    let mut site = Site::new().await;
    let (base, query) = site.url.split_once('?').map_or((site.url.as_str(), ""), |(base, query)| (base, query));
    let empty = format!("{}_empty", base.rsplit_once('/').unwrap().1);
    let url = format!("{base}_empty?{query}");
    let pool = raw(&site.url).await;
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {empty}"))).execute(&pool).await.unwrap();
    pool.close().await;
    site.url = url;
    let told = site.run(&["serve"]).await.usage();
    assert!(told.contains("run `creditd migrate` first"), "{told}");
    assert!(site.run(&["migrate"]).await.ok().ends_with("migrations applied; the schema is up to date\n"));
    assert_eq!(site.run(&["migrate"]).await.ok(), "0 migrations applied; the schema is up to date\n");
    let listen = free_address();
    let running = site.serve(listen).await;
    assert_eq!(running.end(Signal::SIGTERM).await, Some(0));
}

#[tokio::test]
async fn a_catalogue_is_planned_applied_and_refused_by_line() {
    let site = Site::new().await;
    let planned = site.run(&["catalog", "plan", CATALOG_FILE]).await.ok();
    assert!(planned.contains("usd_credits") && planned.ends_with("`creditd catalog apply` makes them\n"), "{planned}");
    let again = site.run(&["catalog", "plan", CATALOG_FILE]).await.ok();
    assert_eq!(again, planned, "a plan changes nothing");
    let applied = site.run(&["catalog", "apply", CATALOG_FILE]).await.ok();
    assert!(applied.ends_with("applied: the catalogue is version 1\n"), "{applied}");
    let applied = site.run(&["catalog", "apply", CATALOG_FILE]).await.ok();
    assert_eq!(applied, "nothing to change: the catalogue is version 1\n");
    let bad = file(&site, "bad.toml", "[features.a]\ntype = \"metred\"\n[plans.p]\nautoenable = true\n");
    for command in ["plan", "apply"] {
        let told = site.run(&["catalog", command, &bad]).await.usage();
        assert!(told.contains("bad.toml: line 2: features.a.type") && told.contains("bad.toml: line 4:"), "{told}");
        let told = site.run(&["catalog", command, "/nowhere/x.toml"]).await.usage();
        assert!(told.contains("/nowhere/x.toml: No such file"), "{told}");
    }
    let applied = site.run(&["catalog", "apply", CATALOG_FILE]).await.ok();
    assert_eq!(applied, "nothing to change: the catalogue is version 1\n", "what was refused changed nothing");
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_a_running_daemon_within_seconds() {
    let (site, running, listen) = served().await;
    let made = site.run(&["keys", "create", "--scope", "app", "--name", "web"]).await.ok();
    let mut lines = made.lines();
    let key = lines.next().unwrap().to_owned();
    let id = lines.next().unwrap().strip_prefix("id ").and_then(|rest| rest.split_once(',')).unwrap().0.to_owned();
    let told = site.run(&["keys", "create", "--scope", "app", "--name", ""]).await.usage();
    assert!(told.contains("--name has to be"), "{told}");
    let table = site.run(&["keys", "list"]).await.ok();
    assert!(table.contains(&id) && table.contains("web") && !table.contains(&key), "{table}");
    let client = client();
    let question = json!({ "customer": "ada", "feature": "basic_messages" });
    let ask = async || {
        let request = client.post(format!("http://{listen}/api/v1/check")).bearer_auth(&key).json(&question);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask().await, 200);
    let revoked = site.run(&["keys", "revoke", &id]).await.ok();
    assert!(revoked.contains("is revoked"), "{revoked}");
    let mut status = 0;
    for _ in 0..100 {
        status = ask().await;
        if status != 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status, 401, "still taken after 10 s");
    assert!(site.run(&["keys", "revoke", &id]).await.ok().contains("was revoked before"));
    let unknown = site.run(&["keys", "revoke", "key_00000000000000000000000000000007"]).await;
    assert!(unknown.code != Some(0) && unknown.err.contains("there is no key"), "{unknown:?}");
    assert_eq!(running.end(Signal::SIGTERM).await, Some(0));
}

#[tokio::test]
async fn a_grant_by_hand_has_its_source_and_reason_and_is_exported() {
    let (site, running, listen) = served().await;
    let gift: Vec<&str> = "grant --customer ada --feature usd_credits --quantity 0.25 --reason sorry --key apology-1"
        .split(' ')
        .collect();
    let gave = site.run(&gift).await.ok();
    assert!(gave.starts_with("gave 0.25 usd_credits to ada: grant_"), "{gave}");
    let again = site.run(&gift).await.ok();
    assert_eq!(again, gave.replace("gave ", "had already given "));
    let path = "/api/v1/customers/ada/entries?kind=grant";
    let (_, entries) = call(&client(), listen, "GET", path, &json!({})).await.unwrap();
    let newest = &entries["data"][0];
    assert_eq!((&newest["source"], &newest["reason"]), (&json!("cli"), &json!("sorry")));
    assert_eq!((&newest["amount"], &newest["actor"]), (&json!("0.25"), &json!("creditd grant")));
    for (name, value) in
        [("--quantity", "-1"), ("--quantity", "0"), ("--reason", " "), ("--customer", "bob"), ("--expires-at", "soon")]
    {
        let mut arguments = gift.clone();
        match arguments.iter().position(|argument| *argument == name) {
            Some(place) => arguments[place + 1] = value,
            None => arguments.extend([name, value]),
        }
        let refused = site.run(&arguments).await;
        assert_eq!(refused.code, Some(2), "{name} {value}: {refused:?}");
    }
    exports(&site).await;
    assert_eq!(running.end(Signal::SIGTERM).await, Some(0));
}

/// Free's five credits and the gift, in both formats, to standard output and to a file.
async fn exports(site: &Site) {
    for (kind, column) in [("ledger", "amount"), ("grants", "original")] {
        let csv = site.run(&["export", kind]).await.ok();
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let place = reader.headers().unwrap().iter().position(|name| name == column).unwrap();
        let mut amounts: Vec<String> = reader.records().map(|row| row.unwrap()[place].to_owned()).collect();
        amounts.sort();
        assert_eq!(amounts, ["0.25", "5"], "{csv}");
        let jsonl = site.run(&["export", kind, "--format", "jsonl"]).await.ok();
        let rows: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut amounts: Vec<&str> = rows.iter().map(|row| row[column].as_str().unwrap()).collect();
        amounts.sort_unstable();
        assert_eq!(amounts, ["0.25", "5"], "{jsonl}");
        assert!(!csv.contains("sorry") && !csv.contains("ada"), "what can be erased is left out");
        let named = site.run(&["export", kind, "--names", "--out", "named.csv"]).await.ok();
        assert_eq!(named, "");
        let named = std::fs::read_to_string(site.folder.path().join("named.csv")).unwrap();
        assert!(named.lines().skip(1).all(|line| line.contains("ada")), "{named}");
    }
    let told = site.run(&["export", "ledger", "--from", "2026-11-02", "--to", "2026-11-01"]).await.usage();
    assert!(told.contains("would be empty"), "{told}");
}

#[tokio::test]
async fn verify_ends_with_0_and_after_a_tampered_row_with_3() {
    let (site, running, _) = served().await;
    assert_eq!(running.end(Signal::SIGTERM).await, Some(0));
    assert!(site.run(&["verify"]).await.ok().ends_with("every check holds\n"));
    let pool = raw(&site.url).await;
    let mut transaction = pool.acquire().await.unwrap();
    for text in [
        "SET session_replication_role = replica",
        "UPDATE entries SET amount = amount + 1 WHERE seq = 1",
        "SET session_replication_role = origin",
    ] {
        sqlx::query(text).execute(&mut *transaction).await.unwrap();
    }
    drop(transaction);
    pool.close().await;
    let found = site.run(&["verify"]).await;
    assert_eq!(found.code, Some(3), "{found:?}");
    assert!(found.out.ends_with("differences were found\n"), "{}", found.out);
    let found = site.run(&["verify", "--json"]).await;
    assert_eq!(found.code, Some(3));
    assert_eq!(serde_json::from_str::<Value>(&found.out).unwrap()["holds"], false);
}

struct Dev {
    folder: tempfile::TempDir,
}

impl Dev {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, listen: &str, how: &str) -> tokio::process::Command {
        let stripe = free_address().to_string();
        let mut command = bare(&["dev", how, "--listen", listen, "--stripe-listen", &stripe, "--data-dir"]);
        command.arg(self.data()).current_dir(self.folder.path());
        command
    }
}

/// Processes whose command line names this folder.
fn at_work_in(folder: &std::path::Path) -> Vec<String> {
    let wanted = folder.to_str().unwrap();
    let lines = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let working = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (line.contains(wanted) || working.starts_with(folder)).then_some(line)
    });
    lines.collect()
}

#[tokio::test]
async fn the_tour_runs_twice_on_one_folder_and_leaves_no_process() {
    let dev = Dev::new();
    for round in 1..=2 {
        let listen = free_address().to_string();
        let told = Ended::of(dev.command(&listen, "--tour-only")).await.ok();
        for balance in ["\"available\":\"5\"", "5 + 20 = 25 credits", "24.98", "14.98", "\"available\":\"0.08\""] {
            assert!(told.contains(balance), "round {round}: {balance} in {told}");
        }
        assert!(told.contains("every check holds"), "{told}");
        assert_eq!(at_work_in(&dev.data()), [""; 0], "round {round}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_dev_with_0_and_its_postgres_with_it() {
    let dev = Dev::new();
    let listen = free_address();
    let running = Running::start(dev.command(&listen.to_string(), "--no-tour"), &dev.folder.path().join("log"));
    let running = running.until_it_answers(listen).await;
    assert!(!at_work_in(&dev.data()).is_empty());
    let key = std::fs::read_to_string(dev.data().join("api-key")).unwrap();
    let answer = client().put(format!("http://{listen}/api/v1/customers/ada")).bearer_auth(key.trim()).json(&json!({}));
    assert_eq!(answer.send().await.unwrap().status().as_u16(), 201);
    assert_eq!(running.end(Signal::SIGINT).await, Some(0));
    assert_eq!(at_work_in(&dev.data()), [""; 0]);
}

#[tokio::test]
async fn dev_on_a_kept_folder_goes_on_at_the_time_it_had_reached() {
    let dev = Dev::new();
    let mut offset = 0;
    for round in 1..=2 {
        let (listen, stripe) = (free_address(), free_address());
        let mut command = bare(&["dev", "--no-tour", "--listen"]);
        command.args([listen.to_string(), "--stripe-listen".to_owned(), stripe.to_string(), "--data-dir".to_owned()]);
        command.arg(dev.data()).current_dir(dev.folder.path());
        let running = Running::start(command, &dev.folder.path().join("log")).until_it_answers(listen).await;
        let key = std::fs::read_to_string(dev.data().join("api-key")).unwrap();
        let stripe_time = || async {
            let made = client().post(format!("http://{stripe}/v1/customers")).bearer_auth("sk_test_creditd_dev");
            let made: Value = made.send().await.unwrap().json().await.unwrap();
            made["created"].as_i64().unwrap()
        };
        let real = Clock::system().now().as_second();
        assert!((offset..offset + 60).contains(&(stripe_time().await - real)), "round {round} begins {offset} s ahead");
        let url = format!("http://{listen}/api/v1/test-clock/advance");
        let moved = client().post(url).bearer_auth(key.trim()).json(&json!({ "seconds": 3_000_000 }));
        let moved: Value = moved.send().await.unwrap().json().await.unwrap();
        offset += 3_000_000;
        assert_eq!(moved["offset_seconds"], json!(offset), "round {round}");
        assert!((offset..offset + 60).contains(&(stripe_time().await - real)), "round {round}");
        assert_eq!(running.end(Signal::SIGINT).await, Some(0));
    }
}

#[tokio::test]
async fn a_port_in_use_is_told() {
    let site = Site::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut serve = site.command(&["serve"]);
    serve.env("CREDITD_LISTEN", taken.local_addr().unwrap().to_string());
    let told = Ended::of(serve).await;
    assert!(told.code != Some(0) && told.err.contains("cannot listen on"), "{told:?}");
    assert!(!told.err.contains(ADMIN) && !told.out.contains(ADMIN), "a secret is never told");
}
