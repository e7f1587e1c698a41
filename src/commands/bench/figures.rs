//! Numbers of rounds become figures, and figures become ratios with their bars. Integers throughout: rates are per
//! second, times in microseconds, ratios in thousandths.

use serde::Serialize;

use super::load::Load;

/// One round of one measure.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// What the clients saw.
    pub(super) load: Load,
    /// Processor time of the server that was asked, per answer.
    pub(super) server_cpu_micros: Option<u64>,
    /// Processor time of Postgres, per answer.
    pub(super) postgres_cpu_micros: Option<u64>,
    /// Memory of the daemon with all clients connected.
    pub(super) resident_kib: Option<u64>,
}

/// A measure's median over its rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) clients: usize,
    pub(super) rounds: usize,
    pub(super) per_second: u64,
    pub(super) p50_micros: u64,
    pub(super) p99_micros: u64,
    pub(super) server_cpu_micros: Option<u64>,
    pub(super) postgres_cpu_micros: Option<u64>,
    pub(super) resident_kib: Option<u64>,
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) unanswered: u64,
}

impl Figure {
    /// The medians; nothing without a round.
    pub(super) fn of(name: &'static str, clients: usize, rounds: &[Round]) -> Option<Self> {
        let of = |pick: &dyn Fn(&Round) -> u64| median(rounds.iter().map(pick).collect());
        let of_known = |pick: &dyn Fn(&Round) -> Option<u64>| {
            let known: Option<Vec<u64>> = rounds.iter().map(pick).collect();
            median(known?)
        };
        let sum = |pick: &dyn Fn(&Round) -> u64| rounds.iter().map(pick).fold(0, u64::saturating_add);
        Some(Self {
            name,
            clients,
            rounds: rounds.len(),
            per_second: of(&|round| per_second(round.load.acknowledged, round.load.elapsed_micros))?,
            p50_micros: of(&|round| round.load.p50_micros)?,
            p99_micros: of(&|round| round.load.p99_micros)?,
            server_cpu_micros: of_known(&|round| round.server_cpu_micros),
            postgres_cpu_micros: of_known(&|round| round.postgres_cpu_micros),
            resident_kib: of_known(&|round| round.resident_kib),
            answered: sum(&|round| round.load.acknowledged),
            refused: sum(&|round| round.load.refused),
            unanswered: sum(&|round| round.load.unknown),
        })
    }
}

/// A bar: which figures it compares and how.
struct Bar {
    name: &'static str,
    over: &'static str,
    under: &'static str,
    least_thousandths: u64,
}

const BARS: [Bar; 7] = [
    Bar { name: "track spread / naive", over: "track-spread", under: "naive-spread", least_thousandths: 1_500 },
    Bar {
        name: "track spread wide / naive",
        over: "track-spread-wide",
        under: "naive-spread",
        least_thousandths: 2_500,
    },
    Bar { name: "track hot / naive hot", over: "track-hot", under: "naive-hot", least_thousandths: 8_000 },
    Bar {
        name: "track spread few / naive few",
        over: "track-spread-few",
        under: "naive-spread-few",
        least_thousandths: 600,
    },
    Bar { name: "check / hello", over: "check", under: "hello", least_thousandths: 350 },
    // With explain a check costs less than twice as much.
    Bar { name: "check explain / check", over: "check-explain", under: "check", least_thousandths: 501 },
    Bar { name: "webhooks / Node", over: "webhooks", under: "node-webhooks", least_thousandths: 2_000 },
];
/// The measure whose clients are all connected when memory is read, and the most that the daemon may have then: 64 MiB.
pub(super) const RESIDENT_AT: &str = "track-spread-wide";
const RESIDENT_KIB_MAX: u64 = 64 * 1024;
/// The most that 99 of 100 deliveries may take, in thousandths of the time in which one client commits alone.
const WEBHOOK_P99_COMMITS_MAX: u64 = 8_000;

/// The most that half of the top-ups may take, from crossing the threshold to the grant, in thousandths of the same and
/// beyond what the simulated Stripe takes for the charge.
const TOP_UP_P50_COMMITS_MAX: u64 = 5_000;

/// What a bar says of the figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ratio {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) bar: u64,
    pub(super) value: Option<u64>,
    pub(super) holds: Option<bool>,
}

