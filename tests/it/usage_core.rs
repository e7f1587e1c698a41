//! Usage without a database: what holds, returns, limits, levels and debts do, each told by a small story with numbers.

use creditd::domain::catalog::file;
use creditd::domain::check::{CheckAnswer, Question, Reason, check};
use creditd::domain::command::{
    Command, Decision, ExtendHold, HeldOutcome, NewGrant, Outcome, PlaceHold, Rejection, SetLimit, Track, WhenShort,
};
use creditd::domain::credits::Credits;
use creditd::domain::decide::{Context, at_time};
use creditd::domain::entry::EntryKind;
use creditd::domain::grant::Blocked;
use creditd::domain::hold::{HoldState, WhenMore};
use creditd::domain::ids::{GrantId, HoldId};
use creditd::domain::limit::Window;
use creditd::domain::usage::{Property, Usage};
use jiff::SignedDuration;

use crate::domain_laws::{credits, feature, given, quantity};
use crate::support::world::World;

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[features.images]
type = "metered"
[features.seats]
type = "metered"
consumable = false
[features.chat]
type = "metered"
[features.kept]
type = "metered"
returned = "revive"
[features.credits]
type = "credit_system"
costs = { calls = "3", chat = { input_tokens = "0.000005", output_tokens = "0.00001", when = { model = "gpt-4" } } }
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "seats"
included = "3"
[plans.paygo]
auto_enable = true
add_on = true
[[plans.paygo.items]]
feature = "images"
overage = { limit = "10" }
[[plans.paygo.items]]
feature = "chat"
overage = { limit = "5", amount = "0.002", currency = "usd" }
"#;

/// An account that opened under the catalogue.
fn opened() -> World {
    let mut world = World::on(CATALOG, "2026-01-05T10:00:00Z");
    world.apply(&Command::Open);
    world
}

impl World {
    fn apply(&mut self, command: &Command) -> Outcome {
        match self.decide(command).unwrap() {
            Decision::Applied(outcome) | Decision::AlreadyApplied(outcome) => outcome,
        }
    }

    fn give(&mut self, of: &str, amount: &str) -> GrantId {
        self.give_as(given(of, amount))
    }

    fn give_as(&mut self, grant: NewGrant) -> GrantId {
        match self.apply(&Command::Grant(grant)) {
            Outcome::Granted { grants } => grants[0],
            other => panic!("{other:?}"),
        }
    }

