//! `creditd verify` on the charger's rows: each change behind the door's back is named by the check it breaks.

use rstest::rstest;
use sqlx::AssertSqlSafe;

use crate::support::database::raw;
use crate::top_up::{Shop, rule};

/// Takes the statement, and tells which checks differ and the first row that each names.
async fn broken(statement: &str) -> Vec<(&'static str, String)> {
    let shop = Shop::open().await;
    shop.set(rule(Some("pm_card_visa"))).await;
    shop.settled().await;
    let pool = raw(&shop.app.url).await;
    let found = shop.app.store.verify().await.unwrap();
    assert!(!found.differs(), "before: {:?}", found.checks);
    for part in statement.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        sqlx::query(AssertSqlSafe(part.to_owned())).execute(&pool).await.unwrap();
    }
    let found = shop.app.store.verify().await.unwrap();
    let differing = found.checks.iter().filter(|check| check.differences > 0);
    let named =
        differing.map(|check| (check.check, format!("{}: {}", check.first[0].row, check.first[0].found))).collect();
    shop.app.daemon.stop().await;
    named
}

#[rstest]
#[case::day_count(
    "UPDATE top_up_rules SET day_count = 2",
    "ceilings",
    "counts 2 top-ups and 2000 minor units in the day"
)]
#[case::month_count("UPDATE top_up_rules SET month_count = 0", "ceilings", "counts 0 top-ups")]
#[case::month_minor(
    "UPDATE top_up_rules SET month_minor = 1999",
    "ceilings",
    "counts 1 top-ups and 1999 minor units in the month"
)]
#[case::no_window("UPDATE top_up_rules SET day_start = NULL", "ceilings", "counts 1 top-ups")]
#[case::foreign_currency(
    "UPDATE top_up_rules SET terms = jsonb_set(terms, '{currency}', '\"eur\"')",
    "ceilings",
    "decided in usd in the month in which it counts eur"
)]
#[case::uncounted("UPDATE top_ups SET state = 'failed', reason = 'x'", "ceilings", "there are 0 and 0")]
#[case::other_credits("UPDATE top_ups SET credits = 21", "top_ups", "gives 21, its grant 20")]
#[case::other_payment(
    "UPDATE top_ups SET payment_id = '00000000-0000-7000-8000-000000000001'",
    "top_ups",
    "its grant by"
)]
#[case::no_grant(
    "UPDATE top_ups SET grant_id = gen_random_uuid()",
    "top_ups",
    "was given by a top-up, and there is none"
)]
#[case::other_item(
    "UPDATE grants SET item_key = 'pack' WHERE item_key = 'top_up'",
    "top_ups",
    "its grant is of item pack"
)]
#[case::unpaid(
    "UPDATE top_ups SET state = 'failed', reason = 'x'",
    "top_ups",
    "was given by a top-up, and that is failed"
)]
#[case::paid_twice(
    "INSERT INTO top_up_tries SELECT account_id, topup_id, 2, gen_random_uuid(), state, stripe_customer, payment_method, 'pi_2',
        invoice, code, decline_code, advice_code, created_at, ended_at FROM top_up_tries",
    "top_ups",
    "was paid by 2 tries, and 0 payments of it go back"
)]
#[case::goes_back_itself(
    "INSERT INTO top_up_excess SELECT account_id, topup_id, payment_id, 'pi_1', currency, amount_minor, 'failed', NULL,
        created_at, now() FROM top_ups",
    "top_ups",
    "both paid it and goes back"
)]
#[case::not_found("DELETE FROM top_up_ids", "top_ups", "is not found by its id")]
#[case::excess_in_no_queue(
    "INSERT INTO top_up_excess SELECT account_id, topup_id, (SELECT payment_id FROM payments LIMIT 1), 'pi_1', currency,
        amount_minor, 'due', NULL, created_at, NULL FROM top_ups; UPDATE top_up_excess SET amount_minor = amount_minor",
    "charge_work",
    "is to go back, and in no queue"
)]
#[case::look_in_no_queue(
    "UPDATE top_up_rules SET look_at = '2999-01-01Z'",
    "charge_work",
    "rule main is to be looked at again at"
)]
#[case::queued_for_nothing(
    "INSERT INTO charge_work (bucket, account_id, kind, owner_id, due_at) SELECT get_byte(uuid_send(account_id), 15) % 16,
        account_id, 'top_up', topup_id, '2999-01-01Z' FROM top_ups",
    "charge_work",
    "is queued, and nothing is to be done"
)]
#[case::wrong_bucket(
    "INSERT INTO charge_work (bucket, account_id, kind, owner_id, due_at)
        SELECT (get_byte(uuid_send(account_id), 15) + 1) % 16, account_id, 'look', account_id, '2999-01-01Z' FROM top_up_rules",
    "charge_work",
    "look is queued in bucket"
)]
#[tokio::test]
async fn a_changed_row_is_named_by_its_check(#[case] statement: &str, #[case] check: &str, #[case] found: &str) {
    let named = broken(statement).await;
    let said = named.iter().find(|(name, _)| *name == check);
    assert!(said.is_some_and(|(_, said)| said.contains(found)), "{named:?}");
}
