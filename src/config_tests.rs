//! Every variable and key: taken, refused with its name, and never shown when it is secret.

use std::collections::BTreeMap;
use std::io::Write;

use secrecy::ExposeSecret;
use tempfile::NamedTempFile;

use super::*;

/// Loads with these variables and no others.
fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let table: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Config::load(&|name| table.get(name).map(|value| (*value).to_owned()))
}

/// Which name is blamed, and why.
fn refused(variables: &[(&str, &str)]) -> (String, String) {
    let error = load(variables).expect_err("the configuration is wrong");
    (error.name, error.why)
}

fn file(text: &str) -> (NamedTempFile, String) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

fn with_file(text: &str) -> Result<Config, ConfigError> {
    let (_kept, path) = file(text);
    load(&[("CREDITD_CONFIG", &path)])
}

#[test]
fn nothing_set_is_the_defaults() {
    let config = load(&[]).unwrap();
    assert!(config.database_url.is_none() && config.catalog.is_none() && config.api_keys.is_empty());
    assert_eq!(config.listen.to_string(), DEFAULT_LISTEN);
    assert_eq!((config.max_connections, config.allow_unsafe_database), (32, false));
    assert_eq!((config.log_format, config.log_filter.as_deref()), (LogFormat::Text, None));
    assert_eq!((config.stripe.api_base.as_str(), config.stripe.api_version.as_str()), (BASE_URL, API_VERSION));
    assert!(config.stripe.secret_key.is_none() && config.stripe.webhook_secrets.is_empty());
    assert!(config.stripe.grant_free_checkouts && !config.stripe.park_unknown_prices);
    let back = config.stripe.money_back;
    assert!(!back.write_off_spent && !back.freeze_on_warning && !back.keep_on_balance_notes);
    assert_eq!((config.stripe.cutover_at, config.livemode().unwrap()), (None, None));
    assert!(!config.hide_installed_postgres);
    assert_eq!(config.catch_up_every(), Some(Duration::from_mins(10)));
    assert_eq!(config.surface(), Surface::default());
    let charger = &config.charger;
    assert_eq!((charger.mode, charger.automatic_tax), (ChargeMode::PaymentIntent, false));
    assert_eq!((&charger.return_url, charger.usual_currency), (&None, None));
    let most = ["eur", "gbp", "usd"].map(|code| (code.parse().unwrap(), 50_000));
    assert_eq!(charger.usual_month, BTreeMap::from(most));
    assert!(!config.lacks_return_url(), "there is no Stripe to pay through");
}

#[test]
fn every_variable_is_taken() {
    let config = load(&[
        ("DATABASE_URL", " postgres://a@b/c\n"),
        ("STRIPE_SECRET_KEY", "sk_test_1"),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_0123456789abcdef, whsec_fedcba9876543210,"),
        ("STRIPE_API_BASE", "http://127.0.0.1:1"),
        ("STRIPE_API_VERSION", "2026-01-01.x"),
        ("CREDITD_LISTEN", "127.0.0.1:9"),
        ("CREDITD_API_KEYS", "app:0123456789abcdef, finance:0123456789abcdeg"),
        ("CREDITD_CATALOG", "a.toml"),
        ("CREDITD_PG_BIN", "/pg"),
        ("CREDITD_PG_CACHE", "/cache"),
        ("CREDITD_TEST_HIDE_POSTGRES", "1"),
        ("CREDITD_LOG_FORMAT", "json"),
        ("RUST_LOG", "debug"),
    ])
    .unwrap();
    assert_eq!(config.database_url.as_ref().unwrap().expose_secret(), "postgres://a@b/c");
    assert_eq!(config.stripe.secret_key.as_ref().unwrap().expose_secret(), "sk_test_1");
    assert_eq!((config.stripe.webhook_secrets.len(), config.stripe.webhook_secret_texts.len()), (2, 2));
    assert_eq!(config.stripe.api_base, "http://127.0.0.1:1");
    assert_eq!(config.stripe.api_version, "2026-01-01.x");
    assert_eq!(config.listen.port(), 9);
    let scopes: Vec<&str> = config.api_keys.iter().map(|key| key.scope.as_str()).collect();
    assert_eq!(scopes, ["app", "finance"]);
    assert_eq!(config.api_keys[1].secret.expose_secret(), "0123456789abcdeg");
    assert_eq!(config.catalog, Some(PathBuf::from("a.toml")));
    assert_eq!((config.pg_bin, config.pg_cache), (Some(PathBuf::from("/pg")), PathBuf::from("/cache")));
    assert!(config.hide_installed_postgres);
    assert_eq!((config.log_format, config.log_filter.as_deref()), (LogFormat::Json, Some("debug")));
}

