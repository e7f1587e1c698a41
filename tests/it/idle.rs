//! Idle periods (rule 17): an account that sleeps over any number of boundaries ends like one that is settled at each.

use std::collections::BTreeMap;

use creditd::domain::catalog::{Expiry, Interval, IntervalUnit, Item, ResetAnchor, Rollover};
use creditd::domain::command::{Command, Decision, Track, WhenShort};
use creditd::domain::credits::Credits;
use creditd::domain::grant::Debt;
use creditd::domain::ids::DebtId;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use crate::domain_laws::{credits, feature, item, track};
use crate::subscription_laws::World;

const CATALOG: &str = "[features.calls]\ntype = \"metered\"\n[features.notes]\ntype = \"metered\"\n\
    [plans.free]\nauto_enable = true\n[[plans.free.items]]\nfeature = \"calls\"\nincluded = \"5\"\nreset = \"month\"\n";
/// Due times at which the busy account is settled at most: a bound of the test, well above what its sleeps hold.
const SETTLES_MAX: usize = 5_000;

/// How an attachment of the test is bounded, in seconds from its start.
#[derive(Clone, Debug, Default)]
struct Bounds {
    paid_for: Option<i64>,
    cancelled_after: Option<i64>,
    seats: i64,
    owed: i64,
}

fn world(items: &[Item], bounds: &Bounds) -> World {
    let mut world = World::unopened(CATALOG);
    let plan = world.catalog.terms.values_mut().next().unwrap();
    items.clone_into(&mut plan.items);
    let _: Decision = world.post(&Command::Open);
    let start = world.now;
    let after = |seconds: i64| start + SignedDuration::from_secs(seconds);
    let attachment = &mut world.state.attachments[0];
    attachment.quantity = bounds.seats.max(1);
    attachment.paid_through = bounds.paid_for.map(after);
    attachment.cancel_at = bounds.cancelled_after.map(after);
    if let (Some(wallet), true) = (world.state.wallets.first().cloned(), bounds.owed > 0) {
        world.state.debts.push(Debt {
            id: DebtId::from_uuid(Uuid::from_u128(0xdeb7)),
            wallet: wallet.id,
            feature: wallet.feature,
            outstanding: Credits::whole(bounds.owed),
            billed: Credits::ZERO,
            cause: creditd::domain::grant::DebtCause::ClawBack,
        });
    }
    // The due time follows what was changed by hand.
    let _: Decision = world.post(&Command::Settle);
    world
}

/// Spendable credits of each feature by when they end, and what is owed.
fn spendable(world: &World) -> (BTreeMap<(String, Option<Timestamp>), i128>, i128) {
    let mut sums = BTreeMap::new();
    for grant in &world.state.grants {
        let left = grant.spendable(world.now).nanos();
        if left > 0 {
            *sums.entry((grant.feature.to_string(), grant.ends_at())).or_default() += left;
        }
    }
    (sums, world.state.debts.iter().map(|debt| debt.outstanding.nanos()).sum())
}

/// Settles at every due time on the way.
fn stay_awake(world: &mut World, until: Timestamp) {
    for _ in 0..SETTLES_MAX {
        let Some(due) = world.state.next_due_at.filter(|due| *due <= until) else { break };
        assert!(due > world.now, "what was due is settled");
        world.now = due;
        let _: Decision = world.post(&Command::Settle);
    }
    world.now = until;
    let _: Decision = world.post(&Command::Settle);
}

fn sleep(world: &mut World, until: Timestamp) {
    world.now = until;
    let _: Decision = world.post(&Command::Settle);
}

fn spend(world: &mut World, of: &str, units: u32) {
    let used = Track { when_short: WhenShort::Cap, ..track(of, &units.to_string()) };
    let _: Decision = world.post(&Command::Track(used));
}

