//! What a catalogue means: which pools usage draws from, what a Stripe price buys, and that it survives being stored.

use creditd::domain::catalog::{Catalog, FeatureId, Sold, file};
use creditd::domain::credits::Quantity;
use rstest::rstest;

const TEXT: &str = r#"
[features.messages]
type = "metered"
[features.zebra_credits]
type = "credit_system"
costs = { messages = "0.5" }
[features.all_credits]
type = "credit_system"
costs = { messages = "2" }
[features.sso]
type = "boolean"
[plans.pro]
prices = [
  { amount = "10", currency = "usd", every = "month", stripe_price = "price_pro", also = ["price_old"], stripe_product = "prod_pro" },
]
[[plans.pro.items]]
feature = "sso"
[plans.top_up]
[[plans.top_up.items]]
feature = "zebra_credits"
packs = [
  { credits = "1", amount = "1", currency = "usd", stripe_price = "price_one", stripe_product = "prod_pack" },
  { credits = "9", amount = "8", currency = "usd", also = ["price_nine"] },
]
"#;

fn catalog() -> Catalog {
    file::read(TEXT).expect("the catalogue has no mistake")
}

fn feature(name: &str) -> FeatureId {
    FeatureId::new(name).expect("a feature's name")
}

#[test]
fn own_grants_come_first_then_credit_systems_by_name() {
    let pools = catalog().pools(&feature("messages"));
    let four: Quantity = "4".parse().expect("a quantity");
    let told: Vec<_> = pools
        .iter()
        .map(|pool| (pool.feature.as_str(), pool.own, pool.cost(four).expect("a cost").to_string()))
        .collect();
    assert_eq!(
        told,
        [
            ("messages", true, "4".to_owned()),
            ("all_credits", false, "8".to_owned()),
            ("zebra_credits", false, "2".to_owned()),
        ]
    );
}

#[rstest]
#[case::boolean("sso")]
#[case::unknown("nothing")]
fn what_has_no_credits_has_no_pools(#[case] name: &str) {
    assert_eq!(catalog().pools(&feature(name)), []);
}

#[test]
fn a_credit_system_is_its_own_pool() {
    let pools = catalog().pools(&feature("all_credits"));
    assert_eq!(pools.iter().map(|pool| pool.own).collect::<Vec<_>>(), [true]);
}

fn told(sold: Option<&Sold<'_>>) -> String {
    match sold {
        None => "nothing".to_owned(),
        Some(Sold::PlanFee { plan, price }) => format!("fee of {plan} at {}", price.amount.amount),
        Some(Sold::Pack { plan, item, pack }) => format!("{} credits of {plan}.{}", pack.credits, item.id),
    }
}

#[rstest]
#[case::price(Some("price_pro"), None, "fee of pro at 10.00")]
#[case::grandfathered(Some("price_old"), None, "fee of pro at 10.00")]
#[case::product(None, Some("prod_pro"), "fee of pro at 10.00")]
#[case::pack(Some("price_one"), None, "1 credits of top_up.zebra_credits")]
#[case::pack_grandfathered(Some("price_nine"), None, "9 credits of top_up.zebra_credits")]
#[case::unknown_price_of_a_known_product(Some("price_new"), Some("prod_pack"), "1 credits of top_up.zebra_credits")]
#[case::price_before_product(Some("price_nine"), Some("prod_pro"), "9 credits of top_up.zebra_credits")]
#[case::a_product_is_no_price(Some("prod_pro"), None, "nothing")]
#[case::a_price_is_no_product(None, Some("price_pro"), "nothing")]
#[case::unknown(Some("price_new"), Some("prod_new"), "nothing")]
#[case::neither(None, None, "nothing")]
fn a_stripe_price_or_product_means_one_thing(
    #[case] price: Option<&str>,
    #[case] product: Option<&str>,
    #[case] expected: &str,
) {
    assert_eq!(told(catalog().sold(price, product).as_ref()), expected);
}

#[test]
fn the_only_credit_system_is_the_default_and_two_have_none() {
    let mut catalog = catalog();
    assert_eq!(catalog.default_credit_feature(), None);
    catalog.features.remove(&feature("all_credits"));
    assert_eq!(catalog.default_credit_feature(), Some(&feature("zebra_credits")));
    catalog.default_credits = Some(feature("messages"));
    assert_eq!(catalog.default_credit_feature(), Some(&feature("messages")));
}

#[rstest]
#[case::meaning(TEXT)]
#[case::sample(include_str!("../../deploy/catalog.toml"))]
#[case::every_form(include_str!("../fixtures/catalog/every_form.toml"))]
fn a_catalogue_survives_being_stored_as_json(#[case] text: &str) {
    let catalog = file::read(text).expect("the catalogue has no mistake");
    let stored = serde_json::to_value(&catalog).expect("a catalogue becomes JSON");
    // By value and by text: a database driver hands out either.
    let by_text: Catalog = serde_json::from_str(&stored.to_string()).expect("JSON becomes a catalogue");
    let by_value: Catalog = serde_json::from_value(stored).expect("JSON becomes a catalogue");
    assert_eq!(by_value, catalog);
    assert_eq!(by_text, catalog);
}