#[test]
fn every_key_of_the_file_is_taken_and_variables_stand_above_it() {
    let text = r#"
listen = "127.0.0.1:7"
catalog = "file.toml"
[database]
max_connections = 24
allow_unsafe = true
[http]
max_connections = 16
[metrics]
public = false
[stripe]
mode = "live"
api_base = "http://127.0.0.1:2"
api_version = "v"
cutover_at = "2026-11-01T00:00:00Z"
grant_free_checkouts = false
unknown_price = "park"
spent_credits = "write_off"
fraud_warnings = "freeze"
balance_credit_notes = "keep"
catch_up_minutes = 0
strict_future = true
[charger]
mode = "invoice"
automatic_tax = true
return_url = "https://app.example/billing"
max_per_month = { usd = "20.50", JPY = "3000" }
default_currency = "EUR"
"#;
    let config = with_file(text).unwrap();
    let surface = config.surface();
    assert_eq!((surface.limits.connections, surface.metrics_public), (16, false));
    assert_eq!((config.listen.port(), config.catalog), (7, Some(PathBuf::from("file.toml"))));
    assert_eq!((config.max_connections, config.allow_unsafe_database), (24, true));
    assert_eq!(config.stripe.livemode, Some(true));
    assert_eq!((config.stripe.api_base.as_str(), config.stripe.api_version.as_str()), ("http://127.0.0.1:2", "v"));
    assert_eq!(config.stripe.cutover_at.unwrap().to_string(), "2026-11-01T00:00:00Z");
    assert!(!config.stripe.grant_free_checkouts && config.stripe.park_unknown_prices);
    let back = config.stripe.money_back;
    assert!(back.write_off_spent && back.freeze_on_warning && back.keep_on_balance_notes);
    assert_eq!(config.stripe.catch_up_minutes, 0);
    assert_eq!(format!("{:?}", config.stripe.tolerance), format!("{:?}", Tolerance::strict()));
    let charger = config.charger;
    assert_eq!((charger.mode, charger.automatic_tax), (ChargeMode::Invoice, true));
    assert_eq!(charger.return_url.as_deref(), Some("https://app.example/billing"));
    let most = [("jpy", 3_000), ("usd", 2_050)].map(|(code, minor)| (code.parse().unwrap(), minor));
    assert_eq!(charger.usual_month, BTreeMap::from(most), "what is written stands in place of the defaults");
    assert_eq!(charger.usual_currency, Some("eur".parse().unwrap()));
    let (_kept, path) = file(text);
    let config = load(&[
        ("CREDITD_CONFIG", &path),
        ("CREDITD_LISTEN", "127.0.0.1:9"),
        ("CREDITD_CATALOG", "a.toml"),
        ("STRIPE_API_BASE", "http://127.0.0.1:1"),
        ("STRIPE_API_VERSION", "w"),
    ])
    .unwrap();
    assert_eq!((config.listen.port(), config.catalog), (9, Some(PathBuf::from("a.toml"))));
    assert_eq!((config.stripe.api_base.as_str(), config.stripe.api_version.as_str()), ("http://127.0.0.1:1", "w"));
}

