//! Every route with every kind of key, and the life of a key.

use creditd::commands::keys::{self, KeysCommand, ScopeArgument};
use creditd::domain::api_key::{KeyText, Scope};
use creditd::domain::ids::KeyId;
use creditd::store::keys::{KeyImport, Revocation};

use crate::http_api::Api;

/// Method, path, and the scopes that get past the door.
const ROUTES: [(&str, &str, &[Scope]); 19] = [
    ("POST", "/api/v1/check", &[Scope::App, Scope::Admin]),
    ("POST", "/api/v1/track", &[Scope::App, Scope::Admin]),
    ("POST", "/api/v1/track/batch", &[Scope::App, Scope::Admin]),
    ("PUT", "/api/v1/customers/ada", &[Scope::App, Scope::Admin]),
    ("GET", "/api/v1/customers/ada", &Scope::ALL),
    ("GET", "/api/v1/customers/ada/grants", &Scope::ALL),
    ("GET", "/api/v1/customers/ada/entries", &Scope::ALL),
    ("GET", "/api/v1/stripe-events", &[Scope::Finance, Scope::Admin]),
    ("POST", "/api/v1/stripe-events/evt_1/replay", &[Scope::Admin]),
    ("POST", "/api/v1/grants", &[Scope::Admin]),
    ("POST", "/api/v1/test-clock/advance", &[Scope::Admin]),
    ("POST", "/api/v1/wallets", &[Scope::Admin]),
    ("GET", "/api/v1/wallets?customer=ada", &Scope::ALL),
    ("GET", "/api/v1/wallets/w", &Scope::ALL),
    ("PATCH", "/api/v1/wallets/w", &[Scope::Admin]),
    ("POST", "/api/v1/wallets/w/terminate", &[Scope::Admin]),
    ("POST", "/api/v1/grants/g/void", &[Scope::Admin]),
    ("POST", "/api/v1/adjustments", &[Scope::Admin]),
    ("GET", "/api/v1/customers/ada/balance", &Scope::ALL),
];

fn random(seed: u8) -> [u8; 30] {
    [seed; 30]
}

