//! Proration lines of invoices, as the changes they tell: in the old shape and the new one.

use creditd::domain::catalog::{Catalog, PlanId, file};
use creditd::domain::subscription::SubscribedPlan;
use creditd::inbox::intent::{Intent, Interpretation, PaymentIntent, WishedChange};
use creditd::inbox::interpret::{Answers, Context, interpret};
use creditd::stripe::wire::{Event, Wire};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::fixtures::context;

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[plans.pro]
group = "main"
revenue = "credits"
prices = [
  { amount = "10.00", currency = "usd", every = "month", stripe_price = "price_pro" },
  { amount = "9.00", currency = "usd", every = "month", stripe_price = "price_pro_old" },
]
[[plans.pro.items]]
feature = "calls"
included = "10"
reset = "month"
[plans.max]
group = "main"
revenue = "credits"
prices = [{ amount = "20.00", currency = "usd", every = "month", stripe_price = "price_max" }]
[[plans.max.items]]
feature = "calls"
included = "20"
reset = "month"
"#;

/// Start of the month, the change in its middle, and its end.
const START: i64 = 1_790_000_000;
const CHANGE: i64 = START + 15 * 86_400;
const END: i64 = START + 30 * 86_400;

/// One line: price, seats, amount, item, start; proration unless it has the period's start.
#[derive(Clone, Copy)]
struct Line(&'static str, i64, i64, &'static str, i64);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Old,
    New,
}

fn line(shape: Shape, number: usize, of: Line) -> Value {
    let Line(price, seats, amount, item, start) = of;
    let proration = start != START && start != END;
    let end = if start == END { END + 30 * 86_400 } else { END };
    let mut made = json!({
        "id": format!("il_{number}"), "object": "line_item", "amount": amount, "currency": "usd", "quantity": seats,
        "period": { "start": start, "end": end }, "metadata": {},
    });
    // Of two lines that cost nothing the first is the credit.
    let is_credit = amount < 0 || (amount == 0 && number == 0);
    let credited =
        if is_credit && proration { json!({ "invoice": "in_0", "invoice_line_items": ["il_0"] }) } else { Value::Null };
    let details = json!({ "credited_items": credited });
    if shape == Shape::Old {
        made["type"] = json!(if proration { "invoiceitem" } else { "subscription" });
        made["price"] =
            json!({ "id": price, "object": "price", "product": "prod_1", "recurring": { "usage_type": "licensed" } });
        made["proration"] = json!(proration);
        made["proration_details"] = details;
        made["subscription"] = json!("sub_1");
        made["subscription_item"] = json!(item);
    } else {
        made["pricing"] = json!({ "price_details": { "price": price, "product": "prod_1" } });
        made["parent"] = json!({ "type": "subscription_item_details", "subscription_item_details": {
            "proration": proration, "proration_details": details, "subscription": "sub_1", "subscription_item": item } });
    }
    made
}

fn invoice(shape: Shape, reason: &str, date: Option<i64>, lines: &[Line]) -> Value {
    let data: Vec<Value> = lines.iter().enumerate().map(|(number, of)| line(shape, number, *of)).collect();
    let total: i64 = lines.iter().map(|line| line.2).sum();
    let mut object = json!({
        "id": "in_1", "object": "invoice", "status": "paid", "billing_reason": reason, "currency": "usd",
        "total": total, "amount_paid": total.max(0), "customer": "cus_1", "metadata": { "creditd_customer_id": "ada" },
        "status_transitions": { "paid_at": CHANGE + 5 },
        "lines": { "object": "list", "has_more": false, "data": data },
    });
    if shape == Shape::Old {
        object["paid"] = json!(true);
        object["subscription"] = json!("sub_1");
        object["subscription_proration_date"] = json!(date);
        object["payment_intent"] = json!("pi_1");
    } else {
        object["parent"] = json!({ "type": "subscription_details",
            "subscription_details": { "subscription": "sub_1", "subscription_proration_date": date, "metadata": {} } });
    }
    json!({ "id": "evt_1", "object": "event", "type": "invoice.paid", "created": CHANGE + 6, "livemode": false,
        "data": { "object": object } })
}

/// What an invoice asks for; Stripe answers with a subscription, if it knows one.
fn told(event: &Value, subscription: Option<&Value>) -> Interpretation {
    let catalog: Catalog = file::read(CATALOG).unwrap();
    let event = Event::from_value(event).unwrap();
    let mut answers = Answers::new(subscription.is_some());
    for _ in 0..10 {
        let context = Context { park_unknown_prices: true, ..context(&catalog, &answers) };
        let Interpretation::Ask(questions) = interpret(&event, context) else { return interpret(&event, context) };
        for question in questions {
            let path = question.path();
            let of_subscription = path.contains("/subscriptions/");
            let body = subscription.filter(|_| of_subscription).cloned().unwrap_or(Value::Null);
            let status = if of_subscription { 200 } else { 404 };
            answers.add(path, status, body.to_string().into_bytes(), Timestamp::UNIX_EPOCH);
        }
    }
    panic!("it keeps asking")
}