/// Every bar held against the figures that there are.
pub(super) fn ratios(figures: &[Figure]) -> Vec<Ratio> {
    let find = |name: &str| figures.iter().find(|figure| figure.name == name);
    let mut ratios = Vec::new();
    for bar in &BARS {
        let value = find(bar.over)
            .zip(find(bar.under))
            .and_then(|(over, under)| over.per_second.checked_mul(1_000)?.checked_div(under.per_second));
        let holds = value.map(|value| value >= bar.least_thousandths);
        ratios.push(Ratio { name: bar.name, unit: "thousandths", bar: bar.least_thousandths, value, holds });
    }
    let value = find("webhooks")
        .zip(find("commit"))
        .and_then(|(webhooks, commit)| webhooks.p99_micros.checked_mul(1_000)?.checked_div(commit.p50_micros));
    let holds = value.map(|value| value < WEBHOOK_P99_COMMITS_MAX);
    let name = "webhooks p99 / commit, at most";
    ratios.push(Ratio { name, unit: "thousandths", bar: WEBHOOK_P99_COMMITS_MAX, value, holds });
    let own = find("top-up").zip(find("top-up-stripe"));
    let own = own.map(|(top_up, stripe)| top_up.p50_micros.saturating_sub(stripe.p50_micros));
    let value =
        own.zip(find("commit")).and_then(|(own, commit)| own.checked_mul(1_000)?.checked_div(commit.p50_micros));
    let holds = value.map(|value| value <= TOP_UP_P50_COMMITS_MAX);
    let name = "top-up p50 less Stripe's / commit, at most";
    ratios.push(Ratio { name, unit: "thousandths", bar: TOP_UP_P50_COMMITS_MAX, value, holds });
    let value = find(RESIDENT_AT).and_then(|figure| figure.resident_kib);
    let holds = value.map(|value| value <= RESIDENT_KIB_MAX);
    ratios.push(Ratio { name: "daemon memory, wide, at most", unit: "KiB", bar: RESIDENT_KIB_MAX, value, holds });
    ratios
}

/// How many a second.
pub(super) fn per_second(count: u64, elapsed_micros: u64) -> u64 {
    count.saturating_mul(1_000_000).checked_div(elapsed_micros).unwrap_or_default()
}

/// The value that so many of a hundred do not exceed, from sorted values.
pub(super) fn percentile(sorted: &[u64], hundredths: usize) -> u64 {
    let rank = sorted.len().saturating_mul(hundredths).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The middle value, of two middle ones the lower.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1).div_euclid(2)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &'static str, per_second: u64) -> Figure {
        let load = Load { elapsed_micros: 1_000_000, acknowledged: per_second, ..Load::default() };
        Figure::of(name, 1, &[Round { load, ..Round::default() }]).unwrap()
    }

    #[test]
    fn ranks_and_medians_are_values_that_were_measured() {
        assert_eq!(percentile(&[], 50), 0);
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (100, 198));
        assert_eq!(percentile(&[7], 99), 7);
        assert_eq!((median(vec![3, 1, 2]), median(vec![4, 1, 2, 3]), median(vec![])), (Some(2), Some(2), None));
        assert_eq!(per_second(3, 0), 0);
    }

    #[test]
    fn a_bar_holds_fails_or_was_not_measured() {
        let ratios =
            ratios(&[figure("check", 35), figure("hello", 100), figure("track-hot", 7), figure("naive-hot", 1)]);
        let says = |name: &str| ratios.iter().find(|ratio| ratio.name == name).map(|ratio| (ratio.value, ratio.holds));
        assert_eq!(says("check / hello"), Some((Some(350), Some(true))));
        assert_eq!(says("track hot / naive hot"), Some((Some(7_000), Some(false))));
        assert_eq!(says("webhooks / Node"), Some((None, None)));
    }

    #[test]
    fn what_one_round_does_not_know_has_no_median() {
        let rounds = [Round { server_cpu_micros: Some(1), ..Round::default() }, Round::default()];
        assert_eq!(Figure::of("check", 1, &rounds).unwrap().server_cpu_micros, None);
    }

    #[test]
    fn a_top_up_is_held_against_commits_and_stripes_own_time() {
        let timed = |name, p50_micros| {
            let load = Load { elapsed_micros: 1, acknowledged: 1, p50_micros, ..Load::default() };
            Figure::of(name, 1, &[Round { load, ..Round::default() }]).unwrap()
        };
        let says = |top_up, stripe| {
            let all = ratios(&[timed("top-up", top_up), timed("top-up-stripe", stripe), timed("commit", 1_000)]);
            all.iter().find(|ratio| ratio.name.starts_with("top-up")).map(|ratio| (ratio.value, ratio.holds)).unwrap()
        };
        assert_eq!(says(7_000, 2_000), (Some(5_000), Some(true)));
        assert_eq!(says(7_001, 2_000), (Some(5_001), Some(false)));
        assert_eq!(says(1_000, 2_000), (Some(0), Some(true)));
    }

    #[test]
    fn the_slowest_deliveries_are_held_against_a_commit() {
        let timed = |name, p50_micros, p99_micros| {
            let load = Load { elapsed_micros: 1, acknowledged: 1, p50_micros, p99_micros, ..Load::default() };
            Figure::of(name, 1, &[Round { load, ..Round::default() }]).unwrap()
        };
        let says = |figures: &[Figure]| {
            let all = ratios(figures);
            all.iter()
                .find(|ratio| ratio.name.starts_with("webhooks p99"))
                .map(|ratio| (ratio.value, ratio.holds))
                .unwrap()
        };
        let (fast, slow, commit) =
            (timed("webhooks", 1, 7_999), timed("webhooks", 1, 8_000), timed("commit", 1_000, 9_000));
        assert_eq!(says(&[fast, commit.clone()]), (Some(7_999), Some(true)));
        assert_eq!(says(&[slow, commit]), (Some(8_000), Some(false)));
        assert_eq!(says(&[]), (None, None));
    }
}