    /// Cost, drawn, shortfall, owed and what is available afterwards.
    fn track(&mut self, track: Track) -> [String; 5] {
        match self.apply(&Command::Track(track)) {
            Outcome::Tracked { cost, drawn, shortfall, owed, available, .. } => {
                [cost, drawn, shortfall, owed, available].map(|amount| amount.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    fn uses(&mut self, of: &str, units: &str) -> [String; 5] {
        self.track(Track::of(feature(of), quantity(units)))
    }

    fn hold(&mut self, of: &str, units: &str, when_more: WhenMore) -> HeldOutcome {
        held(self.apply(&Command::Hold(place(of, units, when_more))))
    }

    fn settle(&mut self, hold: HoldId, of: &str, units: &str, is_final: bool) -> Result<Decision, Rejection> {
        let track = Track { hold: Some(hold), is_final, ..Track::of(feature(of), quantity(units)) };
        self.decide(&Command::Track(track))
    }

    fn check(&mut self, of: &str, units: &str) -> CheckAnswer {
        let context = Context { catalog: &self.catalog, now: self.now };
        let settled = at_time(&self.state, context, &mut self.ids).unwrap();
        let usage = Usage::of(quantity(units));
        let question = Question { feature: feature(of), entity: String::new(), usage, explain: true };
        let answer = check(&settled, &self.catalog, &question, self.now).unwrap();
        must_add_up(&answer);
        answer
    }

    fn available(&mut self, of: &str) -> String {
        self.check(of, "1").available.to_string()
    }

    /// Remaining, held.
    fn lot(&self, id: GrantId) -> (String, String) {
        let grant = self.state.grant(id).unwrap();
        (grant.remaining.to_string(), grant.held.to_string())
    }

    fn kinds_since(&self, entries: usize) -> Vec<EntryKind> {
        self.changes.entries[entries..].iter().map(|(entry, _)| entry.kind).collect()
    }
}

/// The numbers of an explained answer, added up.
fn must_add_up(answer: &CheckAnswer) {
    let sum = |of: &dyn Fn(&creditd::domain::check::Lot) -> Credits| {
        answer.lots.iter().fold(Credits::ZERO, |sum, lot| sum.checked_add(of(lot)).unwrap())
    };
    for lot in &answer.lots {
        let parts = lot.held.checked_add(lot.blocked).unwrap().checked_add(lot.available).unwrap();
        assert_eq!(lot.remaining, parts, "{lot:?}");
        assert!(lot.take <= lot.available, "{lot:?}");
        assert_eq!(lot.blocked.is_positive(), lot.blocked_by.is_some() && lot.remaining > lot.held, "{lot:?}");
    }
    match answer.in_use {
        None => {
            assert_eq!(sum(&|lot| lot.available), answer.available, "{answer:?}");
            assert_eq!(sum(&|lot| lot.take).checked_add(answer.shortfall).unwrap(), answer.required, "{answer:?}");
        }
        Some(used) => {
            let left = sum(&|lot| lot.available).checked_sub(used).unwrap().max(Credits::ZERO);
            assert_eq!(left, answer.available, "{answer:?}");
        }
    }
    assert_eq!(answer.allowed, matches!(answer.reason, Reason::Ok | Reason::Unlimited | Reason::Flag));
    if answer.allowed {
        assert!(answer.shortfall.is_zero(), "{answer:?}");
    }
}

fn place(of: &str, units: &str, when_more: WhenMore) -> PlaceHold {
    PlaceHold {
        feature: feature(of),
        entity: String::new(),
        quantity: quantity(units),
        properties: std::collections::BTreeMap::new(),
        ttl_seconds: 60,
        when_more,
    }
}

fn held(outcome: Outcome) -> HeldOutcome {
    match outcome {
        Outcome::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

fn words(texts: [&str; 5]) -> [String; 5] {
    texts.map(str::to_owned)
}

fn limit(name: &str, of: &str, most: &str) -> Command {
    Command::SetLimit(SetLimit {
        name: name.to_owned(),
        feature: feature(of),
        entity: String::new(),
        window: Window::Day,
        most: credits(most),
    })
}

#[test]
fn a_hold_takes_credits_out_of_everybody_elses_reach() {
    let mut world = opened();
    let grant = world.give("images", "10");
    let hold = world.hold("images", "6", WhenMore::Reject);
    assert_eq!((hold.held, world.lot(grant)), (credits("6"), ("10".to_owned(), "6".to_owned())));
    assert_eq!(world.available("images"), "4");
    let refused = world.decide(&Command::Hold(place("images", "5", WhenMore::Reject))).unwrap_err();
    let (required, available) = (credits("5"), credits("4"));
    assert_eq!(refused, Rejection::Insufficient { pool: feature("images"), required, available });
    assert_eq!(world.uses("images", "5"), words(["5", "4", "1", "0", "0"]), "a track finds four");
    assert_eq!(world.lot(grant), ("6".to_owned(), "6".to_owned()));
}

#[test]
fn parts_of_a_stream_settle_and_the_last_lets_go() {
    let mut world = opened();
    let grant = world.give("images", "10");
    let hold = world.hold("images", "6", WhenMore::Reject).hold;
    let _: Decision = world.settle(hold, "images", "2", false).unwrap();
    assert_eq!(world.lot(grant), ("8".to_owned(), "4".to_owned()));
    let last = world.settle(hold, "images", "1.5", true).unwrap();
    let Outcome::Tracked { hold: Some(left), drawn, available, .. } = last.outcome() else { panic!("{last:?}") };
    assert_eq!((left.state, left.held, *drawn), (HoldState::Settled, Credits::ZERO, credits("1.5")));
    assert_eq!(*available, credits("6.5"));
    assert_eq!(world.lot(grant), ("6.5".to_owned(), "0".to_owned()));
    assert_eq!(world.settle(hold, "images", "1", true), Err(Rejection::UnknownHold(hold)), "it has ended");
}

#[test]
fn what_a_job_costs_more_is_refused_taken_or_owed_as_the_hold_says() {
    for (when_more, of, expected) in [
        (WhenMore::Reject, "images", None),
        (WhenMore::TakeAvailable, "images", Some(words(["7", "4", "3", "0", "0"]))),
        (WhenMore::Debt, "images", Some(words(["7", "4", "0", "3", "0"]))),
    ] {
        let mut world = opened();
        world.give(of, "4");
        let hold = world.hold(of, "3", when_more).hold;
        let track = Track { hold: Some(hold), is_final: true, ..Track::of(feature(of), quantity("7")) };
        if let Some(numbers) = expected {
            assert_eq!(world.track(track), numbers, "{when_more:?}");
            continue;
        }
        let refused = world.decide(&Command::Track(track)).unwrap_err();
        assert!(matches!(refused, Rejection::Insufficient { .. }), "{refused:?}");
        // One credit more than is held, which the balance has: the hold is the limit.
        let refused = world.settle(hold, of, "4", true).unwrap_err();
        let (required, available) = (credits("4"), credits("3"));
        assert_eq!(refused, Rejection::Insufficient { pool: feature(of), required, available });
        assert_eq!(world.check(of, "1").held, credits("3"), "nothing was written");
    }
}

#[test]
fn a_pinned_slice_outlives_its_grant_and_settles_without_breakage() {
    let mut world = opened();
    let until = Some(world.now + SignedDuration::from_secs(30));
    let grant = world.give_as(NewGrant { expires_at: until, ..given("images", "10") });
    let hold = world.hold("images", "6", WhenMore::Reject).hold;
    world.later(31);
    assert_eq!(world.available("images"), "0", "what is free has ended");
    let _: Decision = world.settle(hold, "images", "5", false).unwrap();
    assert_eq!(world.lot(grant), ("1".to_owned(), "1".to_owned()), "four expired, five were used, one is held");
    world.apply(&Command::ReleaseHold(hold));
    assert_eq!(world.lot(grant), ("0".to_owned(), "0".to_owned()), "what comes free after its time expires");
    let expired: Credits = world
        .changes
        .entries
        .iter()
        .filter(|(entry, _)| entry.kind == EntryKind::Expire)
        .fold(Credits::ZERO, |sum, (entry, _)| sum.checked_add(entry.amount).unwrap());
    assert_eq!(expired, credits("-5"));
}

#[test]
fn a_hold_ends_by_itself_unless_heartbeats_extend_it() {
    let mut world = opened();
    let grant = world.give("images", "10");
    let hold = world.hold("images", "6", WhenMore::Reject).hold;
    world.later(59);
    let extend = ExtendHold { hold, ttl_seconds: 60 };
    let longer = held(world.apply(&Command::ExtendHold(extend.clone())));
    assert_eq!(longer.expires_at, world.now + SignedDuration::from_secs(60));
    let shorter = held(world.apply(&Command::ExtendHold(ExtendHold { ttl_seconds: 1, ..extend.clone() })));
    assert_eq!(shorter.expires_at, longer.expires_at, "an extension never takes time away");
    world.later(60);
    assert_eq!(world.available("images"), "10", "checks see the end though nobody booked it");
    assert_eq!(world.lot(grant).1, "6");
    assert_eq!(world.decide(&Command::ExtendHold(extend)), Err(Rejection::UnknownHold(hold)));
    world.apply(&Command::Settle);
    assert_eq!(world.lot(grant), ("10".to_owned(), "0".to_owned()));
    assert_eq!(world.state.hold(hold).unwrap().state, HoldState::Expired);
    let (release, _) = world.changes.entries.last().unwrap();
    assert_eq!((release.kind, release.hold), (EntryKind::Release, Some(hold)));
}

#[test]
fn a_hold_is_for_one_feature_and_one_seat() {
    let mut world = opened();
    world.give("images", "10");
    world.give("kept", "10");
    let hold = world.hold("images", "6", WhenMore::Reject).hold;
    let refused = world.settle(hold, "kept", "1", false).unwrap_err();
    assert!(matches!(refused, Rejection::HoldOfOther { .. }), "{refused:?}");
    let track = Track { entity: "seat_1".to_owned(), hold: Some(hold), ..Track::of(feature("images"), quantity("1")) };
    assert!(matches!(world.decide(&Command::Track(track)), Err(Rejection::HoldOfOther { .. })));
    assert_eq!(world.settle(hold, "images", "-1", false), Err(Rejection::HoldOfReturn));
    let seats = world.decide(&Command::Hold(place("seats", "1", WhenMore::Reject)));
    assert_eq!(seats, Err(Rejection::NotHoldable(feature("seats"))));
}

#[test]
fn returns_walk_back_shortfall_first_then_the_newest_draw() {
    let mut world = opened();
    let first = world.give("images", "4");
    let second = world.give("images", "4");
    assert_eq!(world.uses("images", "5"), words(["5", "5", "0", "0", "3"]));
    assert_eq!(world.uses("images", "5"), words(["5", "3", "2", "0", "0"]));
    let entries = world.changes.entries.len();
    assert_eq!(world.uses("images", "-3"), words(["-3", "-1", "-2", "0", "1"]), "two were missing, one comes back");
    assert_eq!(world.kinds_since(entries), [EntryKind::Return]);
    assert_eq!(world.lot(second).0, "1");
    assert_eq!(world.uses("images", "-3"), words(["-3", "-3", "0", "0", "4"]), "the rest of one and one of the other");
    assert_eq!((world.lot(first).0, world.lot(second).0), ("0".to_owned(), "4".to_owned()));
    let refused = world.decide(&Command::Track(Track::of(feature("images"), quantity("-4.5")))).unwrap_err();
    let (asked, found) = (quantity("4.5"), quantity("4"));
    assert_eq!(refused, Rejection::NothingToReturn { feature: feature("images"), asked, found });
    assert_eq!(world.uses("images", "-4"), words(["-4", "-4", "0", "0", "8"]));
}

#[test]
fn a_return_through_a_credit_system_gives_back_what_was_paid_not_what_it_would_cost_now() {
    let mut world = opened();
    world.give("credits", "30");
    assert_eq!(world.uses("calls", "6"), words(["18", "18", "0", "0", "12"]));
    world.catalog.catalog = file::read(&CATALOG.replace("calls = \"3\"", "calls = \"5\"")).unwrap();
    assert_eq!(world.uses("calls", "-2"), words(["-6", "-6", "0", "0", "18"]));
    assert_eq!(world.uses("calls", "-4"), words(["-12", "-12", "0", "0", "30"]));
}

#[test]
fn a_return_over_two_pools_goes_back_the_way_it_came() {
    let mut world = opened();
    world.give("calls", "2");
    world.give("credits", "6");
    assert_eq!(world.uses("calls", "5"), words(["11", "8", "3", "0", "0"]), "2 own, 2 for 6 credits, 1 short");
    assert_eq!(world.uses("calls", "-1"), words(["-3", "0", "-3", "0", "0"]));
    assert_eq!(world.uses("calls", "-1.5"), words(["-4.5", "-4.5", "0", "0", "4.5"]));
    assert_eq!(world.uses("calls", "-1.5")[1], "-2.5", "half a call of the system's, one of its own");
    assert_eq!(world.uses("calls", "-1")[1], "-1");
    assert_eq!((world.available("images"), world.check("calls", "1").available), ("0".to_owned(), credits("8")));
}

#[test]
fn what_comes_back_to_an_expired_grant_expires_or_lives_again_as_its_feature_says() {
    for (of, left) in [("images", "0"), ("kept", "3")] {
        let mut world = opened();
        let until = Some(world.now + SignedDuration::from_secs(30));
        let grant = world.give_as(NewGrant { expires_at: until, ..given(of, "5") });
        world.uses(of, "5");
        world.later(3_600);
        world.uses(of, "-3");
        assert_eq!(world.available(of), left, "{of}");
        assert_eq!(world.lot(grant).0, left, "{of}");
        world.later(31 * 86_400);
        assert_eq!(world.available(of), "0", "{of}: not for ever");
    }
}

#[test]
fn debt_is_allowed_where_the_plan_says_and_up_to_its_limit() {
    let mut world = opened();
    world.give("images", "4");
    let owing =
        |of: &str, units: &str| Track { when_short: WhenShort::Debt, ..Track::of(feature(of), quantity(units)) };
    assert_eq!(world.track(owing("images", "10")), words(["10", "4", "0", "6", "0"]));
    assert_eq!(world.track(owing("images", "3")), words(["3", "0", "0", "3", "0"]));
    let refused = world.decide(&Command::Track(owing("images", "2"))).unwrap_err();
    let (required, available) = (credits("2"), credits("1"));
    assert_eq!(refused, Rejection::Insufficient { pool: feature("images"), required, available });
    assert_eq!(world.state.debts.len(), 1, "one debt grows");
    let refused = world.decide(&Command::Track(owing("kept", "1"))).unwrap_err();
    assert_eq!(refused, Rejection::DebtNotAllowed(feature("kept")));
    // Without a price the next grants repay it.
    world.give("images", "12");
    assert_eq!(world.available("images"), "3");
}

#[test]
fn priced_debt_waits_for_its_invoice_and_returns_lower_it() {
    let mut world = opened();
    let owing = |units: &str| Track { when_short: WhenShort::Debt, ..Track::of(feature("chat"), quantity(units)) };
    let tokens = |input: &str| {
        let model = Property::Text("gpt-4".to_owned());
        let number = |text: &str| Property::Number(quantity(text));
        [("model", model), ("input_tokens", number(input)), ("output_tokens", number("0"))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    };
    let used = Track { properties: tokens("200000"), ..owing("4") };
    assert_eq!(world.track(used), words(["4", "0", "0", "4", "0"]), "a credit elsewhere, four of its own");
    let own = world.give("chat", "10");
    assert_eq!(world.lot(own).0, "10", "a debt with a price is invoiced, not repaid");
    assert!(world.state.debts[0].invoiced());
    assert_eq!(world.uses("chat", "-3"), words(["-3", "0", "0", "-3", "10"]));
    assert_eq!(world.state.debts[0].outstanding, credits("1"));
}

#[test]
fn a_return_of_owed_usage_gives_repayments_back_to_the_grants_that_made_them() {
    let mut world = opened();
    let track = Track { when_short: WhenShort::Debt, ..Track::of(feature("images"), quantity("6")) };
    world.track(track);
    let first = world.give("images", "4");
    let second = world.give("images", "5");
    assert_eq!((world.lot(first).0, world.lot(second).0), ("0".to_owned(), "3".to_owned()));
    assert_eq!(world.uses("images", "-3"), words(["-3", "0", "0", "-3", "6"]));
    assert_eq!((world.lot(first).0, world.lot(second).0), ("1".to_owned(), "5".to_owned()), "the newest first");
    assert!(world.state.debts.iter().all(|debt| debt.outstanding.is_zero()));
}

#[test]
fn a_card_of_costs_says_what_a_call_costs() {
    let mut world = opened();
    world.give("credits", "1");
    let number = |text: &str| Property::Number(quantity(text));
    let model = |name: &str| Property::Text(name.to_owned());
    let call = |name: &str| Track {
        properties: [
            ("model".to_owned(), model(name)),
            ("input_tokens".to_owned(), number("2000")),
            ("output_tokens".to_owned(), number("500")),
        ]
        .into(),
        ..Track::of(feature("chat"), quantity("1"))
    };
    assert_eq!(world.track(call("gpt-4")), words(["0.015", "0.015", "0", "0", "0.985"]));
    let refused = world.decide(&Command::Track(call("gpt-5"))).unwrap_err();
    assert!(matches!(refused, Rejection::Cost(_)), "{refused:?}");
    assert_eq!(world.uses("chat", "-1"), words(["-0.015", "-0.015", "0", "0", "1"]));
}

#[test]
fn a_spend_limit_counts_tracks_and_holds_of_its_window() {
    let mut world = opened();
    world.give("images", "100");
    world.uses("images", "1");
    world.apply(&limit("daily", "images", "10"));
    world.uses("images", "3");
    let hold = world.hold("images", "4", WhenMore::TakeAvailable).hold;
    let answer = world.check("images", "4");
    assert_eq!((answer.allowed, answer.reason, answer.shortfall), (false, Reason::SpendLimit, credits("1")));
    assert_eq!((answer.limits[0].used, answer.limits[0].most), (credits("7"), credits("10")));
    let reject = Track { when_short: WhenShort::Reject, ..Track::of(feature("images"), quantity("4")) };
    let refused = world.decide(&Command::Track(reject)).unwrap_err();
    assert!(matches!(refused, Rejection::SpendLimit { used, .. } if used == credits("7")), "{refused:?}");
    assert_eq!(world.uses("images", "4"), words(["4", "3", "1", "0", "89"]), "cap draws what the limit leaves");
    // What is held was let in before: it settles, and no more than it.
    let _: Decision = world.settle(hold, "images", "4", true).unwrap();
    assert_eq!(world.uses("images", "1"), words(["1", "0", "1", "0", "89"]));
    assert_eq!(world.uses("images", "-6")[1], "-4", "two were short; four come back and count no more");
    assert_eq!(world.uses("images", "5")[1], "4");
    world.later(86_400);
    assert_eq!(world.uses("images", "11")[1], "10", "a new day");
}

#[test]
fn a_limit_of_a_credit_system_counts_its_credits_whatever_was_used() {
    let mut world = opened();
    world.give("credits", "100");
    world.give("calls", "2");
    world.apply(&limit("daily", "credits", "10"));
    assert_eq!(world.uses("calls", "5"), words(["11", "11", "0", "0", "91"]), "two of its own do not count");
    assert_eq!(world.uses("calls", "1"), words(["3", "1", "2", "0", "90"]));
    assert_eq!(world.check("calls", "1").reason, Reason::SpendLimit);
    world.apply(&Command::DropLimit("daily".to_owned()));
    assert_eq!(world.check("calls", "1").reason, Reason::Ok);
    let unknown = world.decide(&Command::DropLimit("daily".to_owned())).unwrap_err();
    assert_eq!(unknown, Rejection::UnknownLimit("daily".to_owned()));
    assert_eq!(world.decide(&limit("seats", "seats", "1")), Err(Rejection::NotLimitable(feature("seats"))));
}

#[test]
fn seats_are_set_and_freed_and_a_plan_changes_what_is_left_of_them() {
    let mut world = opened();
    let set = |to: &str| Track { set: Some(quantity(to)), ..Track::of(feature("seats"), quantity("0")) };
    assert_eq!(world.track(set("2")), words(["2", "2", "0", "0", "1"]));
    assert_eq!(world.track(set("2"))[0], "0", "the same again changes nothing");
    let answer = world.check("seats", "2");
    assert_eq!((answer.allowed, answer.in_use, answer.available), (false, Some(credits("2")), credits("1")));
    let reject = Track { when_short: WhenShort::Reject, ..set("4") };
    assert!(matches!(world.decide(&Command::Track(reject)), Err(Rejection::Insufficient { .. })));
    assert_eq!(world.track(set("5")), words(["3", "1", "2", "0", "0"]), "the app says five are in use");
    assert_eq!(world.uses("seats", "-3"), words(["-3", "-3", "0", "0", "1"]));
    world.give("seats", "4");
    assert_eq!(world.available("seats"), "5");
    let refused = world.decide(&Command::Track(Track::of(feature("seats"), quantity("-3")))).unwrap_err();
    assert!(matches!(refused, Rejection::NothingToReturn { .. }), "{refused:?}");
    let refused = world
        .decide(&Command::Track(Track { set: Some(quantity("1")), ..Track::of(feature("images"), quantity("0")) }));
    assert_eq!(refused.unwrap_err(), Rejection::NotSettable(feature("images")));
}

#[test]
fn explain_adds_up_with_debt_holds_expiry_and_future_grants() {
    let mut world = opened();
    let soon = world.now + SignedDuration::from_secs(3_600);
    world.give("images", "7");
    world.give_as(NewGrant { expires_at: Some(soon), ..given("images", "5") });
    world.give_as(NewGrant { starts_at: Some(soon), ..given("images", "9") });
    world.hold("images", "2", WhenMore::Reject);
    let answer = world.check("images", "11");
    assert_eq!((answer.available, answer.held, answer.shortfall), (credits("10"), credits("2"), credits("1")));
    let blocked: Vec<Option<Blocked>> = answer.lots.iter().map(|lot| lot.blocked_by).collect();
    assert_eq!(blocked, [None, None, Some(Blocked::NotStarted)]);
    let takes: Vec<String> = answer.lots.iter().map(|lot| lot.take.to_string()).collect();
    assert_eq!(takes, ["3", "7", "0"], "what ends soonest goes first");
}