#[tokio::test]
async fn every_route_asks_for_its_scope() {
    let api = Api::start().await;
    let elsewhere = KeyText::make(false, Scope::Admin, random(9));
    for (method, path, scopes) in ROUTES {
        let body = if method == "GET" { "" } else { "{}" };
        assert_eq!(api.call(None, method, path, body).await.problem(), (401, "key_missing", ""), "{method} {path}");
        let mut mistyped = api.key(Scope::Admin).to_owned();
        mistyped.pop();
        for wrong in ["x", "some-secret-of-nobody", elsewhere.expose(), &mistyped, &"x".repeat(4_000)] {
            let refused = api.call(Some(wrong), method, path, body).await;
            assert_eq!(refused.problem(), (401, "key_unknown", ""), "{method} {path}");
            assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"creditd\"");
        }
        for scope in Scope::ALL {
            let answer = api.call(Some(api.key(scope)), method, path, body).await;
            if scopes.contains(&scope) {
                assert!(![401, 403].contains(&answer.status.as_u16()), "{scope} {method} {path}");
            } else {
                assert_eq!(answer.problem(), (403, "scope", ""), "{scope} {method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_revoked_key_is_an_unknown_one_at_once() {
    let api = Api::start().await;
    api.customer("ada").await;
    let key = KeyText::make(false, Scope::App, random(3));
    let id = api.store.create_key(&key, Scope::App, "app server", None).await.unwrap();
    let look = async || api.call(Some(key.expose()), "GET", "/api/v1/customers/ada", "").await;
    assert_eq!(look().await.status, 200);
    assert_eq!(api.store.revoke_key(id).await.unwrap(), Revocation::Done);
    api.app.keys.forget();
    assert_eq!(look().await.problem(), (401, "key_unknown", ""));
    assert_eq!(api.store.revoke_key(id).await.unwrap(), Revocation::Before);
    let nobody = KeyId::from_uuid(uuid::Uuid::from_u128(1));
    assert_eq!(api.store.revoke_key(nobody).await.unwrap(), Revocation::Unknown);
    let listed = api.store.list_keys().await.unwrap();
    let listed = listed.iter().find(|known| known.id == id).unwrap();
    assert!(listed.revoked_at.is_some() && listed.last_used_at.is_some());
    assert!(key.expose().starts_with(&listed.shown) && listed.shown.len() <= 24);
}

#[tokio::test]
async fn another_daemon_follows_a_revocation_within_seconds() {
    let api = Api::start().await;
    let key = KeyText::make(false, Scope::Finance, random(4));
    let id = api.store.create_key(&key, Scope::Finance, "finance", None).await.unwrap();
    let look = async || api.call(Some(key.expose()), "GET", "/api/v1/stripe-events", "").await.status.as_u16();
    assert_eq!(look().await, 200);
    assert_eq!(api.store.revoke_key(id).await.unwrap(), Revocation::Done);
    for _ in 0..80 {
        if look().await == 401 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("still let in after eight seconds");
}

#[tokio::test]
async fn an_expired_key_is_an_unknown_one() {
    let api = Api::start().await;
    let key = KeyText::make(false, Scope::Admin, random(5));
    api.store.create_key(&key, Scope::Admin, "old", Some(-1)).await.unwrap();
    let refused = api.call(Some(key.expose()), "GET", "/api/v1/stripe-events", "").await;
    assert_eq!(refused.problem(), (401, "key_unknown", ""));
}

#[tokio::test]
async fn an_imported_secret_works_and_importing_it_again_changes_nothing() {
    let api = Api::start().await;
    let key = KeyText::read("a-secret-of-the-operator").unwrap();
    let KeyImport::Made(id) = api.store.import_key(Scope::Finance, &key, "import").await.unwrap() else {
        panic!("it was there");
    };
    assert_eq!(api.call(Some(key.expose()), "GET", "/api/v1/stripe-events", "").await.status, 200);
    assert_eq!(api.store.revoke_key(id).await.unwrap(), Revocation::Done);
    let KeyImport::Known(known) = api.store.import_key(Scope::Admin, &key, "import").await.unwrap() else {
        panic!("it was not there");
    };
    assert_eq!((known.id, known.scope), (id, Scope::Finance));
    assert!(known.revoked_at.is_some());
}

#[tokio::test]
async fn the_command_line_makes_shows_and_ends_keys() {
    let api = Api::start().await;
    let mut out = Vec::new();
    let create = KeysCommand::Create { scope: ScopeArgument::Admin, name: "ops".to_owned(), expires_in_days: Some(30) };
    keys::run(&api.store, create, false, &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let key = text.lines().next().unwrap();
    assert!(key.starts_with("creditd_test_admin_"));
    assert_eq!(api.call(Some(key), "GET", "/api/v1/stripe-events", "").await.status, 200);
    let mut out = Vec::new();
    keys::run(&api.store, KeysCommand::List, false, &mut out).await.unwrap();
    let listed = String::from_utf8(out).unwrap();
    assert!(listed.contains("ops") && !listed.contains(key));
    let id: KeyId = api.store.list_keys().await.unwrap().iter().find(|key| key.name == "ops").unwrap().id;
    for said in ["is revoked", "was revoked before"] {
        let mut out = Vec::new();
        keys::run(&api.store, KeysCommand::Revoke { id }, false, &mut out).await.unwrap();
        assert!(String::from_utf8(out).unwrap().contains(said));
    }
    let nameless = KeysCommand::Create { scope: ScopeArgument::App, name: String::new(), expires_in_days: None };
    assert!(keys::run(&api.store, nameless, false, &mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn every_statement_of_the_stores_is_understood() {
    use creditd::store::{customers, event_listings, keys, listings};
    use sqlx::{Executor, SqlSafeStr};
    let api = Api::start().await;
    let mut connection = api.store.lane_connection().await.unwrap();
    let all = [&keys::STATEMENTS[..], &customers::STATEMENTS, &listings::STATEMENTS, &event_listings::STATEMENTS];
    for statement in all.concat() {
        assert!(statement.starts_with("-- "));
        connection.prepare(statement.into_sql_str()).await.unwrap();
    }
}
