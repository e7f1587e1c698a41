//! Charges by a payment intent: succeeded, declined, asked for, unknown.

use super::{Shop, rule};

#[tokio::test]
async fn a_balance_at_the_threshold_is_topped_up_once() {
    let shop = Shop::open().await;
    shop.set(rule(Some("pm_card_visa"))).await;
    shop.settled().await;
    assert_eq!(shop.charged(), [2_000], "5 credits are at the threshold: enabling fires at once");
    assert_eq!(shop.credits().await, "25");
    shop.spend("one", "1900").await;
    shop.settled().await;
    assert_eq!((shop.credits().await.as_str(), shop.charged().len()), ("6", 1), "6 are above the threshold");
    shop.spend("two", "100").await;
    shop.settled().await;
    assert_eq!(shop.charged(), [2_000, 2_000]);
    assert_eq!(shop.credits().await, "25");
    shop.close().await;
}