fn unit_seconds(unit: IntervalUnit) -> i64 {
    match unit {
        IntervalUnit::Minute => 60,
        IntervalUnit::Hour => 3_600,
        IntervalUnit::Day => 86_400,
        IntervalUnit::Week => 604_800,
        IntervalUnit::Month => 2_629_746,
        IntervalUnit::Year => 31_556_952,
    }
}

fn any_item(name: &'static str) -> impl Strategy<Value = Item> {
    use IntervalUnit::{Day, Hour, Minute, Month, Week, Year};
    let interval = (proptest::sample::select(vec![Minute, Hour, Day, Week, Month, Month, Month, Year]), 1_u16..4)
        .prop_map(|(unit, count)| Interval { unit, count });
    let zone = proptest::sample::select(vec!["Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"]);
    let anchor = prop_oneof![
        2 => Just(ResetAnchor::Anniversary),
        1 => zone.prop_map(|zone| ResetAnchor::Calendar { time_zone: zone.to_owned() }),
    ];
    let max = proptest::option::of((0_u32..40).prop_map(|whole| credits(&whole.to_string())));
    let rollover = (max, proptest::option::of(0_u32..400), proptest::option::of(1_u32..14))
        .prop_map(|(max, max_percent, months)| Rollover { max, max_percent, months });
    let reset = prop_oneof![9 => interval.prop_map(Some), 1 => Just(None)];
    let of = prop_oneof![3 => Just("calls"), 1 => Just("notes")];
    (of, 0_u32..12, any::<bool>(), reset, anchor, proptest::option::weighted(0.7, rollover)).prop_map(
        move |(of, included, whole, reset, anchor, rollover)| Item {
            included: Some(credits(&format!("{included}.{}", if whole { "0" } else { "333333333" }))),
            rollover: rollover.filter(|_| reset.is_some()),
            reset,
            anchor,
            expires_after: Expiry::Never,
            ..item(name, of, None, false)
        },
    )
}

fn any_bounds() -> impl Strategy<Value = Bounds> {
    let seconds = || proptest::option::weighted(0.3, 1_000_i64..80_000_000);
    (seconds(), seconds(), 1_i64..4, prop_oneof![2 => Just(0_i64), 1 => 1_i64..60])
        .prop_map(|(paid_for, cancelled_after, seats, owed)| Bounds { paid_for, cancelled_after, seats, owed })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The law, over any plan and any life of sleeps and uses: what can be spent of each feature, until when, and what is
    /// owed are the same; and both ledgers keep their laws.
    #[test]
    fn a_sleeper_has_what_one_who_is_awake_has(
        first in any_item("first"), second in proptest::option::of(any_item("second")), bounds in any_bounds(),
        life in proptest::collection::vec((0_i64..45, 0_u32..12, 0_i64..1_000), 1..6),
    ) {
        let items: Vec<Item> = [Some(first), second].into_iter().flatten().collect();
        let shortest = items.iter().filter_map(|item| item.reset)
            .map(|every| unit_seconds(every.unit) * i64::from(every.count)).min().unwrap_or(2_629_746);
        let (mut awake, mut asleep) = (world(&items, &bounds), world(&items, &bounds));
        for (periods, used, fraction) in life {
            let until = awake.now + SignedDuration::from_secs(periods * shortest + fraction * shortest / 1_000);
            stay_awake(&mut awake, until);
            sleep(&mut asleep, until);
            prop_assert_eq!(spendable(&asleep), spendable(&awake), "at {}", until);
            for of in ["calls", "notes"] {
                spend(&mut awake, of, used);
                spend(&mut asleep, of, used);
            }
            prop_assert_eq!(spendable(&asleep), spendable(&awake), "after the use at {}", until);
        }
        awake.must_keep_the_laws();
        asleep.must_keep_the_laws();
        prop_assert!(asleep.state.seq <= awake.state.seq, "sleep books less, never more");
    }

    /// Settling again at the same time books nothing.
    #[test]
    fn settling_is_idempotent(one in any_item("first"), bounds in any_bounds(), seconds in 0_i64..200_000_000) {
        let mut world = world(&[one], &bounds);
        let until = world.now + SignedDuration::from_secs(seconds);
        sleep(&mut world, until);
        let before = (world.state.seq, world.state.head, world.state.next_due_at);
        for _ in 0..3 {
            sleep(&mut world, until);
            prop_assert_eq!((world.state.seq, world.state.head, world.state.next_due_at), before);
        }
        prop_assert!(world.state.next_due_at.is_none_or(|due| due > until), "nothing stays due");
    }
}

