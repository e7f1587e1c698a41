//! Every fixture with fields missing, null, of another type or with an unknown word: nothing panics, nothing asks for
//! ever, and no such event gives more than the whole one.

use std::collections::{BTreeMap, BTreeSet};

use creditd::domain::credits::Credits;
use creditd::inbox::intent::{FeatureWish, Intent, Interpretation};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::fixtures::{Fixture, World, fixtures};

/// What one event gives: credits by feature, and paid periods by plan as seats times seconds. A trial counts beside.
type Given = BTreeMap<String, i128>;

fn given(interpretation: &Interpretation) -> Given {
    let mut given = Given::new();
    let Interpretation::Act(intents) = interpretation else { return given };
    let mut add = |what: String, much: i128| *given.entry(what).or_default() += much;
    for intent in intents {
        match intent {
            Intent::Payment(payment) => {
                for grant in &payment.grants {
                    let feature = match &grant.feature {
                        FeatureWish::Named(feature) | FeatureWish::WalletElse(Some(feature)) => feature.to_string(),
                        FeatureWish::WalletElse(None) => "the wallet's".to_owned(),
                    };
                    add(format!("credits {feature}"), grant.quantity.nanos() / Credits::whole(1).nanos());
                }
                for plan in &payment.plans {
                    let seconds = plan.period_end.as_second() - plan.period_start.as_second();
                    let trial = if plan.is_trial { "trial of" } else { "paid" };
                    add(format!("{trial} {}", plan.plan), i128::from(plan.quantity) * i128::from(seconds));
                }
            }
            Intent::Subscription(seen, _) => {
                for plan in &seen.plans {
                    add(format!("seats of {}", plan.plan), i128::from(plan.quantity));
                }
            }
            _ => {}
        }
    }
    given
}

/// The places of every field, however deep; what stands inside metadata is the app's and no shape of Stripe's.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                if name != "metadata" {
                    places(inner, &place, found);
                }
                found.push(place);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a field is changed to; none: it is dropped.
fn changes() -> [Option<Value>; 7] {
    [
        None,
        Some(Value::Null),
        Some(json!("tomorrow")),
        Some(json!(true)),
        Some(json!(1.5)),
        Some(json!([])),
        Some(json!({})),
    ]
}

/// Each field is dropped, and changed to one of the others, another one at each place: all of them everywhere would take
/// a minute, and the random ones below add to it.
fn changes_at(place: usize) -> [Option<Value>; 2] {
    let [dropped, ..] = changes();
    let others = changes().into_iter().skip(1);
    [dropped, others.cycle().nth(place % 6).flatten()]
}

fn change(value: &mut Value, place: &str, to: Option<&Value>) {
    let Some((parent, name)) = place.rsplit_once('/') else { return };
    let Some(fields) = value.pointer_mut(parent).and_then(Value::as_object_mut) else { return };
    let name = name.replace("~1", "/").replace("~0", "~");
    match to {
        // What would stay of one type, as an amount, may say another amount: that is another event.
        Some(to) if fields.get(&name).is_some_and(|old| old.is_boolean() && to.is_boolean()) => {}
        // Another id names another object.
        Some(Value::String(_)) if name == "id" => {}
        Some(to) => drop(fields.insert(name, to.clone())),
        None => drop(fields.remove(&name)),
    }
}

/// Whose events and which mode's they are: an envelope without is not one with less, but another.
fn is_envelope(place: &str) -> bool {
    ["/account", "/livemode"].contains(&place)
}

/// A fixture with the answers it asks for.
struct Whole {
    fixture: Fixture,
    answers: Map<String, Value>,
    given: Given,
}

fn wholes(world: &World) -> Vec<Whole> {
    let read = |fixture: Fixture| {
        let own = fixture.expected.as_ref().map_or(Value::Null, |expected| expected["answers"].clone());
        let mut asked = BTreeSet::new();
        let given = given(&world.interpret(&fixture.event, &own, &mut asked));
        let known = asked.into_iter().filter_map(|path| Some((path.clone(), world.answer(&own, &path)?)));
        Whole { answers: known.collect(), fixture, given }
    };
    fixtures().into_iter().map(read).collect()
}

/// What decides about money, and what it is called where it is missing.
const MONEY: [(&str, &str); 13] = [
    ("/data/object/amount_total", "amount_total"),
    ("/data/object/payment_status", "payment_status"),
    ("/data/object/mode", "mode"),
    ("/data/object/total", "total"),
    ("/data/object/currency", ""),
    ("/data/object/status", "status"),
    ("/data/object/amount_received", "amount_received"),
    ("/data/object/lines/data/0/amount", "lines.amount"),
    ("/data/object/lines/data/0/currency", "lines.amount"),
    ("/data/object/lines/data/0/period", "lines.period"),
    ("/data/object/lines/data/0/proration", "lines.proration"),
    ("/data/object/lines/data/0/parent", "lines.proration"),
    ("/data/object/items/data/0/plan", ""),
];