fn payment(event: &Value, subscription: Option<&Value>) -> PaymentIntent {
    let Interpretation::Act(mut intents) = told(event, subscription) else { panic!("{:?}", told(event, subscription)) };
    let Some(Intent::Payment(payment)) = intents.pop() else { panic!("no payment last: {intents:?}") };
    *payment
}

fn plans(of: &[(&str, i64)]) -> Vec<SubscribedPlan> {
    of.iter().map(|(plan, quantity)| SubscribedPlan { plan: PlanId::new(plan).unwrap(), quantity: *quantity }).collect()
}

fn after(change: &WishedChange) -> Vec<SubscribedPlan> {
    change.to.iter().map(|to| SubscribedPlan { plan: to.plan.clone(), quantity: to.quantity }).collect()
}

fn second(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap()
}

const PRO_BACK: Line = Line("price_pro", 1, -500, "si_1", CHANGE);

#[rstest]
#[case::upgrade(&[PRO_BACK, Line("price_max", 1, 1_000, "si_1", CHANGE)], &[("pro", 1)], &[("max", 1)])]
#[case::charge_first(&[Line("price_max", 1, 1_000, "si_1", CHANGE), PRO_BACK], &[("pro", 1)], &[("max", 1)])]
#[case::seats(&[PRO_BACK, Line("price_pro", 3, 1_500, "si_1", CHANGE)], &[("pro", 1)], &[("pro", 3)])]
#[case::downgrade(&[Line("price_max", 1, -1_000, "si_1", CHANGE), Line("price_pro", 1, 500, "si_1", CHANGE)],
    &[("max", 1)], &[("pro", 1)])]
#[case::for_nothing(&[Line("price_pro", 1, 0, "si_1", CHANGE), Line("price_max", 1, 0, "si_1", CHANGE)],
    &[("pro", 1)], &[("max", 1)])]
#[case::two_items_of_one_plan(&[PRO_BACK, Line("price_pro_old", 2, -900, "si_2", CHANGE),
    Line("price_pro", 2, 1_000, "si_1", CHANGE), Line("price_pro_old", 3, 1_350, "si_2", CHANGE)],
    &[("pro", 3)], &[("pro", 5)])]
#[case::a_new_item(&[Line("price_max", 2, 2_000, "si_2", CHANGE)], &[], &[("max", 2)])]
fn the_lines_of_a_change_say_what_was_and_what_is(
    #[values(Shape::Old, Shape::New)] shape: Shape,
    #[values(None, Some(CHANGE))] date: Option<i64>,
    #[case] lines: &[Line],
    #[case] from: &[(&str, i64)],
    #[case] to: &[(&str, i64)],
) {
    let event = invoice(shape, "subscription_update", date, lines);
    let payment = payment(&event, None);
    assert_eq!((payment.plans.len(), payment.grants.len()), (0, 0), "no whole period");
    let [change] = &payment.changes[..] else { panic!("{:?}", payment.changes) };
    assert_eq!((change.changed_at, change.period_end), (second(CHANGE), second(END)));
    assert_eq!((change.from.clone(), after(change)), (plans(from), plans(to)));
    let paid: i64 = change.to.iter().filter_map(|to| to.money.paid).map(creditd::domain::money::Money::minor).sum();
    let total: i64 = lines.iter().map(|line| line.2).sum();
    assert_eq!(paid, total.max(0), "what was credited is not paid again");
}

/// A credit alone, of a plan or of usage, gives nothing and does not wait for a price.
#[rstest]
fn credits_alone_give_nothing(#[values(Shape::Old, Shape::New)] shape: Shape) {
    let event = invoice(shape, "subscription_update", None, &[PRO_BACK]);
    let Interpretation::Ignore(why) = told(&event, None) else { panic!("{:?}", told(&event, None)) };
    assert_eq!(why.code, "nothing_given");
}

