//! Random shops and histories, each from its seed alone: small amounts, equal expiries and equal priorities, so that
//! things collide.

use std::collections::BTreeMap;

use super::exact::{ONE, Rate};
use super::words::{Act, Dispute, ENTITIES, Every, PRICE, PlanItem, Rollover, SEATS, SPENT, Shop, Short, Span, Step};

/// Steps of the shortest and of the longest history.
const STEPS: (u64, u64) = (5, 40);

/// Numbers that follow from a seed (splitmix64), the same on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.once_in(2)).then(|| make(self))
    }

    /// Mostly whole, sometimes with all nine digits, sometimes next to nothing.
    fn amount(&mut self, most: u64) -> i128 {
        match self.below(10) {
            0 => i128::from(self.below(4)),
            1 => i128::from(self.below(most)) * ONE + i128::from(self.below(1_000_000_000)),
            2 => i128::from(self.below(4 * most)) * ONE / 4,
            _ => i128::from(self.below(most)) * ONE,
        }
    }

    fn entity(&mut self) -> &'static str {
        if self.once_in(3) { self.one_of(&ENTITIES) } else { "" }
    }

    fn spent(&mut self) -> &'static str {
        self.one_of(&["messages", "messages", "calls", "credits", "credits", "points"])
    }
}

/// Credits for one unit, from none over a third of one to several.
fn rate(dice: &mut Dice) -> Rate {
    const RATES: [Rate; 9] = [
        1_000_000_000_000_000_000,
        1_000_000_000_000_000_000,
        500_000_000_000_000_000,
        333_333_333_333_333_333,
        2_500_000_000_000_000_000,
        3_000_000_000_000_000_000,
        10_000_000_000_000_000,
        142_857_142_857_142_857,
        0,
    ];
    dice.one_of(&RATES)
}

fn every(dice: &mut Dice) -> Option<Every> {
    match dice.below(8) {
        0 => None,
        1 => Some(Every::Days(1)),
        2..4 => Some(Every::Days(7)),
        4 => Some(Every::Months(3)),
        _ => Some(Every::Months(1)),
    }
}

/// What comes daily rolls over for months only: more grants than a year has days are not kept.
fn rollover(dice: &mut Dice, every: Option<Every>) -> Rollover {
    let (most, percent) = match dice.below(3) {
        0 => (None, None),
        1 => (Some(dice.amount(15)), None),
        _ => (None, Some(dice.one_of(&[1, 33, 100, 250]))),
    };
    let months = dice.one_of(&[1, 2, 6]);
    let is_endless = every != Some(Every::Days(1)) && dice.once_in(2);
    Rollover { most, percent, months: (!is_endless).then_some(months) }
}

/// A shop, with the second at which its customer comes.
pub(crate) fn shop(dice: &mut Dice) -> (Shop, i64) {
    let mut credits = BTreeMap::from([("messages", rate(dice))]);
    if dice.once_in(2) {
        credits.insert("calls", rate(dice));
    }
    let mut systems = BTreeMap::from([("credits", credits), ("points", BTreeMap::new())]);
    if dice.once_in(2) {
        systems.insert("points", BTreeMap::from([("messages", rate(dice))]));
    }
    let mut items = Vec::new();
    for feature in ["credits", "messages", SEATS] {
        if dice.once_in(2) {
            let included = (!dice.once_in(8)).then(|| dice.amount(10));
            let priority = dice.once_in(4).then_some(5);
            let every = every(dice);
            let may_roll = super::RENEWALS_ARE_WHOLE && feature != SEATS && every.is_some() && included.is_some();
            let rollover = if may_roll && dice.once_in(2) { Some(rollover(dice, every)) } else { None };
            items.push(PlanItem { feature, included, every, priority, rollover });
        }
    }
    // What may be owed is said by an item, and by a plan there has to be.
    let owing = items.iter().map(|item| item.feature).find(|feature| *feature != SEATS);
    let overage = owing.filter(|_| dice.once_in(2)).map(|feature| (feature, dice.amount(20), dice.once_in(2)));
    let reviving = SPENT.into_iter().filter(|_| dice.once_in(3)).collect();
    let wallets = vec![("credits", dice.one_of(&[-1, 0, 1])), ("messages", dice.one_of(&[-1, 0, 1]))];
    // The last of January, late in the evening: every month end is another one.
    let opens = 1_769_896_800 + i64::try_from(dice.below(3)).unwrap() * 86_400;
    (Shop { systems, reviving, items, overage, wallets }, opens)
}

/// A history of the shop's customer.
pub(crate) fn history(dice: &mut Dice) -> Vec<Step> {
    let steps = STEPS.0 + dice.below(STEPS.1 - STEPS.0 + 1);
    (0..steps)
        .map(|_| {
            let joined = dice.once_in(4);
            let wait = if joined { 0 } else { wait(dice) };
            Step { wait, joined, act: act(dice) }
        })
        .collect()
}

/// Mostly moments, often days, sometimes a year; whole days often, so that several things end at once.
fn wait(dice: &mut Dice) -> i64 {
    let seconds = match dice.below(12) {
        0..5 => 0,
        5 => dice.below(60),
        6 => 3_600 * dice.below(30),
        7..9 => 86_400 * dice.below(8),
        9 => 86_400 * dice.below(40) + dice.below(86_400),
        10 => 86_400 * 7,
        _ if dice.once_in(4) => 86_400 * dice.below(400),
        _ => 86_400 * 31,
    };
    i64::try_from(seconds).unwrap()
}

