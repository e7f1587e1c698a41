//! One write of each kind, with everything set that can be set.

use creditd::domain::money::{Currency, Money};
use creditd::stripe::client::StripeId;
use creditd::stripe::frozen::{Frozen, IdempotencyKey, Metadata};
use creditd::stripe::write::{
    AfterLast, Buyer, CancelReason, Charge, Checkout, CheckoutLine, InvoiceItem, ItemChange, ItemCharge, NewCustomer,
    NewInvoice, NewSubscription, PaymentBehavior, Phase, PriceLine, Proration, Purpose, Refund, RefundReason,
    SubscriptionChange, Write,
};
use jiff::Timestamp;

pub fn id(text: &str) -> StripeId {
    StripeId::new(text).unwrap()
}

pub fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).unwrap()
}

pub fn usd() -> Currency {
    "usd".parse().unwrap()
}

pub fn money(minor: i64) -> Money {
    Money::from_minor(minor, usd()).unwrap()
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Keys that a form has to encode, and whose order a hash map would shuffle.
pub fn metadata() -> Metadata {
    let pairs = [("creditd_topup_id", "top_1"), ("creditd_customer_id", "u&1=ü"), ("a b", "100 %"), ("zone", "+")];
    pairs.into_iter().fold(Metadata::new(), |made, (key, value)| made.with(key, value).unwrap())
}

pub fn line(price: &str, quantity: u64) -> PriceLine {
    PriceLine { price: id(price), quantity }
}

pub fn charge() -> Charge {
    Charge {
        amount: money(2000),
        customer: id("cus_1"),
        payment_method: id("pm_card_visa"),
        description: None,
        receipt_email: None,
        return_url: None,
        metadata: Metadata::new().with("creditd_topup_id", "top_1").unwrap(),
    }
}

pub fn checkout(purpose: Purpose) -> Checkout {
    Checkout {
        purpose,
        buyer: Buyer::Customer(id("cus_1")),
        success_url: "https://app.example/ok?session={CHECKOUT_SESSION_ID}".to_owned(),
        cancel_url: Some("https://app.example/back".to_owned()),
        client_reference_id: Some("u1".to_owned()),
        expires_at: Some(at(1_790_003_600)),
        metadata: metadata(),
    }
}

pub fn frozen(write: &Write) -> Frozen {
    write.freeze().unwrap()
}

fn payments() -> Vec<(&'static str, Write)> {
    let full = Charge {
        description: Some("Top-up".to_owned()),
        receipt_email: Some("a@example.com".to_owned()),
        return_url: Some("https://app.example/paid".to_owned()),
        metadata: metadata(),
        ..charge()
    };
    vec![
        ("charge", Write::Charge(charge())),
        ("charge, all of it", Write::Charge(full)),
        ("cancel intent", Write::CancelIntent { payment_intent: id("pi_1"), reason: CancelReason::Abandoned }),
        (
            "refund",
            Write::Refund(Refund { payment_intent: id("pi_1"), amount: None, reason: None, metadata: Metadata::new() }),
        ),
        (
            "refund, part of it",
            Write::Refund(Refund {
                payment_intent: id("pi_1"),
                amount: Some(money(500)),
                reason: Some(RefundReason::RequestedByCustomer),
                metadata: metadata(),
            }),
        ),
        (
            "customer",
            Write::CreateCustomer(NewCustomer {
                email: Some("a@example.com".to_owned()),
                name: Some("Ada Å".to_owned()),
                metadata: metadata(),
            }),
        ),
        ("default method", Write::SetDefaultMethod { customer: id("cus_1"), payment_method: id("pm_1") }),
        (
            "portal",
            Write::OpenPortal {
                customer: id("cus_1"),
                return_url: Some("https://app.example/account".to_owned()),
                configuration: Some(id("bpc_1")),
            },
        ),
    ]
}

fn checkouts() -> Vec<(&'static str, Write)> {
    let lines = vec![
        CheckoutLine::Price(line("price_1", 2)),
        CheckoutLine::Amount { product: id("prod_1"), amount: money(1234) },
    ];
    let payment = checkout(Purpose::Payment { lines: lines.clone(), save_card: true });
    let guest = Checkout {
        buyer: Buyer::New { email: Some("a@example.com".to_owned()) },
        ..checkout(Purpose::Payment { lines, save_card: false })
    };
    let subscription = checkout(Purpose::Subscription { lines: vec![line("price_2", 3)], trial_days: Some(14) });
    let setup = checkout(Purpose::Setup { currency: usd() });
    vec![
        ("checkout, payment", Write::CreateSession(payment)),
        ("checkout, guest", Write::CreateSession(guest)),
        ("checkout, subscription", Write::CreateSession(subscription)),
        ("checkout, setup", Write::CreateSession(setup)),
        ("expire session", Write::ExpireSession { session: id("cs_1") }),
    ]
}

fn invoices() -> Vec<(&'static str, Write)> {
    let item = |charge| InvoiceItem {
        customer: id("cus_1"),
        invoice: id("in_1"),
        charge,
        description: Some("Overage".to_owned()),
        metadata: metadata(),
    };
    vec![
        (
            "invoice",
            Write::CreateInvoice(NewInvoice {
                customer: id("cus_1"),
                currency: usd(),
                payment_method: Some(id("pm_1")),
                automatic_tax: true,
                description: Some("Credits".to_owned()),
                metadata: metadata(),
            }),
        ),
        ("invoice item, amount", Write::AddInvoiceItem(item(ItemCharge::Amount(money(-250))))),
        ("invoice item, price", Write::AddInvoiceItem(item(ItemCharge::Price(line("price_1", 7))))),
        ("finalize", Write::FinalizeInvoice { invoice: id("in_1"), auto_advance: false }),
        ("finalize_advance", Write::FinalizeInvoice { invoice: id("in_1"), auto_advance: true }),
        ("pay", Write::PayInvoice { invoice: id("in_1"), payment_method: Some(id("pm_1")) }),
        ("void", Write::VoidInvoice { invoice: id("in_1") }),
    ]
}

fn subscriptions() -> Vec<(&'static str, Write)> {
    let items = vec![
        ItemChange::Set { item: id("si_1"), price: Some(id("price_2")), quantity: Some(3) },
        ItemChange::Add(line("price_3", 1)),
        ItemChange::Remove { item: id("si_2") },
    ];
    let phases = vec![
        Phase {
            lines: vec![line("price_2", 1)],
            starts_at: Some(at(1_790_000_000)),
            ends_at: Some(at(1_792_000_000)),
            proration: Proration::None,
            metadata: Metadata::new(),
        },
        Phase {
            lines: vec![line("price_1", 1), line("price_3", 2)],
            starts_at: None,
            ends_at: None,
            proration: Proration::NextInvoice,
            metadata: metadata(),
        },
    ];
    vec![
        ("cancel at period end", Write::SetCancelAtPeriodEnd { subscription: id("sub_1"), cancel: true }),
        (
            "create subscription",
            Write::CreateSubscription(NewSubscription {
                customer: id("cus_1"),
                lines: vec![line("price_1", 2)],
                payment_method: id("pm_1"),
                trial_days: Some(14),
                payment: PaymentBehavior::AllowIncomplete,
                metadata: metadata(),
            }),
        ),
        (
            "change subscription",
            Write::ChangeSubscription(SubscriptionChange {
                subscription: id("sub_1"),
                items,
                proration: Proration::InvoiceNow,
                payment: PaymentBehavior::PendingIfIncomplete,
                proration_date: Some(at(1_790_000_000)),
            }),
        ),
        (
            "cancel subscription",
            Write::CancelSubscription { subscription: id("sub_1"), prorate: true, invoice_now: false },
        ),
        ("schedule", Write::CreateSchedule { from_subscription: id("sub_1") }),
        ("phases", Write::SetPhases { schedule: id("sub_sched_1"), phases, after_last: AfterLast::GoOn }),
        ("release", Write::ReleaseSchedule { schedule: id("sub_sched_1") }),
    ]
}

/// Every kind of write.
pub fn every_write() -> Vec<(&'static str, Write)> {
    [payments(), checkouts(), invoices(), subscriptions()].concat()
}