/// Two changes of one period ride on the next one's invoice, each with its own date.
#[rstest]
fn prorations_of_two_dates_are_two_changes(
    #[values(Shape::Old, Shape::New)] shape: Shape,
    #[values(None, Some(CHANGE))] date: Option<i64>,
) {
    let later = CHANGE + 86_400;
    let lines = [
        Line("price_max", 1, -900, "si_1", later),
        Line("price_max", 2, 1_800, "si_1", later),
        PRO_BACK,
        Line("price_max", 1, 1_000, "si_1", CHANGE),
        Line("price_max", 2, 4_000, "si_1", END),
    ];
    let payment = payment(&invoice(shape, "subscription_cycle", date, &lines), None);
    let [first, second_change] = &payment.changes[..] else { panic!("{:?}", payment.changes) };
    assert_eq!((first.changed_at, second_change.changed_at), (second(CHANGE), second(later)));
    assert_eq!((first.from.clone(), after(first)), (plans(&[("pro", 1)]), plans(&[("max", 1)])));
    assert_eq!((second_change.from.clone(), after(second_change)), (plans(&[("max", 1)]), plans(&[("max", 2)])));
    let [period] = &payment.plans[..] else { panic!("{:?}", payment.plans) };
    assert_eq!((period.quantity, period.period_start), (2, second(END)));
}

/// Two lines of one plan and period are its seats together.
#[rstest]
fn two_lines_of_one_plan_are_its_seats_together(#[values(Shape::Old, Shape::New)] shape: Shape) {
    let lines = [Line("price_pro", 2, 2_000, "si_1", START), Line("price_pro_old", 3, 2_700, "si_2", START)];
    let payment = payment(&invoice(shape, "subscription_create", None, &lines), None);
    let [period] = &payment.plans[..] else { panic!("{:?}", payment.plans) };
    assert_eq!((period.quantity, period.money.paid.unwrap().minor()), (5, 4_700));
}

/// A period that begins with the change (`billing_cycle_anchor=now`) is paid whole; usage is never a change.
#[rstest]
fn a_new_period_is_no_proration_and_usage_no_change(#[values(Shape::Old, Shape::New)] shape: Shape) {
    let lines = [PRO_BACK, Line("price_max", 1, 2_000, "si_1", END)];
    let payment = payment(&invoice(shape, "subscription_update", None, &lines), None);
    assert_eq!((payment.plans.len(), payment.changes.len()), (1, 0));
    let mut usage = invoice(Shape::Old, "subscription_update", None, &[Line("price_max", 9, 900, "si_1", CHANGE)]);
    usage["data"]["object"]["lines"]["data"][0]["price"]["recurring"]["usage_type"] = json!("metered");
    assert!(matches!(told(&usage, None), Interpretation::Ignore(_)));
    let threshold =
        invoice(shape, "subscription_threshold", None, &[PRO_BACK, Line("price_max", 1, 900, "si_1", CHANGE)]);
    let Interpretation::Act(intents) = told(&threshold, None) else { panic!() };
    let Some(Intent::Payment(threshold)) = intents.last() else { panic!() };
    assert_eq!((threshold.plans.len(), threshold.changes.len()), (0, 0));
}

/// A plan with two items of which one changes has the other's seats before and after.
#[rstest]
fn seats_that_a_change_leaves_alone_count_on_both_sides(#[values(Shape::Old, Shape::New)] shape: Shape) {
    let item = |id: &str, price: &str, quantity: i64| {
        json!({ "id": id, "object": "subscription_item", "quantity": quantity,
            "price": { "id": price, "object": "price", "product": "prod_1" } })
    };
    let subscription = json!({ "id": "sub_1", "object": "subscription", "status": "active", "customer": "cus_1",
        "start_date": START, "billing_cycle_anchor": START, "created": START, "metadata": {},
        "items": { "object": "list", "has_more": false,
            "data": [item("si_1", "price_pro", 2), item("si_2", "price_pro_old", 4)] } });
    let lines = [PRO_BACK, Line("price_pro", 2, 1_000, "si_1", CHANGE)];
    let payment = payment(&invoice(shape, "subscription_update", None, &lines), Some(&subscription));
    let [change] = &payment.changes[..] else { panic!("{:?}", payment.changes) };
    assert_eq!((change.from.clone(), after(change)), (plans(&[("pro", 5)]), plans(&[("pro", 6)])));
}

/// A line of ours without its money or its period waits and says so.
#[rstest]
#[case("amount")]
#[case("period")]
fn a_proration_that_lacks_a_fact_waits(#[values(Shape::Old, Shape::New)] shape: Shape, #[case] fact: &str) {
    let lines = [PRO_BACK, Line("price_max", 1, 1_000, "si_1", CHANGE)];
    let mut event = invoice(shape, "subscription_update", None, &lines);
    event["data"]["object"]["lines"]["data"][1].as_object_mut().unwrap().remove(fact);
    let Interpretation::Park(why) = told(&event, None) else { panic!("{:?}", told(&event, None)) };
    assert_eq!(why.code, "missing_fact");
    assert!(why.detail.contains(fact), "{}", why.detail);
}
