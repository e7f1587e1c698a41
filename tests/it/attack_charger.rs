//! The charger under attack: rules set anew, switched off or replaced while something of theirs is open, wallets that take
//! nothing, events out of order, and requests that were lost for a day.

use creditd::domain::attachment::CarryOver;
use creditd::domain::catalog::PlanId;
use creditd::domain::command::{Attach, Charging, Command, Decision, OrderTopUp, Rejection, SetRule, Track, TryResult};
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::entry::Source;
use creditd::domain::ids::{AttemptId, WalletId};
use creditd::domain::top_up::decline::Why;
use creditd::domain::top_up::{
    Buy, Ceiling, ChargeMode, Consent, Link, PauseReason, Rule, RuleOrigin, TopUp, TopUpState,
};
use creditd::domain::wallet::{Terminate, WalletChange, WalletOrder};
use creditd::simulator::{CardOrder, Fault, FaultRule};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::domain_laws::{feature, given};
use crate::support::world::World;
use crate::top_up::{Shop, rule as rule_of_shop};

/// Ten credits cost a dollar, ten of gold two; whoever has `pro` is topped up by the plan.
const CATALOG: &str = r#"
[features.messages]
type = "metered"
[features.credits]
type = "credit_system"
costs = { messages = "1" }
[features.gold]
type = "credit_system"
costs = { messages = "1" }
[plans.packs]
add_on = true
[[plans.packs.items]]
feature = "credits"
packs = [{ credits = "10", amount = "1.00", currency = "usd" }]
[[plans.packs.items]]
id = "gold"
feature = "gold"
packs = [{ credits = "10", amount = "2.00", currency = "usd" }]
[plans.pro]
[[plans.pro.items]]
feature = "credits"
included = "15"
[[plans.pro.top_ups]]
feature = "credits"
threshold = "20"
target = "40"
currency = "usd"
max_per_month = { money = "12.00" }
consent = "v1"
"#;

const HOUR: i64 = 3_600;

/// A customer without any credits.
fn without_credits() -> World {
    World::on(CATALOG, "2026-01-20T12:00:00Z")
}

/// A customer with so many credits.
fn with_credits(credits: &str) -> World {
    let mut world = without_credits();
    world.must(&Command::Grant(given("credits", credits)));
    world
}

impl World {
    fn must(&mut self, command: &Command) {
        let _: Decision = self.decide(command).unwrap();
    }

    fn charging(&mut self, charging: Charging) {
        self.must(&Command::Charging(charging));
    }

    fn set(&mut self, rule: SetRule) {
        self.charging(Charging::SetRule(Box::new(rule)));
    }

    fn attach(&mut self, plan: &str) {
        let plan = PlanId::new(plan).unwrap();
        self.must(&Command::Attach(Attach {
            plan,
            entity: String::new(),
            quantity: 1,
            carry_over: CarryOver::default(),
        }));
    }

    fn spend(&mut self, units: i64) {
        self.must(&Command::Track(Track::of(feature("messages"), Quantity::whole(units))));
    }

    fn only(&self) -> TopUp {
        let open = self.open();
        assert_eq!(open.len(), 1, "{open:#?}");
        open[0].clone()
    }

    fn rule(&self, name: &str) -> &Rule {
        self.state.rules.iter().find(|rule| rule.name == name).unwrap()
    }

    /// Begins a try of the one that is open.
    fn begin(&mut self, card: &str) -> AttemptId {
        let top_up = self.only();
        let begin = self.next_try(&top_up, card, "charge");
        let attempt = begin.attempt;
        self.charging(Charging::BeginTry(Box::new(begin)));
        attempt
    }

    fn ended(&mut self, attempt: AttemptId, result: TryResult) {
        let top_up = self
            .state
            .top_ups
            .iter()
            .find(|top_up| top_up.last_try.as_ref().is_some_and(|last| last.attempt == attempt))
            .unwrap()
            .id;
        self.charging(Charging::TryEnded { top_up, attempt, result });
    }

    /// A try that comes to this, of a card.
    fn tries(&mut self, card: &str, result: TryResult) -> AttemptId {
        let attempt = self.begin(card);
        self.ended(attempt, result);
        attempt
    }

