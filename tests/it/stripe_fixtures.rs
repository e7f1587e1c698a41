//! Every event in `tests/fixtures/stripe` comes to what the file beside it says, and to the same in every API version.

use std::collections::{BTreeMap, BTreeSet};

use creditd::inbox::families::{FAMILIES, Treatment, treatment};
use creditd::inbox::intent::Interpretation;
use creditd::inbox::interpret::{Answers, Context, interpret};
use creditd::inbox::reversal::MoneyBackPolicy;
use creditd::stripe::wire::{Event, Wire};
use serde_json::{Value, json};

use crate::support::fixtures::{Fixture, World, context, fixtures, folder, summary};

/// The versions that every family has to be shown in, oldest and newest first.
const VERSIONS: [&str; 6] = [
    "2020-08-27",
    "2026-09-30.endive",
    "2024-09-30.acacia",
    "2025-03-31.basil",
    "2025-09-30.clover",
    "2026-03-25.dahlia",
];

/// What an expectation says of the outcome, without the answers it brings along.
fn outcome(expected: &Value) -> Value {
    let mut outcome = expected.clone();
    if let Some(fields) = outcome.as_object_mut() {
        fields.remove("answers");
        fields.remove("differs");
    }
    outcome
}

#[test]
fn every_event_comes_to_what_stands_beside_it() {
    let world = World::read();
    let (mut wrong, mut asked) = (Vec::new(), BTreeSet::new());
    for Fixture { version, name, event, expected } in fixtures() {
        let own = expected.as_ref().map_or(Value::Null, |expected| expected["answers"].clone());
        let found = summary(&world.interpret(&event, &own, &mut asked));
        if expected.as_ref().map(outcome) == Some(found.clone()) {
            continue;
        }
        let file = format!("tests/fixtures/stripe/{version}/{name}.expect.json");
        let found = serde_json::to_string_pretty(&found).unwrap();
        wrong.push(match expected {
            None => format!("{file} is missing. If this is right, write into it:\n{found}\n"),
            Some(expected) => {
                let expected = serde_json::to_string_pretty(&outcome(&expected)).unwrap();
                format!("{file} says:\n{expected}\nit came to:\n{found}\n")
            }
        });
    }
    assert!(wrong.is_empty(), "{} events:\n{}", wrong.len(), wrong.join("\n"));
    let unasked: Vec<String> = world.questions().difference(&asked).cloned().collect();
    assert!(unasked.is_empty(), "answers.json answers what no event asks: {unasked:?}");
}

/// Writes what each event comes to beside it, for a person to read before it is committed.
#[test]
#[ignore = "writes the expectations of tests/fixtures/stripe anew"]
fn write_the_expectations_of_stripe_fixtures() {
    let world = World::read();
    for Fixture { version, name, event, expected } in fixtures() {
        let expected = expected.unwrap_or(Value::Null);
        let mut found = summary(&world.interpret(&event, &expected["answers"], &mut BTreeSet::new()));
        for kept in ["answers", "differs"] {
            if !expected[kept].is_null() {
                found[kept] = expected[kept].clone();
            }
        }
        if found != expected {
            let file = folder().join(version).join(format!("{name}.expect.json"));
            std::fs::write(file, format!("{}\n", serde_json::to_string_pretty(&found).unwrap())).unwrap();
        }
    }
}

#[test]
fn one_event_is_the_same_in_every_version() {
    let mut told: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for Fixture { version, name, expected, .. } in fixtures() {
        let expected = expected.unwrap_or_default();
        if expected["differs"].is_string() {
            continue;
        }
        let (first, facts) = told.entry(name.clone()).or_insert_with(|| (version.clone(), outcome(&expected)));
        assert_eq!(*facts, outcome(&expected), "{name} of {first} and of {version}; `differs` would say why");
    }
}

