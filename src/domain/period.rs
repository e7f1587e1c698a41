//! Period boundaries, always computed from the stored anchor: day 31 never drifts to the 28th (rule 17).

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

use super::catalog::{Expiry, Interval, IntervalUnit, ResetAnchor};

/// Periods looked through at most when the closed form is corrected; the estimate is off by one or two.
const CORRECTION_STEPS: u32 = 4;

/// A period `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodSpan {
    /// Inclusive.
    pub start: Timestamp,
    /// Exclusive.
    pub end: Timestamp,
}

/// The times are outside what the calendar can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a period's boundary lies outside the years -9999 to 9999")]
pub struct OutOfCalendar;

fn span_of(interval: Interval, periods: i64) -> Result<Span, OutOfCalendar> {
    let count = i64::from(interval.count).checked_mul(periods).ok_or(OutOfCalendar)?;
    let span = match interval.unit {
        IntervalUnit::Minute => Span::new().try_minutes(count),
        IntervalUnit::Hour => Span::new().try_hours(count),
        IntervalUnit::Day => Span::new().try_days(count),
        IntervalUnit::Week => Span::new().try_weeks(count),
        IntervalUnit::Month => Span::new().try_months(count),
        IntervalUnit::Year => Span::new().try_years(count),
    };
    span.map_err(|_| OutOfCalendar)
}

/// Boundary number `n` counted from the anchor in a zone; month ends are cut to the month they fall in.
fn boundary(anchor: DateTime, zone: &TimeZone, interval: Interval, n: i64) -> Result<Timestamp, OutOfCalendar> {
    let at = anchor.checked_add(span_of(interval, n)?).map_err(|_| OutOfCalendar)?;
    zone.to_ambiguous_timestamp(at).compatible().map_err(|_| OutOfCalendar)
}

/// The period that contains `now`, or the first one when `now` lies before the anchor. Closed form: an estimate by
/// average length, then at most a few steps.
pub fn containing(
    anchor: Timestamp,
    rule: &ResetAnchor,
    interval: Interval,
    now: Timestamp,
) -> Result<PeriodSpan, OutOfCalendar> {
    let (civil, zone) = grid(anchor, rule, interval)?;
    let origin = boundary(civil, &zone, interval, 0)?;
    let elapsed = now.as_second().checked_sub(origin.as_second()).ok_or(OutOfCalendar)?;
    let mut n = elapsed.checked_div(interval.average_seconds()).ok_or(OutOfCalendar)?.max(0);
    for _ in 0..CORRECTION_STEPS {
        if n > 0 && boundary(civil, &zone, interval, n)? > now {
            n = n.saturating_sub(1);
        } else if boundary(civil, &zone, interval, n.saturating_add(1))? <= now {
            n = n.saturating_add(1);
        } else {
            break;
        }
    }
    let start = boundary(civil, &zone, interval, n)?;
    let end = boundary(civil, &zone, interval, n.saturating_add(1))?;
    // A calendar's first period starts with the attachment, not with the month before it.
    Ok(PeriodSpan { start: start.max(anchor.min(end)), end })
}

/// The time one period before another.
pub fn before(at: Timestamp, interval: Interval) -> Result<Timestamp, OutOfCalendar> {
    boundary(TimeZone::UTC.to_datetime(at), &TimeZone::UTC, interval, -1)
}

/// Where the boundaries are counted from, and in which zone.
fn grid(anchor: Timestamp, rule: &ResetAnchor, interval: Interval) -> Result<(DateTime, TimeZone), OutOfCalendar> {
    match rule {
        ResetAnchor::Anniversary => Ok((TimeZone::UTC.to_datetime(anchor), TimeZone::UTC)),
        ResetAnchor::Calendar { time_zone } => {
            let zone = TimeZone::get(time_zone).map_err(|_| OutOfCalendar)?;
            let start = calendar_start(zone.to_datetime(anchor), interval.unit)?;
            match interval.unit {
                // Minutes and hours are real time: counted on local clocks they would pile up or gape where those change.
                IntervalUnit::Minute | IntervalUnit::Hour => {
                    let at = zone.to_ambiguous_timestamp(start).compatible().map_err(|_| OutOfCalendar)?;
                    Ok((TimeZone::UTC.to_datetime(at), TimeZone::UTC))
                }
                IntervalUnit::Day | IntervalUnit::Week | IntervalUnit::Month | IntervalUnit::Year => Ok((start, zone)),
            }
        }
    }
}

fn calendar_start(local: DateTime, unit: IntervalUnit) -> Result<DateTime, OutOfCalendar> {
    let date = local.date();
    let hour = |minute: i8| date.at(local.hour(), minute, 0, 0);
    Ok(match unit {
        IntervalUnit::Minute => hour(local.minute()),
        IntervalUnit::Hour => hour(0),
        IntervalUnit::Day => midnight(date),
        IntervalUnit::Week => {
            let back = i64::from(date.weekday().since(Weekday::Monday));
            midnight(date.checked_sub(back.days()).map_err(|_| OutOfCalendar)?)
        }
        IntervalUnit::Month => midnight(date.first_of_month()),
        IntervalUnit::Year => midnight(date.first_of_year()),
    })
}

fn midnight(date: Date) -> DateTime {
    date.at(0, 0, 0, 0)
}

/// When credits given at `from` end; `None`: never.
pub fn expiry(from: Timestamp, rule: Expiry) -> Result<Option<Timestamp>, OutOfCalendar> {
    let span = match rule {
        Expiry::Never => return Ok(None),
        Expiry::Days(days) => Span::new().try_days(i64::from(days)),
        Expiry::Months(months) => Span::new().try_months(i64::from(months)),
    };
    let civil = TimeZone::UTC.to_datetime(from).checked_add(span.map_err(|_| OutOfCalendar)?);
    let civil = civil.map_err(|_| OutOfCalendar)?;
    TimeZone::UTC.to_timestamp(civil).map(Some).map_err(|_| OutOfCalendar)
}