    fn pay(&mut self) {
        let top_up = self.only();
        let paid = self.payment_of(&top_up);
        self.charging(Charging::Paid(Box::new(paid)));
    }

    fn default_wallet(&self) -> WalletId {
        self.state.wallets.iter().find(|wallet| wallet.is_default).unwrap().id
    }

    fn freeze(&mut self, wallet: WalletId, frozen: bool) {
        self.must(&Command::Wallet(WalletOrder::Change(WalletChange {
            wallet,
            name: None,
            priority: None,
            default_expiry_days: None,
            debt_limit: None,
            frozen: Some(frozen),
            metadata: None,
        })));
    }

    fn terminate(&mut self, wallet: WalletId) {
        let reason = "moved".to_owned();
        self.must(&Command::Terminate(Terminate { wallet, reason, source: Source::Api, actor: None }));
    }
}

/// At 5 or below it buys 10 credits for a dollar.
fn rule() -> SetRule {
    SetRule {
        name: "main".to_owned(),
        enabled: true,
        feature: feature("credits"),
        wallet: None,
        threshold: Credits::whole(5),
        buy: Buy::Quantity(Credits::whole(10)),
        currency: None,
        usual_currency: None,
        payment_method: None,
        mode: ChargeMode::PaymentIntent,
        per_day: Ceiling::default(),
        per_month: Ceiling::default(),
        usual_month: [("usd".parse().unwrap(), 1_200)].into(),
        cooldown_seconds: 0,
        consent: Some(Consent { by: "ada".to_owned(), at: Timestamp::UNIX_EPOCH, text_version: "1".to_owned() }),
    }
}

fn order() -> Command {
    let rule = rule();
    Command::Charging(Charging::Order(Box::new(OrderTopUp {
        feature: rule.feature,
        wallet: None,
        quantity: Credits::whole(10),
        currency: None,
        payment_method: None,
        mode: ChargeMode::PaymentIntent,
        usual_currency: None,
        usual_month: rule.usual_month,
    })))
}

fn declined(code: &str) -> TryResult {
    why(code, None)
}

fn why(code: &str, advice: Option<&str>) -> TryResult {
    TryResult::Declined {
        payment_intent: Some("pi_1".to_owned()),
        why: Why {
            code: Some("card_declined".to_owned()),
            decline_code: Some(code.to_owned()),
            advice_code: advice.map(str::to_owned),
        },
    }
}

fn asks_owner() -> TryResult {
    TryResult::NeedsAction { payment_intent: Some("pi_1".to_owned()) }
}

fn page(world: &World) -> Link {
    let end = world.now.checked_add(SignedDuration::from_hours(24)).unwrap();
    Link { url: "https://pay.test/1".to_owned(), expires_at: Some(end), session: Some("cs_1".to_owned()), number: 1 }
}

/// What is bought for a frozen wallet cannot be spent there: the balance stays low, and each purchase would be followed by
/// the next, up to the month's most.
#[test]
fn a_frozen_wallet_is_not_filled_again_and_again() {
    let mut world = with_credits("30");
    world.set(rule());
    let wallet = world.default_wallet();
    world.freeze(wallet, true);
    world.spend(1);
    world.charging(Charging::Look);
    assert_eq!(world.open(), [], "nothing can be spent, and nothing more would be with more of it");
    world.freeze(wallet, false);
    world.spend(28);
    world.pay_if_open();
    assert_eq!(world.state.top_ups.len(), 1, "it goes on where it was");
}

/// What is bought for a wallet that was ended goes to the default one, so the watched balance would stay at nothing.
#[test]
fn an_ended_wallet_is_not_filled_for_ever() {
    let mut world = with_credits("30");
    let wallet = world.default_wallet();
    world.set(SetRule { wallet: Some(wallet), ..rule() });
    world.terminate(wallet);
    world.must(&Command::Grant(given("credits", "100")));
    for _ in 0..3 {
        world.spend(1);
        world.charging(Charging::Look);
        world.pay_if_open();
    }
    assert_eq!(world.state.top_ups, [], "the wallet is over");
    let refused = world.decide(&Command::Charging(Charging::SetRule(Box::new(SetRule {
        wallet: Some(wallet),
        name: "other".to_owned(),
        ..rule()
    }))));
    assert!(matches!(refused, Err(Rejection::WalletClosed(_))), "{refused:?}");
    let Command::Charging(Charging::Order(order)) = order() else { unreachable!() };
    let order = OrderTopUp { wallet: Some(wallet), ..*order };
    let refused = world.decide(&Command::Charging(Charging::Order(Box::new(order))));
    assert!(matches!(refused, Err(Rejection::WalletClosed(_))), "{refused:?}");
}

