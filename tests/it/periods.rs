//! Period boundaries against a reference that walks month by month.

use creditd::domain::catalog::{Interval, IntervalUnit, ResetAnchor};
use creditd::domain::period::containing;
use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use rstest::rstest;

const MONTH: Interval = Interval { unit: IntervalUnit::Month, count: 1 };

/// The anchor's day in month number `n` after it, or that month's last day: no arithmetic on the month before.
fn month_after(anchor: DateTime, n: i32) -> DateTime {
    let months = i32::from(anchor.year()) * 12 + i32::from(anchor.month()) - 1 + n;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let first = date(i16::try_from(year).unwrap(), i8::try_from(month).unwrap(), 1);
    let day = anchor.day().min(first.days_in_month());
    DateTime::from_parts(date(first.year(), first.month(), day), anchor.time())
}

fn utc(at: DateTime) -> Timestamp {
    TimeZone::UTC.to_timestamp(at).unwrap()
}

/// Every start day of a leap year and the year after it, 120 months each: boundaries, the moment before, the middle.
#[test]
fn months_never_drift_from_their_anchor() {
    let mut day: Date = date(2024, 1, 1);
    while day.year() < 2026 {
        let anchor = day.at(13, 5, 59, 0);
        for n in 0..120 {
            let (start, end) = (utc(month_after(anchor, n)), utc(month_after(anchor, n + 1)));
            let middle = start + SignedDuration::from_hours(24 * 13);
            for now in [start, middle, end - SignedDuration::from_micros(1)] {
                let span = containing(utc(anchor), &ResetAnchor::Anniversary, MONTH, now).unwrap();
                assert_eq!((span.start, span.end), (start, end), "anchor {anchor}, month {n}, now {now}");
            }
        }
        day = day.tomorrow().unwrap();
    }
}

/// The first of each month at local midnight, whatever the clocks do.
#[rstest]
#[case("Europe/Berlin")]
#[case("America/New_York")]
#[case("America/Sao_Paulo")]
#[case("Australia/Lord_Howe")]
#[case("Asia/Kathmandu")]
#[case("Pacific/Apia")]
#[case("Africa/Cairo")]
fn calendar_months_start_at_local_midnight(#[case] zone: &str) {
    let rule = ResetAnchor::Calendar { time_zone: zone.to_owned() };
    let zone = TimeZone::get(zone).unwrap();
    let local = |at: DateTime| zone.to_ambiguous_timestamp(at).compatible().unwrap();
    let anchor = local(date(2010, 1, 17).at(9, 30, 0, 0));
    for n in 0..180 {
        let first = month_after(date(2010, 1, 1).at(0, 0, 0, 0), n);
        let (start, end) = (local(first), local(month_after(first, 1)));
        let begins = start.max(anchor);
        for now in [begins, end - SignedDuration::from_micros(1)] {
            let span = containing(anchor, &rule, MONTH, now).unwrap();
            assert_eq!((span.start, span.end), (begins, end), "month {n} in {now}");
        }
    }
}