fn act(dice: &mut Dice) -> Act {
    match dice.below(40) {
        0..11 => track(dice),
        11..14 => take_back(dice),
        14..22 => give(dice),
        22..25 => buy(dice),
        25..29 => hold(dice),
        29..31 => settle_hold(dice),
        31 => Act::Extend { hold: usize::try_from(dice.below(4)).unwrap(), seconds: life(dice) },
        32 => Act::Release { hold: usize::try_from(dice.below(4)).unwrap() },
        33..35 => set_limit(dice),
        35 if dice.once_in(2) => Act::DropLimit { name: dice.one_of(&["a", "b"]) },
        35 | 36 => {
            let units = dice.amount(8);
            Act::Set { entity: dice.entity(), units, short: dice.one_of(&[Short::Cap, Short::Reject]) }
        }
        37 => Act::Refund { payment: payment(dice), back: dice.one_of(&[0, 1, 333, 500, 900, PRICE]) },
        38 => {
            let state = dice.one_of(&[Dispute::Open, Dispute::Won, Dispute::Lost]);
            if dice.once_in(2) {
                Act::Dispute { payment: payment(dice), state }
            } else {
                Act::Refund { payment: payment(dice), back: dice.one_of(&[250, 500, PRICE]) }
            }
        }
        _ => Act::Settle,
    }
}

fn payment(dice: &mut Dice) -> u8 {
    dice.one_of(&[0, 0, 1])
}

fn short(dice: &mut Dice) -> Short {
    dice.one_of(&[Short::Cap, Short::Cap, Short::Reject, Short::Debt])
}

fn life(dice: &mut Dice) -> u32 {
    dice.one_of(&[1, 60, 3_600, 86_400, 86_400, 7 * 86_400, 31 * 86_400])
}

fn track(dice: &mut Dice) -> Act {
    if dice.once_in(12) {
        let units = dice.amount(6) - 2 * ONE;
        return Act::Track {
            feature: SEATS,
            entity: dice.entity(),
            units,
            short: short(dice),
            hold: None,
            last: false,
        };
    }
    let units = dice.amount(16);
    Act::Track { feature: dice.spent(), entity: dice.entity(), units, short: short(dice), hold: None, last: false }
}

fn take_back(dice: &mut Dice) -> Act {
    let units = -(dice.amount(8).max(1));
    let (feature, entity) = (dice.spent(), dice.entity());
    Act::Track { feature, entity, units, short: Short::Cap, hold: None, last: false }
}

fn settle_hold(dice: &mut Dice) -> Act {
    let feature = dice.one_of(&["messages", "credits"]);
    let (units, hold) = (dice.amount(8), usize::try_from(dice.below(3)).unwrap());
    let (entity, last) = (if dice.once_in(6) { dice.entity() } else { "" }, dice.once_in(2));
    Act::Track { feature, entity, units, short: short(dice), hold: Some(hold), last }
}

fn hold(dice: &mut Dice) -> Act {
    let feature = dice.one_of(&["messages", "messages", "credits", "calls"]);
    let (units, entity) = (dice.amount(8), if dice.once_in(6) { dice.entity() } else { "" });
    Act::Hold {
        feature,
        entity,
        units,
        seconds: life(dice),
        more: dice.one_of(&[Short::Reject, Short::Cap, Short::Debt]),
    }
}

fn set_limit(dice: &mut Dice) -> Act {
    const SPANS: [Span; 6] = [Span::Hour, Span::Day, Span::Week, Span::Month, Span::Year, Span::Lifetime];
    let (name, feature) = (dice.one_of(&["a", "b"]), dice.spent());
    Act::SetLimit { name, feature, entity: dice.entity(), span: dice.one_of(&SPANS), most: dice.amount(20) }
}

fn give(dice: &mut Dice) -> Act {
    let (wallet, feature) = match dice.below(12) {
        0..2 => (Some(0), "credits"),
        2 => (Some(1), "messages"),
        3 => (Some(0), "messages"),
        4 => (None, SEATS),
        _ => (None, dice.spent()),
    };
    let days = |dice: &mut Dice| 86_400 * i64::try_from(dice.below(5)).unwrap();
    Act::Give {
        feature,
        entity: dice.entity(),
        wallet,
        amount: dice.amount(20),
        priority: dice.maybe(|dice| dice.one_of(&[5, 10, 50])),
        bought: dice.once_in(3),
        starts_in: dice.maybe(|dice| days(dice) - 2 * 86_400),
        lives: dice.maybe(|dice| days(dice) + dice.one_of(&[1, 86_400, 86_400, 30 * 86_400])),
    }
}

fn buy(dice: &mut Dice) -> Act {
    let (payment, item) = (payment(dice), dice.one_of(&[0, 1]));
    let (feature, amount) = (dice.one_of(&["credits", "credits", "messages"]), dice.amount(20));
    let ago = dice.one_of(&[0, 0, 60, 86_400, 3 * 86_400]);
    Act::Buy {
        payment,
        item,
        feature,
        amount,
        ago,
        lives: dice.maybe(|dice| dice.one_of(&[86_400, 2 * 86_400, 30 * 86_400])),
    }
}