impl World {
    fn pay_if_open(&mut self) {
        if !self.open().is_empty() {
            self.pay();
        }
    }
}

/// A card that the app has taken out of the rule is not charged a day later by what was decided with it.
#[test]
fn a_card_taken_out_of_a_rule_is_not_charged_any_more() {
    let mut world = with_credits("3");
    world.set(SetRule { payment_method: Some("pm_old".to_owned()), ..rule() });
    world.tries("pm_old", declined("insufficient_funds"));
    assert_eq!(world.only().state, TopUpState::Open, "it waits for tomorrow");
    world.set(SetRule { payment_method: Some("pm_new".to_owned()), ..rule() });
    let open = world.only();
    assert_eq!((open.terms.payment_method.as_deref(), open.tries), (Some("pm_new"), 0));
    assert_eq!(world.rule("main").month.minor, 100, "one of them counts");
}

/// A rule that is about something else now does not buy what it was about before.
#[test]
fn a_rule_about_another_feature_buys_nothing_of_the_first() {
    let mut world = with_credits("3");
    world.set(rule());
    world.tries("pm_1", declined("insufficient_funds"));
    world.set(SetRule { feature: feature("gold"), ..rule() });
    assert_eq!(world.only().terms.feature, feature("gold"));
    assert_eq!(world.rule("main").month.minor, 200, "only what is wanted now counts");
}

/// A most that was lowered below what waits for tomorrow holds that back too.
#[test]
fn a_lowered_most_is_kept_by_what_waits() {
    let mut world = with_credits("3");
    world.set(rule());
    world.tries("pm_1", declined("insufficient_funds"));
    world.set(SetRule { per_month: Ceiling { count: None, minor: Some(50) }, ..rule() });
    assert_eq!(world.open(), []);
    assert_eq!(world.rule("main").month.minor, 0);
}

/// Setting a rule anew with the same words drops nothing: it is no way to more than one try a day.
#[test]
fn a_rule_set_anew_with_the_same_words_leaves_what_is_open() {
    let mut world = with_credits("3");
    world.set(rule());
    world.tries("pm_1", declined("insufficient_funds"));
    let before = world.only();
    world.set(rule());
    world.set(SetRule { threshold: Credits::whole(6), ..rule() });
    assert_eq!(world.only(), before);
}

/// A rule of the app's own, on or off, stands in a plan's place: what the plan's decided before is not tried again.
#[rstest]
#[case(true)]
#[case(false)]
fn a_plans_rule_that_was_replaced_charges_nothing_more(#[case] enabled: bool) {
    let mut world = without_credits();
    world.attach("pro");
    world.tries("pm_1", declined("insufficient_funds"));
    let of_plan = world.only().id;
    world.set(SetRule { enabled, threshold: Credits::ZERO, ..rule() });
    let known = world.state.top_ups.iter().find(|known| known.id == of_plan).unwrap();
    assert_eq!((known.state, known.reason.as_deref()), (TopUpState::Dropped, Some("replaced_by_other_rule")));
    world.charging(Charging::DropRule("main".to_owned()));
    assert_eq!(world.only().rule, "plan/pro/credits", "its turn again");
}

/// The same while it was under way: it ends, and is not tried again.
#[test]
fn what_was_under_way_when_a_plans_rule_was_replaced_is_not_tried_again() {
    let mut world = without_credits();
    world.attach("pro");
    let attempt = world.begin("pm_1");
    world.set(SetRule { enabled: false, threshold: Credits::ZERO, ..rule() });
    world.ended(attempt, declined("insufficient_funds"));
    world.later(25 * HOUR);
    if !world.open().is_empty() {
        world.begin("pm_1");
    }
    assert_eq!(world.open(), [], "nothing is charged after it was switched off");
}

