//! The daemon's role: everything the daemon does works, and the ledger cannot be changed.

use creditd::domain::command::{Command, Decision, IdempotencyKey, Track, WhenShort};
use creditd::domain::credits::Quantity;
use creditd::posting::Posting;
use sqlx::{Connection, PgConnection};

use crate::support::database::{fresh_url, store_at};

const ROLES: &str = include_str!("../../deploy/roles.sql");

fn track() -> Track {
    Track {
        when_short: WhenShort::Cap,
        ..Track::of(creditd::domain::catalog::FeatureId::new("basic_messages").unwrap(), Quantity::whole(1))
    }
}

#[tokio::test]
async fn the_daemon_works_as_its_role_and_cannot_change_the_ledger() {
    let url = fresh_url().await;
    if !url.contains("postgres@") {
        println!("skipped: TEST_DATABASE_URL names a server whose roles are not ours to make");
        return;
    }
    let owner = store_at(&url).await;
    owner.ensure_instance(false, None).await.unwrap();
    let catalog = creditd::domain::catalog::file::read(crate::support::app::CATALOG).unwrap();
    let _: creditd::store::catalog::Applied = owner.apply_catalog(&catalog, [1; 32], false).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(ROLES).execute(&mut connection).await.unwrap();

    let role_url = url.replace("postgres@", "creditd_app@");
    let store = store_at(&role_url).await;
    assert!(!store.safety().await.unwrap().superuser);
    assert_eq!(store.pending_migrations().await.unwrap(), 0);
    let account = store.claim_customer("ada").await.unwrap().account();
    let posting = Posting::start(&store);
    let key = IdempotencyKey::new("track", "k", &track());
    let decision = posting.post(account, Some(key), Command::Track(track())).await.unwrap();
    assert!(matches!(decision, Decision::Applied(_)));
    posting.shut_down().await;
    store.empty_next_slot().await.unwrap();
    assert!(!store.verify().await.unwrap().differs());

    let mut as_role = PgConnection::connect(&role_url).await.unwrap();
    for attempt in [
        "UPDATE entries SET amount = 1",
        "DELETE FROM entries",
        "TRUNCATE entries",
        "ALTER TABLE entries ADD COLUMN x int",
        "DROP TABLE entries",
        "CREATE TRIGGER t BEFORE INSERT ON entries EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "UPDATE _sqlx_migrations SET success = false",
    ] {
        let refusal = sqlx::raw_sql(attempt).execute(&mut as_role).await.unwrap_err();
        let code = refusal.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{attempt}: {refusal}");
    }
}
