//! One history through model and engine, and the shortest beginning of it that they differ on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use super::engine::Engine;
use super::histories::{Dice, history, shop};
use super::reference::Model;
use super::words::{Act, Answer, Picture, Shop, Step};

/// Where model and engine part, both sides in words.
#[derive(Debug)]
pub(crate) struct Difference {
    step: usize,
    text: String,
}

/// The history of a seed, through the engine as it sleeps and as it is woken for everything that falls due.
pub(crate) fn agree(seed: u64) -> Result<usize, String> {
    let mut dice = Dice::new(seed);
    let (shop, opens) = shop(&mut dice);
    let shop = Arc::new(shop);
    let steps = history(&mut dice);
    let engines: &[bool] = if seed.is_multiple_of(4) { &[false, true] } else { &[seed % 4 == 1] };
    for punctual in engines {
        if let Err(difference) = caught(|| compare(&shop, opens, &steps, *punctual, false), steps.len()) {
            return Err(explain(seed, &shop, opens, &steps, *punctual, &difference));
        }
    }
    Ok(steps.len())
}

/// A panic of either side is a difference too, at the end of so many steps.
fn caught(
    compare: impl FnOnce() -> Result<(), Difference> + std::panic::UnwindSafe,
    steps: usize,
) -> Result<(), Difference> {
    let panicked = |_| Err(Difference { step: steps.saturating_sub(1), text: "a panic, see above".to_owned() });
    std::panic::catch_unwind(compare).unwrap_or_else(panicked)
}

/// The difference between the two over a history; with `all` every question is asked after every step.
pub(crate) fn compare(
    shop: &Arc<Shop>,
    opens: i64,
    steps: &[Step],
    punctual: bool,
    all: bool,
) -> Result<(), Difference> {
    let mut model = Model::new(shop.clone(), opens);
    let mut engine = Engine::new(shop, opens, punctual);
    let mut number = 0;
    while number < steps.len() {
        let together = batch(&steps[number..]);
        let batch = &steps[number..number + together];
        let answers = engine.steps(number, batch);
        for (place, (step, theirs)) in batch.iter().zip(answers).enumerate() {
            let ours: Answer = model.step(number + place, step);
            differ(number + place, "answer", &ours, &theirs)?;
        }
        number += together;
        let asked = Some(number).filter(|_| !all);
        let (ours, theirs) = (model.picture(asked), engine.picture(asked));
        if ours != theirs {
            pictures_differ(number - 1, &ours, &theirs)?;
        }
        engine.must_add_up();
    }
    Ok(())
}

/// How many of the next steps are decided together: those that are joined, as far as nobody names a hold of which the
/// answer is not there yet.
fn batch(steps: &[Step]) -> usize {
    let names_hold =
        |act: &Act| matches!(act, Act::Track { hold: Some(_), .. } | Act::Extend { .. } | Act::Release { .. });
    let mut has_hold = matches!(steps[0].act, Act::Hold { .. });
    let mut count = 1;
    for step in &steps[1..] {
        let is_early = has_hold && names_hold(&step.act);
        has_hold |= matches!(step.act, Act::Hold { .. });
        if !step.joined || is_early {
            break;
        }
        count += 1;
    }
    count
}

fn pictures_differ(step: usize, ours: &Picture, theirs: &Picture) -> Result<(), Difference> {
    maps_differ(step, "grants (left, held)", &ours.lots, &theirs.lots)?;
    maps_differ(step, "balances (available, held)", &ours.balances, &theirs.balances)?;
    maps_differ(step, "debts", &ours.debts, &theirs.debts)?;
    maps_differ(step, "levels", &ours.levels, &theirs.levels)?;
    maps_differ(step, "used of limits", &ours.limits, &theirs.limits)?;
    for (ours, theirs) in ours.checks.iter().zip(&theirs.checks) {
        differ(step, "a check", ours, theirs)?;
    }
    Ok(())
}

/// Shows of two lists only what they do not share.
fn maps_differ<K: Ord + Debug, V: PartialEq + Debug>(
    step: usize,
    what: &str,
    ours: &BTreeMap<K, V>,
    theirs: &BTreeMap<K, V>,
) -> Result<(), Difference> {
    let beside = |one: &BTreeMap<K, V>, other: &BTreeMap<K, V>| -> Vec<String> {
        let own = one.iter().filter(|(name, value)| other.get(name) != Some(value));
        own.map(|row| format!("{row:?}")).collect()
    };
    differ(step, what, &beside(ours, theirs), &beside(theirs, ours))
}

fn differ<T: PartialEq + Debug>(step: usize, what: &str, ours: &T, theirs: &T) -> Result<(), Difference> {
    if ours == theirs {
        return Ok(());
    }
    Err(Difference { step, text: format!("{what}\n  model:  {ours:?}\n  engine: {theirs:?}") })
}

/// Leaves steps out as long as the two still differ, and says what is left.
fn explain(seed: u64, shop: &Arc<Shop>, opens: i64, steps: &[Step], punctual: bool, first: &Difference) -> String {
    let mut kept: Vec<Step> = steps[..=first.step].to_vec();
    let mut last = None;
    let mut place = 0;
    while place < kept.len() {
        let mut fewer = kept.clone();
        let gone = fewer.remove(place);
        if let Some(next) = fewer.get_mut(place) {
            next.wait += gone.wait;
            next.joined &= gone.joined;
        }
        if let Err(difference) = caught(|| compare(shop, opens, &fewer, punctual, true), fewer.len()) {
            fewer.truncate(difference.step + 1);
            (kept, last, place) = (fewer, Some(difference), 0);
        } else {
            place += 1;
        }
    }
    let difference = last.as_ref().unwrap_or(first);
    let listed: Vec<String> = kept.iter().enumerate().map(|(number, step)| format!("  {number}: {step:?}")).collect();
    format!(
        "history {seed} (engine {}), step {}: {}\n{} of its {} steps suffice, from {opens}:\n{}\nshop: {shop:?}",
        if punctual { "woken on time" } else { "asleep" },
        difference.step,
        difference.text,
        kept.len(),
        steps.len(),
        listed.join("\n"),
    )
}