/// An event tells late of the failure that a page was opened for: the page stays the only way to pay, and its time stays.
#[rstest]
#[case(why("authentication_required", Some("try_again_later")))]
#[case(declined("insufficient_funds"))]
#[case(why("authentication_required", None))]
#[case(TryResult::Processing { payment_intent: "pi_1".to_owned() })]
#[case(TryResult::NotDone)]
fn what_is_told_late_of_a_try_touches_no_open_page(#[case] late: TryResult) {
    let mut world = with_credits("3");
    world.set(rule());
    let attempt = world.tries("pm_1", asks_owner());
    let (top_up, link) = (world.only().id, page(&world));
    world.charging(Charging::Linked { top_up, link: link.clone() });
    let due = world.only().due_at;
    world.ended(attempt, late);
    let open = world.only();
    assert_eq!((open.state, open.link, open.due_at), (TopUpState::NeedsAction, Some(link), due));
}

/// The same before the page is open: it does not become a decline to be repeated tomorrow beside the page.
#[test]
fn a_card_whose_owner_is_asked_for_is_not_tried_again_beside_the_page() {
    let mut world = with_credits("3");
    world.set(rule());
    let attempt = world.tries("pm_1", asks_owner());
    world.ended(attempt, why("authentication_required", Some("try_again_later")));
    assert_eq!(world.only().state, TopUpState::NeedsAction);
}

/// Setting a paused rule anew resumes it, and what waits for the card's owner goes on waiting; a new card ends that.
#[test]
fn a_new_card_is_charged_also_after_the_rule_was_set_anew() {
    let mut world = with_credits("3");
    world.set(rule());
    world.tries("pm_1", declined("stolen_card"));
    assert_eq!(world.rule("main").paused.map(|paused| paused.because), Some(PauseReason::CardDeclined));
    world.set(rule());
    world.charging(Charging::CardSeen(None));
    assert_eq!(world.only().state, TopUpState::Closing, "the page of the old card is closed");
    let closing = world.only().id;
    world.charging(Charging::Closed(closing));
    assert_eq!(world.only().state, TopUpState::Open, "and the new card is charged");
}

/// An order by hand that waits for the owner of a dead card lets no other be ordered; a new card makes room.
#[test]
fn a_new_card_makes_room_for_another_order() {
    let mut world = with_credits("30");
    world.must(&order());
    world.tries("pm_1", declined("stolen_card"));
    assert!(world.decide(&order()).is_err());
    world.charging(Charging::CardSeen(None));
    let closing = world.only().id;
    world.charging(Charging::Closed(closing));
    world.must(&order());
}

/// Nobody is asked to pay for what was switched off while it was under way.
#[rstest]
#[case(false)]
#[case(true)]
fn nobody_is_asked_to_pay_after_switching_off(#[case] dropped: bool) {
    let mut world = with_credits("3");
    world.set(rule());
    let attempt = world.begin("pm_1");
    if dropped {
        world.charging(Charging::DropRule("main".to_owned()));
    } else {
        world.set(SetRule { enabled: false, ..rule() });
    }
    world.ended(attempt, asks_owner());
    let closing = world.only();
    assert_eq!((closing.state, closing.reason.as_deref()), (TopUpState::Closing, Some("disabled")));
    world.charging(Charging::Closed(closing.id));
    assert_eq!(world.open(), []);
    assert_eq!(world.state.rules[0].month.minor, 0);
}

/// News of any card has what waits for tomorrow tried at once, but not the card that was declined today.
#[test]
fn one_card_is_tried_once_a_day_whatever_is_told_of_cards() {
    let mut world = with_credits("3");
    world.set(rule());
    world.tries("pm_1", declined("insufficient_funds"));
    let tomorrow = world.only().due_at;
    world.later(HOUR);
    world.charging(Charging::CardSeen(None));
    world.begin("pm_1");
    let open = world.only();
    assert_eq!((open.state, open.tries, open.due_at), (TopUpState::Open, 1, tomorrow), "the same card waits");
    world.charging(Charging::CardSeen(None));
    world.begin("pm_2");
    let open = world.only();
    assert_eq!((open.state, open.tries), (TopUpState::Charging, 2), "another one need not");
}