#[test]
fn every_secret_may_come_from_a_file_but_not_from_both() {
    let values = [
        ("DATABASE_URL", "postgres://a@b/c"),
        ("STRIPE_SECRET_KEY", "sk_test_1"),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_0123456789abcdef"),
        ("CREDITD_API_KEYS", "admin:0123456789abcdef"),
    ];
    for (name, value) in values {
        let file_name = format!("{name}_FILE");
        let (_kept, path) = file(&format!("{value}\n"));
        let config = load(&[(&file_name, &path)]).unwrap();
        let taken = [
            config.database_url.as_ref(),
            config.stripe.secret_key.as_ref(),
            config.stripe.webhook_secret_texts.first(),
            config.api_keys.first().map(|key| &key.secret),
        ];
        let taken: Vec<&str> = taken.into_iter().flatten().map(ExposeSecret::expose_secret).collect();
        assert_eq!(taken, [value.trim_start_matches("admin:")], "{name}");
        let (blamed, why) = refused(&[(name, value), (&file_name, &path)]);
        assert_eq!((blamed.as_str(), why), (name, format!("is set, and so is {file_name}: keep one")));
        let (_kept, path) = file(" \n");
        assert_eq!(refused(&[(&file_name, &path)]), (file_name.clone(), format!("{path} is empty")));
        assert_eq!(refused(&[(&file_name, "/nowhere/secret")]).0, file_name);
        let (_kept, path) = file(&"x".repeat((1 << 20) + 1));
        let (blamed, why) = refused(&[(&file_name, &path)]);
        assert!(blamed == file_name && why.contains("is larger than"), "{why}");
    }
}

#[test]
fn a_bad_value_is_refused_by_its_variable() {
    let cases = [
        ("CREDITD_LISTEN", "8080", "`8080` has to be an address and port"),
        ("CREDITD_LISTEN", "localhost:8080", "has to be an address and port"),
        ("CREDITD_LOG_FORMAT", "xml", "`xml` has to be text or json"),
        ("CREDITD_CONFIG", "/nowhere/creditd.toml", "/nowhere/creditd.toml"),
        ("CREDITD_API_KEYS", "0123456789abcdef0", "entry 1 has to be `scope:secret`"),
        ("CREDITD_API_KEYS", "app:0123456789abcdef,root:0123456789abcdef", "entry 2: scope has to be"),
        ("CREDITD_API_KEYS", "app:0123456789abcde", "entry 1: the secret has to have 16 characters or more"),
    ];
    for (name, value, wanted) in cases {
        let (blamed, why) = refused(&[(name, value)]);
        assert_eq!(blamed, name, "{value}");
        assert!(why.contains(wanted), "{why}");
        assert!(!why.contains("0123456789abcde"), "a secret is told: {why}");
    }
}