/// On what is ours a missing fact about money waits for a person, by name; it is neither guessed nor passed over.
#[test]
fn a_missing_fact_about_money_parks_and_is_named() {
    let world = World::read();
    let mut tried = BTreeMap::new();
    for whole in wholes(&world).into_iter().filter(|whole| !whole.given.is_empty()) {
        for (place, named) in MONEY {
            let mut event = whole.fixture.event.clone();
            change(&mut event, place, None);
            if event == whole.fixture.event {
                continue;
            }
            let own = Value::Object(whole.answers.clone());
            let Fixture { version, name, .. } = &whole.fixture;
            let found = world.interpret(&event, &own, &mut BTreeSet::new());
            match found {
                Interpretation::Park(why) => {
                    assert_eq!(why.code, "missing_fact", "{version}/{name} without {place}: {why:?}");
                    assert!(why.detail.contains(named), "{version}/{name} without {place}: {why:?}");
                    *tried.entry(place).or_insert(0) += 1;
                }
                // Some facts are told twice, or only matter elsewhere.
                Interpretation::Act(_) => assert_eq!(given(&found), whole.given, "{version}/{name} without {place}"),
                other => panic!("{version}/{name} without {place}: {other:?}"),
            }
        }
    }
    assert!(tried.len() >= 10 && tried.values().all(|times| *times > 0), "{tried:?}");
}

/// Does a changed event, with changed answers, give no more?
fn gives_no_more(world: &World, whole: &Whole, event: &Value, answers: &Map<String, Value>) -> Result<(), String> {
    let mut asked = BTreeSet::new();
    let own = Value::Object(answers.clone());
    let found = given(&world.interpret(event, &own, &mut asked));
    let more = found.iter().find(|(what, much)| **much > whole.given.get(*what).copied().unwrap_or(0));
    match more {
        None => Ok(()),
        Some((what, much)) => {
            let Fixture { version, name, .. } = &whole.fixture;
            Err(format!("{version}/{name} gives {much} {what}, whole it gives {:?}", whole.given))
        }
    }
}

#[test]
fn no_event_with_one_field_changed_gives_more() {
    let world = World::read();
    let mut found = Vec::new();
    for whole in wholes(&world) {
        let mut at = Vec::new();
        places(&whole.fixture.event, "", &mut at);
        // What gives nothing may only have lost what made it give something.
        let most = if whole.given.is_empty() { 1 } else { 2 };
        for (number, place) in at.into_iter().enumerate().filter(|(_, place)| !is_envelope(place)) {
            for to in changes_at(number).into_iter().take(most) {
                let mut event = whole.fixture.event.clone();
                change(&mut event, &place, to.as_ref());
                let fine = gives_no_more(&world, &whole, &event, &whole.answers);
                found.extend(fine.err().map(|error| format!("{place} to {to:?}: {error}")));
            }
        }
    }
    assert!(found.is_empty(), "{} events give more:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_answer_with_one_field_changed_makes_an_event_give_more() {
    let world = World::read();
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for whole in wholes(&world) {
        if !seen.insert(whole.fixture.name.clone()) {
            // Answers come in one shape, that of our own requests.
            continue;
        }
        for (question, answer) in &whole.answers {
            let mut at = Vec::new();
            places(answer, "", &mut at);
            for (number, place) in at.into_iter().enumerate() {
                for to in changes_at(number) {
                    if place == "/data" && to == Some(json!([])) {
                        // A list without what was in it is another truth.
                        continue;
                    }
                    let mut answers = whole.answers.clone();
                    change(&mut answers[question.as_str()], &place, to.as_ref());
                    let fine = gives_no_more(&world, &whole, &whole.fixture.event, &answers);
                    found.extend(fine.err().map(|error| format!("{question} {place} to {to:?}: {error}")));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} answers make events give more:\n{}", found.len(), found.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn no_event_with_several_fields_changed_gives_more(
        which in any::<prop::sample::Index>(),
        fields in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..7), 2..8),
    ) {
        thread_local! {
            static READ: (World, Vec<Whole>) = {
                let world = World::read();
                let wholes = wholes(&world);
                (world, wholes)
            };
        }
        READ.with(|(world, wholes)| {
            let whole = which.get(wholes);
            let mut event = whole.fixture.event.clone();
            for (which_place, to) in &fields {
                let mut at = Vec::new();
                places(&event, "", &mut at);
                at.retain(|place| !is_envelope(place));
                if !at.is_empty() {
                    let chosen: &String = which_place.get(&at);
                    change(&mut event, chosen, changes()[*to].as_ref());
                }
            }
            let fine = gives_no_more(world, whole, &event, &whole.answers);
            prop_assert!(fine.is_ok(), "{}\n{event}", fine.unwrap_err());
            Ok(())
        })?;
    }
}