/// Rules that are made and taken away again while low leave no end of rows, each of which would be read with every use.
#[test]
fn making_and_dropping_rules_does_not_pile_them_up() {
    let mut world = with_credits("3");
    for number in 0..400 {
        let name = format!("rule-{number}");
        let set = SetRule { name: name.clone(), ..rule() };
        if world.decide(&Command::Charging(Charging::SetRule(Box::new(set)))).is_ok() {
            world.charging(Charging::DropRule(name));
        }
    }
    let kept = world.state.rules.len();
    assert!(kept <= 120, "{kept} rules are kept");
    assert!(world.state.rules.iter().all(|rule| rule.origin == RuleOrigin::Dropped));
    world.later(24 * 40 * HOUR);
    world.set(rule());
    assert_eq!(world.state.rules.len(), 1, "next month they are forgotten");
}

/// Credits that ended while a plan waits for its renewal's invoice charge nobody, also if somebody only looks (rule 14);
/// using something may.
#[test]
fn looking_at_a_balance_charges_nobody_in_the_renewal_gap() {
    let mut world = without_credits();
    world.attach("pro");
    world.set(SetRule { enabled: false, ..rule() });
    world.set(rule());
    world.state.attachments[0].paid_through = world.now.checked_sub(SignedDuration::from_hours(1)).ok();
    world.state.grants.clear();
    world.charging(Charging::Look);
    assert_eq!(world.open(), [], "their end alone charges nobody");
    world.spend(1);
    assert_eq!(world.only().state, TopUpState::Open);
}

impl Shop {
    /// Waits until Stripe was asked for something whose path ends so.
    async fn asked(&self, end: &str) {
        for _ in 0..2_000 {
            if self.app.simulator.log().requests().iter().any(|request| request.path.ends_with(end)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("nobody asked for {end}");
    }

    fn busy(&self, path: &str) {
        self.app.simulator.set_fault_rules(vec![FaultRule::new("POST", path, Fault::Conflict)]).unwrap();
    }
}

/// A cancellation that did not get through for a day is asked for anew under another key: the rule does not wait for ever.
#[tokio::test]
async fn an_intent_that_could_not_be_cancelled_for_a_day_is_cancelled_after_it() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    shop.app.simulator.set_card(&shop.payer, &CardOrder::requires_action()).unwrap();
    shop.busy("/v1/payment_intents/");
    shop.set(rule_of_shop(None)).await;
    shop.wait(|open| open.len() == 1 && open[0].state == TopUpState::NeedsAction).await;
    shop.asked("/cancel").await;
    let intent = shop.open_top_ups().await[0].last_try.clone().unwrap().payment_intent.unwrap();
    shop.later(83_000).await;
    shop.asked(&intent).await;
    shop.app.simulator.set_fault_rules(Vec::new()).unwrap();
    shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    assert!(shop.app.simulator.authenticate(&intent, true).is_err(), "it cannot be paid beside the page");
    assert_eq!(shop.charged(), Vec::<i64>::new());
    shop.close().await;
}

/// The same of an invoice that was to be voided.
#[tokio::test]
async fn an_invoice_that_could_not_be_voided_for_a_day_is_voided_after_it() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    shop.app.simulator.set_card(&shop.payer, &CardOrder::requires_action()).unwrap();
    let rule = SetRule { mode: ChargeMode::Invoice, ..rule_of_shop(None) };
    shop.set(rule.clone()).await;
    let open = shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    let invoice = open[0].last_try.clone().unwrap().invoice.unwrap();
    shop.busy(&format!("/v1/invoices/{invoice}/void"));
    shop.set(SetRule { enabled: false, ..rule }).await;
    shop.asked("/void").await;
    shop.later(83_000).await;
    // What was sent before is through, and what came after found its key too old.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    shop.app.simulator.set_fault_rules(Vec::new()).unwrap();
    shop.settled().await;
    let invoice = shop.app.stripe("GET", &format!("/v1/invoices/{invoice}"), &[]).await;
    assert_eq!((invoice["status"].as_str(), shop.charged()), (Some("void"), vec![]));
    shop.close().await;
}