#[test]
fn a_bad_key_of_the_file_is_refused_by_its_name() {
    for (text, wanted) in [
        ("[database]\nmax_connections = 23", "database.max_connections"),
        ("[database]\nmax_connections = 501", "database.max_connections"),
        ("[http]\nmax_connections = 15", "http.max_connections"),
        ("[http]\nmax_connections = 65537", "http.max_connections"),
        ("[stripe]\nmode = \"prod\"", "stripe.mode"),
        ("[stripe]\ncatch_up_minutes = 1441", "stripe.catch_up_minutes"),
        ("[stripe]\nunknown_price = \"drop\"", "stripe.unknown_price"),
        ("[stripe]\nspent_credits = \"forget\"", "stripe.spent_credits"),
        ("[stripe]\nfraud_warnings = \"panic\"", "stripe.fraud_warnings"),
        ("[stripe]\nbalance_credit_notes = \"\"", "stripe.balance_credit_notes"),
        ("[stripe]\ncutover_at = \"yesterday\"", "stripe.cutover_at"),
        ("listen = \"nowhere\"", "listen"),
        ("[charger]\nmode = \"cash\"", "charger.mode"),
        ("[charger]\nautomatic_tax = true", "charger.automatic_tax"),
        ("[charger]\nmode = \"payment_intent\"\nautomatic_tax = true", "charger.automatic_tax"),
        ("[charger]\nreturn_url = \"javascript:alert(1)\"", "charger.return_url"),
        ("[charger]\nreturn_url = \"\"", "charger.return_url"),
        ("[charger]\ndefault_currency = \"dollars\"", "charger.default_currency"),
        ("[charger.max_per_month]\ndollars = \"5\"", "charger.max_per_month.dollars"),
        ("[charger.max_per_month]\nusd = \"5.001\"", "charger.max_per_month.usd"),
        ("[charger.max_per_month]\njpy = \"5.5\"", "charger.max_per_month.jpy"),
        ("[charger.max_per_month]\nusd = \"0\"", "charger.max_per_month.usd"),
        ("[charger.max_per_month]\nusd = \"-5\"", "charger.max_per_month.usd"),
        ("[charger.max_per_month]\nusd = \"plenty\"", "charger.max_per_month.usd"),
        ("[charger.max_per_month]\nusd = \"5\"\nUSD = \"5\"", "charger.max_per_month.usd"),
    ] {
        assert_eq!(with_file(text).expect_err(text).name, wanted);
    }
    for (text, wanted) in [
        ("colour = 1", "unknown field `colour`"),
        ("[stripe]\nsecret_key = \"sk_live_1\"", "unknown field `secret_key`"),
        ("[database]\nurl = \"x\"", "unknown field `url`"),
        ("[charger]\nmax_per_day = 1", "unknown field `max_per_day`"),
        ("[charger.max_per_month]\nusd = 500", "string"),
        ("listen = ", "listen"),
    ] {
        let (_kept, path) = file(text);
        let (blamed, why) = refused(&[("CREDITD_CONFIG", &path)]);
        assert_eq!(blamed, path, "{text}");
        assert!(why.contains(wanted), "{why}");
    }
}

#[test]
fn the_mode_is_told_by_the_key_which_the_file_must_agree_with() {
    for (key, mode, wanted) in [
        (Some("sk_live_1"), None, Some(true)),
        (Some("rk_test_1"), None, Some(false)),
        (Some("sk_live_1"), Some("live"), Some(true)),
        (Some("odd"), Some("test"), Some(false)),
        (Some("odd"), None, None),
        (None, Some("live"), Some(true)),
    ] {
        let (_kept, path) = file(&mode.map_or_else(String::new, |mode| format!("[stripe]\nmode = \"{mode}\"")));
        let mut variables = vec![("CREDITD_CONFIG", path.as_str())];
        variables.extend(key.map(|key| ("STRIPE_SECRET_KEY", key)));
        assert_eq!(load(&variables).unwrap().livemode().unwrap(), wanted, "{key:?} {mode:?}");
    }
    let (_kept, path) = file("[stripe]\nmode = \"test\"");
    let config = load(&[("CREDITD_CONFIG", &path), ("STRIPE_SECRET_KEY", "sk_live_1")]).unwrap();
    assert_eq!(config.livemode().unwrap_err().name, "stripe.mode");
}

#[test]
fn a_missing_address_to_come_back_to_is_noticed_where_links_would_need_one() {
    for (text, wanted) in [
        ("", true),
        ("[charger]\nreturn_url = \"https://app.example/\"", false),
        ("[charger]\nmode = \"invoice\"", false),
    ] {
        let (_kept, path) = file(text);
        let config = load(&[("CREDITD_CONFIG", &path), ("STRIPE_SECRET_KEY", "sk_test_1")]).unwrap();
        assert_eq!(config.lacks_return_url(), wanted, "{text}");
    }
}

#[test]
fn no_secret_is_shown() {
    let config = load(&[
        ("DATABASE_URL", "postgres://a:hidden1@b/c"),
        ("STRIPE_SECRET_KEY", "sk_test_hidden2"),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_hidden3hidden3hidden3"),
        ("CREDITD_API_KEYS", "admin:hidden4hidden4hidden4"),
    ])
    .unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains("hidden1") && !shown.contains("hidden2"), "{shown}");
    assert!(!shown.contains("hidden3") && !shown.contains("hidden4"), "{shown}");
}
