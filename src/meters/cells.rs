//! Counters, gauges and histograms whose labels are bounded, in one registry of the process.
//!
//! A family's cells lie in one table, by the places of the label values in their lists; a cell's handle is made the
//! first time it is used.

use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use metrics::{Key, Label as KeyLabel, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use super::list::{self, Family, Kind};
use crate::clock::instant;

/// What a value is counted as that is not in its label's list.
pub const OTHER: &str = "other";
/// Only the registry's own filter looks at it, and there is none.
static METADATA: Metadata<'static> = Metadata::new("creditd", Level::INFO, None);

static REGISTRY: LazyLock<PrometheusRecorder> = LazyLock::new(|| {
    let mut builder = PrometheusBuilder::new();
    for family in list::ALL {
        let name = Matcher::Full(family.name.to_owned());
        // Refused are empty lists of edges only, and these are none.
        builder = match family.kind {
            Kind::Counter | Kind::Gauge => builder,
            // From a fast answer of the database to the longest a request may take.
            Kind::Seconds => builder
                .set_buckets_for_metric(
                    name,
                    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0],
                )
                .unwrap_or_default(),
            // Up to the largest batch.
            Kind::Sizes => builder
                .set_buckets_for_metric(name, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
                .unwrap_or_default(),
        };
    }
    let registry = builder.build_recorder();
    for family in list::ALL {
        match family.kind {
            Kind::Counter => registry.describe_counter(family.name.into(), None, family.help.into()),
            Kind::Gauge => registry.describe_gauge(family.name.into(), None, family.help.into()),
            Kind::Seconds | Kind::Sizes => registry.describe_histogram(family.name.into(), None, family.help.into()),
        }
    }
    registry
});

/// The registry as Prometheus reads it.
pub fn render() -> String {
    super::prepare();
    REGISTRY.handle().render()
}

/// Folds what histograms were told since the last time into their buckets. Without it, what is told piles up until
/// somebody scrapes.
pub fn fold() {
    REGISTRY.handle().run_upkeep();
}

/// The cells of a family: one for each combination of its labels' values.
#[derive(Debug)]
struct Cells<T> {
    family: &'static Family,
    /// Of a label whose values the family does not list.
    told: Vec<&'static str>,
    slots: Box<[OnceLock<T>]>,
}

impl<T> Cells<T> {
    fn of(family: &'static Family, told: &[&'static str]) -> Self {
        let mut made = Self { family, told: told.to_vec(), slots: Box::default() };
        let count: usize = family.labels.iter().map(|label| made.values(label).len().saturating_add(1)).product();
        made.slots = (0..count).map(|_| OnceLock::new()).collect();
        made
    }

    fn values<'a>(&'a self, label: &list::Label) -> &'a [&'static str] {
        if label.values.is_empty() { &self.told } else { label.values }
    }

    /// The cell of these values, in the order of the family's labels.
    fn cell(&self, values: &[&str], make: impl FnOnce(&Key) -> T) -> Option<&T> {
        let mut place = 0_usize;
        for (label, value) in self.family.labels.iter().zip(values) {
            let known = self.values(label);
            let position = known.iter().position(|known| known == value).unwrap_or(known.len());
            place = place.saturating_mul(known.len().saturating_add(1)).saturating_add(position);
        }
        let cell = self.slots.get(place)?;
        Some(cell.get_or_init(|| make(&self.key(values))))
    }

    fn key(&self, values: &[&str]) -> Key {
        let labels = self.family.labels.iter().zip(values).map(|(label, value)| {
            let known = self.values(label).iter().find(|known| *known == value);
            KeyLabel::from_static_parts(label.name, known.copied().unwrap_or(OTHER))
        });
        Key::from_parts(self.family.name, labels.collect::<Vec<_>>())
    }
}

/// Counters of one family.
#[derive(Debug)]
pub struct Counters(Cells<metrics::Counter>);

impl Counters {
    /// Those of a family; `told` are the values of the label that lists none.
    pub fn of(family: &'static Family, told: &[&'static str]) -> Self {
        Self(Cells::of(family, told))
    }

    /// Those of a family with one label, each there from the start.
    pub fn all(family: &'static Family) -> Self {
        let made = Self::of(family, &[]);
        for value in family.labels.iter().flat_map(|label| label.values) {
            made.cell(&[value]);
        }
        made
    }

    fn cell(&self, values: &[&str]) -> Option<&metrics::Counter> {
        self.0.cell(values, |key| REGISTRY.register_counter(key, &METADATA))
    }

    /// Counts one.
    pub fn add(&self, values: &[&str]) {
        if let Some(counter) = self.cell(values) {
            counter.increment(1);
        }
    }
}

/// Histograms of one family.
#[derive(Debug)]
pub struct Histograms(Cells<metrics::Histogram>);

impl Histograms {
    /// Those of a family; `told` are the values of the label that lists none.
    pub fn of(family: &'static Family, told: &[&'static str]) -> Self {
        Self(Cells::of(family, told))
    }

    /// Something took so long.
    pub fn took(&self, values: &[&str], time: Duration) {
        if let Some(histogram) = self.cell(values) {
            histogram.record(time);
        }
    }

    /// There were so many.
    pub fn size(&self, count: usize) {
        if let Some(histogram) = self.cell(&[]) {
            histogram.record(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Waits for something and records how long it took.
    pub async fn time<F: Future>(&self, work: F) -> F::Output {
        let began = instant();
        let done = work.await;
        self.took(&[], began.elapsed());
        done
    }

    fn cell(&self, values: &[&str]) -> Option<&metrics::Histogram> {
        self.0.cell(values, |key| REGISTRY.register_histogram(key, &METADATA))
    }
}

/// How many of something there are now.
#[derive(Debug)]
pub struct Gauge(metrics::Gauge);

/// One of them; gone when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Present {
    gauge: &'static Gauge,
    since: Instant,
}

impl Gauge {
    /// The gauge of a family without labels.
    pub fn of(family: &'static Family) -> Self {
        let gauge = REGISTRY.register_gauge(&Key::from_static_name(family.name), &METADATA);
        gauge.increment(0);
        Self(gauge)
    }

    /// One more, until what is returned is dropped.
    pub fn enter(&'static self) -> Present {
        self.0.increment(1);
        Present { gauge: self, since: instant() }
    }
}

impl Present {
    /// How long it has been there.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.gauge.0.decrement(1);
    }
}