/// Seen by the law above: of two items of one feature the one's last period is over, and ended the other's grace.
#[test]
fn a_period_that_is_over_ended_the_grace_of_others() {
    let every = |unit, count| Some(Interval { unit, count });
    let long = Item {
        included: Some(credits("1")),
        reset: every(IntervalUnit::Month, 2),
        ..item("long", "calls", None, false)
    };
    let short = Item { reset: every(IntervalUnit::Week, 1), id: "short".to_owned(), ..long.clone() };
    let bounds = Bounds { paid_for: Some(68_342_401), seats: 1, ..Bounds::default() };
    let (mut awake, mut asleep) = (world(&[long.clone(), short.clone()], &bounds), world(&[long, short], &bounds));
    let until = "2028-03-12T00:04:19Z".parse().unwrap();
    stay_awake(&mut awake, until);
    sleep(&mut asleep, until);
    assert_eq!(spendable(&asleep), spendable(&awake));
}

fn every_minute(rollover: Option<Rollover>) -> Item {
    let reset = Some(Interval { unit: IntervalUnit::Minute, count: 1 });
    Item { included: Some(credits("1")), reset, rollover, ..item("first", "calls", None, false) }
}

/// Ten years of minutes are five million periods: what is booked of them is bounded, debt or not.
#[test]
fn ten_years_of_minutes_are_bounded() {
    let endless = Rollover { max: None, max_percent: None, months: None };
    for (rollover, owed) in [(None, 0), (None, 300), (Some(endless), 0), (Some(endless), 1_000_000)] {
        let mut world = world(&[every_minute(rollover)], &Bounds { seats: 1, owed, ..Bounds::default() });
        let before = world.state.seq;
        let until = world.now + SignedDuration::from_hours(24 * 3_652);
        sleep(&mut world, until);
        let lines = world.state.seq - before;
        assert!(lines < 4_000, "{lines} lines for {rollover:?} and a debt of {owed}");
        if rollover.is_none() {
            assert!(spendable(&world).0.values().sum::<i128>() <= 1_000_000_000);
        }
        world.must_keep_the_laws();
    }
}

/// A debt that skipped periods would have repaid is repaid by them.
#[test]
fn skipped_periods_repay_what_is_owed() {
    let item = Item { included: Some(credits("5")), ..item("first", "calls", None, false) };
    let mut world = world(&[item], &Bounds { seats: 1, owed: 12, ..Bounds::default() });
    let until = world.now + SignedDuration::from_hours(24 * 200);
    sleep(&mut world, until);
    assert_eq!(world.state.debts[0].outstanding, Credits::ZERO);
    assert_eq!(world.available_of(&feature("calls")), credits("5"));
}

/// A month that began, and whose plan ended, while everybody slept lasts to its end (rule 16).
#[test]
fn a_month_that_began_before_the_end_of_its_plan_is_given() {
    let item = Item { included: Some(credits("5")), ..item("first", "calls", None, false) };
    let days = |days: i64| days * 86_400;
    let bounds = Bounds { cancelled_after: Some(days(70)), seats: 1, ..Bounds::default() };
    let mut world = world(&[item], &bounds);
    let until = world.now + SignedDuration::from_hours(24 * 75);
    sleep(&mut world, until);
    assert!(!world.state.attachments[0].is_live());
    assert_eq!(world.available_of(&feature("calls")), credits("5"), "March's, until the first of April");
}