#[test]
fn the_folder_says_the_version_and_the_file_the_type() {
    for Fixture { version, name, event, .. } in fixtures() {
        let kind = event["type"].as_str().unwrap();
        let variant = name.strip_prefix(kind);
        let is_named = variant.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        assert!(is_named, "{version}/{name}.json is a {kind}");
        if event["object"] == "event" {
            assert_eq!(event["api_version"], json!(version), "{version}/{name}.json");
        }
    }
}

#[test]
fn every_family_has_fixtures_and_what_acts_has_them_from_the_oldest_and_the_newest_version() {
    let all = fixtures();
    let kinds = |version: &str| -> BTreeSet<String> {
        let of_version = all.iter().filter(|fixture| fixture.version == version);
        of_version.map(|fixture| fixture.event["type"].as_str().unwrap().to_owned()).collect()
    };
    let (oldest, newest) = (kinds(VERSIONS[0]), kinds(VERSIONS[1]));
    let family = |kind: &str| kind.rsplit_once('.').map_or(kind, |(family, _)| family).to_owned();
    for (listed, treatment) in FAMILIES {
        let shown = all.iter().any(|fixture| family(&fixture.name).starts_with(&family(listed)));
        assert!(shown || family(listed).starts_with("customer.") || *listed == "payment_link.*", "{listed}");
        if matches!(treatment, Treatment::Acts(_)) {
            let is_newer = *listed == "invoice_payment.paid" || listed.starts_with("refund.");
            let by_status = [
                "customer.subscription.paused",
                "customer.subscription.resumed",
                "customer.subscription.pending_update_applied",
            ];
            let is_older = *listed == "payment_method.card_automatically_updated";
            let there = newest.contains(*listed) || by_status.contains(listed) || is_older;
            assert!(there, "{listed} in {}", VERSIONS[1]);
            assert!(oldest.contains(*listed) || is_newer || by_status.contains(listed), "{listed} in {}", VERSIONS[0]);
        }
    }
    for back in
        ["charge.refunded", "credit_note.created", "charge.dispute.created", "radar.early_fraud_warning.created"]
    {
        assert!(newest.contains(back), "{back}");
    }
    for version in VERSIONS {
        for kind in
            ["checkout.session.completed", "invoice.paid", "customer.subscription.created", "payment_intent.succeeded"]
        {
            assert!(kinds(version).contains(kind), "{kind} in {version}");
        }
    }
}

/// The list of families against the dispatcher: what is listed as ignored is, with its reason, whatever the event holds;
/// what is listed as acting is looked into; and nothing is listed twice.
#[test]
fn the_list_of_families_is_what_is_done() {
    let catalog = creditd::domain::catalog::file::read("").unwrap();
    let answers = Answers::new(false);
    let context = Context {
        money_back: MoneyBackPolicy { freeze_on_warning: true, ..MoneyBackPolicy::default() },
        ..context(&catalog, &answers)
    };
    let code = |kind: &str, object: Value| {
        let event = json!({ "id": "evt_1", "object": "event", "type": kind, "data": { "object": object } });
        match interpret(&Event::from_value(&event).unwrap(), context) {
            Interpretation::Ignore(why) | Interpretation::Park(why) => why.code,
            other => panic!("{kind}: {other:?}"),
        }
    };
    let mut seen = BTreeSet::new();
    for (listed, row) in FAMILIES {
        assert!(seen.insert(*listed), "{listed} is listed twice");
        let kind = listed.replace('*', "anything");
        assert_eq!(treatment(&kind), Some(*row), "{listed} is hidden by a row above it");
        match row {
            Treatment::Ignored(expected, words) => {
                for object in [json!({}), json!({ "status": [] }), Value::Null] {
                    assert_eq!(code(&kind, object), *expected, "{listed}");
                }
                assert!(!words.is_empty());
            }
            Treatment::Acts(_) => {
                assert_eq!(code(&kind, Value::Null), "missing_fact", "{listed} looks at its object");
                let counted = creditd::meters::list::STRIPE_EVENTS_RECEIVED.labels[0].values;
                assert!(counted.contains(listed), "the metric has no word for {listed}");
            }
        }
    }
    assert_eq!(code("a.type.of.tomorrow", json!({})), "unhandled_type");
}