/// Days of 23 and 25 hours are one day each.
#[test]
fn calendar_days_follow_the_clocks() {
    let rule = ResetAnchor::Calendar { time_zone: "Europe/Berlin".to_owned() };
    let every = Interval { unit: IntervalUnit::Day, count: 1 };
    let anchor: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for (now, start, end) in [
        ("2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
    ] {
        let span = containing(anchor, &rule, every, now.parse().unwrap()).unwrap();
        assert_eq!((span.start.to_string(), span.end.to_string()), (start.to_owned(), end.to_owned()));
    }
}

#[test]
fn a_leap_day_comes_back_in_leap_years_only() {
    let every = Interval { unit: IntervalUnit::Year, count: 1 };
    let anchor: Timestamp = "2024-02-29T00:00:00Z".parse().unwrap();
    let starts = [2025, 2026, 2027, 2028, 2029].map(|year: i16| {
        let now = utc(date(year, 6, 1).at(0, 0, 0, 0));
        containing(anchor, &ResetAnchor::Anniversary, every, now).unwrap().start.to_string()
    });
    let wanted = ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29", "2029-02-28"];
    assert_eq!(starts, wanted.map(|day| format!("{day}T00:00:00Z")));
}

#[test]
fn before_the_anchor_the_first_period_is_meant() {
    let anchor: Timestamp = "2026-01-31T10:00:00Z".parse().unwrap();
    let before: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    let span = containing(anchor, &ResetAnchor::Anniversary, MONTH, before).unwrap();
    assert_eq!((span.start, span.end), (anchor, "2026-02-28T10:00:00Z".parse().unwrap()));
}

fn any_unit() -> impl Strategy<Value = IntervalUnit> {
    use IntervalUnit::{Day, Hour, Minute, Month, Week, Year};
    proptest::sample::select(vec![Minute, Hour, Day, Week, Month, Year])
}

fn any_rule() -> impl Strategy<Value = ResetAnchor> {
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"];
    let calendar = proptest::sample::select(zones.to_vec());
    prop_oneof![
        Just(ResetAnchor::Anniversary),
        calendar.prop_map(|zone| ResetAnchor::Calendar { time_zone: zone.to_owned() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the interval and wherever the boundaries: now lies in its period, and the next one begins where it ends.
    #[test]
    fn periods_contain_now_and_leave_no_gap(
        unit in any_unit(), count in prop_oneof![Just(1_u16), 1_u16..13, 1_u16..1_001], rule in any_rule(),
        anchor in 1_577_836_800_i64..1_893_456_000, later in 0_i64..400_000_000,
    ) {
        let anchor = Timestamp::from_second(anchor).unwrap();
        let every = Interval { unit, count };
        let now = anchor + SignedDuration::from_secs(later);
        let span = containing(anchor, &rule, every, now).unwrap();
        prop_assert!(span.start <= now && now < span.end, "{now} is not in {span:?}");
        prop_assert!(span.start >= anchor);
        let next = containing(anchor, &rule, every, span.end).unwrap();
        prop_assert_eq!(next.start, span.end);
        let again = containing(anchor, &rule, every, span.start).unwrap();
        prop_assert_eq!(again, span, "a period's start leads to it");
    }
}

#[test]
fn local_days_of_the_reference_are_days() {
    // The reference itself: 31 January, then the last of February, then 31 March.
    let anchor = date(2023, 1, 31).at(0, 0, 0, 0);
    assert_eq!(month_after(anchor, 1).date(), date(2023, 2, 28));
    assert_eq!(month_after(anchor, 2).date(), date(2023, 3, 31));
    assert_eq!(month_after(anchor, 13).date(), date(2024, 2, 29));
    assert_eq!(anchor.date().checked_add(1.day()).unwrap(), date(2023, 2, 1));
}

/// Where the clocks change by an hour, at midnight (Sao Paulo), by a whole day (Apia in 2011), or stand at a quarter.
const ZONES: [&str; 4] = ["Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"];

fn rules() -> Vec<ResetAnchor> {
    let calendar = ZONES.iter().map(|zone| ResetAnchor::Calendar { time_zone: (*zone).to_owned() });
    std::iter::once(ResetAnchor::Anniversary).chain(calendar).collect()
}

/// Walks so many periods from the anchor: each begins where the one before ends, each is longer than nothing, and its last
/// moment leads to it as its first one does.
fn must_tile(anchor: Timestamp, rule: &ResetAnchor, every: Interval, periods: usize) -> Vec<Timestamp> {
    let mut starts = Vec::with_capacity(periods);
    let mut now = anchor;
    for number in 0..periods {
        let span = containing(anchor, rule, every, now).unwrap();
        let told = || format!("period {number} of {every:?} by {rule:?} from {anchor}: {span:?}");
        assert_eq!(span.start, now, "{}", told());
        assert!(span.end > span.start, "{}", told());
        let last = span.end - SignedDuration::from_micros(1);
        assert_eq!(containing(anchor, rule, every, last).unwrap(), span, "{}", told());
        starts.push(span.start);
        now = span.end;
    }
    starts
}

/// Every start day of a leap year and of a common one, at a moment that is another day in the east and in the west, for
/// 120 months: by its own day and by the calendars of zones with summer time.
#[test]
fn every_start_day_tiles_120_months_in_every_zone() {
    for rule in rules() {
        for year in [2023, 2024] {
            let mut day = date(year, 1, 1);
            while day.year() == year {
                let anchor = day.at(22, 30, 0, 0);
                let starts = must_tile(utc(anchor), &rule, MONTH, 120);
                if rule == ResetAnchor::Anniversary {
                    for (number, start) in (0..).zip(&starts) {
                        assert_eq!(*start, utc(month_after(anchor, number)), "{anchor} after {number} months");
                    }
                }
                // Every third day is enough beside the days where months end.
                let step = if day.day() >= 27 || day.day() <= 2 { 1 } else { 3 };
                day = day.checked_add(i64::from(step).days()).unwrap();
            }
        }
    }
}

/// The 31st comes back in every month that has one; 29 February in every leap year.
#[rstest]
#[case::thirty_first(date(2024, 1, 31), MONTH, 31)]
#[case::thirtieth(date(2023, 11, 30), MONTH, 30)]
#[case::leap_day(date(2024, 2, 29), MONTH, 29)]
#[case::leap_day_by_years(date(2024, 2, 29), Interval { unit: IntervalUnit::Year, count: 1 }, 29)]
#[case::by_quarters(date(2024, 8, 31), Interval { unit: IntervalUnit::Month, count: 3 }, 31)]
fn the_day_of_the_anchor_never_drifts(#[case] day: Date, #[case] every: Interval, #[case] wanted: i8) {
    let anchor = utc(day.at(10, 0, 0, 0));
    for start in must_tile(anchor, &ResetAnchor::Anniversary, every, 120) {
        let start = TimeZone::UTC.to_datetime(start).date();
        assert_eq!(start.day(), wanted.min(start.days_in_month()), "{start}");
    }
}

/// Days, weeks and hours over the days that are missing, doubled, 23 or 25 hours long.
#[rstest]
#[case::apia_skips_a_day("Pacific/Apia", "2011-12-20T10:00:00Z")]
#[case::berlin("Europe/Berlin", "2026-03-20T10:00:00Z")]
#[case::sao_paulo_at_midnight("America/Sao_Paulo", "2018-10-25T10:00:00Z")]
#[case::kathmandu("Asia/Kathmandu", "1985-12-20T10:00:00Z")]
fn short_periods_tile_over_changes_of_the_clocks(#[case] zone: &str, #[case] anchor: &str) {
    let rule = ResetAnchor::Calendar { time_zone: zone.to_owned() };
    for unit in [IntervalUnit::Hour, IntervalUnit::Day, IntervalUnit::Week] {
        for count in [1, 3] {
            must_tile(anchor.parse().unwrap(), &rule, Interval { unit, count }, 400);
        }
    }
}
