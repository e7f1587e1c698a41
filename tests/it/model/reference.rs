//! The slow, obvious model: what an account is by the billing rules, replayed boundary by boundary.
//!
//! It knows nothing of entries, of what is open or closed, of what a store keeps: every grant, hold and track there ever
//! was stays in a plain list, and every question is one walk through it. Time is lived through: whatever ends or begins on
//! the way to a step happens at its own moment, one after the other (rule 17).

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::words::{Act, Answer, Dispute, Every, Name, Refusal, Shop, Step};

/// Hours that credits live again which came back to a grant that was over, where their feature says so.
const REVIVED_SECONDS: i64 = 720 * 3_600;

/// Where a grant lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wallet {
    Default(&'static str),
    Named(usize),
}

/// A grant.
#[derive(Clone, Debug)]
pub(super) struct Lot {
    /// Counts up: the last tie-breaker of the burn order.
    pub(super) id: u64,
    pub(super) name: Name,
    pub(super) wallet: Wallet,
    pub(super) wallet_priority: i32,
    pub(super) feature: &'static str,
    pub(super) entity: &'static str,
    pub(super) priority: i32,
    pub(super) unlimited: bool,
    pub(super) granted: i128,
    pub(super) left: i128,
    pub(super) held: i128,
    /// Gone without having been used.
    pub(super) lost: i128,
    /// What reversals of its payment took, made a debt, and let be.
    pub(super) taken: i128,
    pub(super) owed: i128,
    pub(super) waived: i128,
    pub(super) starts: i64,
    pub(super) expires: Option<i64>,
    pub(super) revived_until: Option<i64>,
    pub(super) frozen: bool,
    pub(super) payment: Option<u8>,
}

impl Lot {
    pub(super) fn free(&self) -> i128 {
        self.left - self.held
    }

    pub(super) fn is_over(&self, now: i64) -> bool {
        self.revived_until.or(self.expires).is_some_and(|end| end <= now)
    }

    /// Can it be spent: `[starts, ends)`, not frozen, and something there.
    pub(super) fn is_active(&self, now: i64) -> bool {
        self.starts <= now && !self.is_over(now) && !self.frozen && (self.unlimited || self.left > 0)
    }
}

/// How a deficit came to be (rule 21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A reversal of that payment found its credits spent.
    ClawBack(u8),
    /// Usage, invoiced in money or repaid in credits.
    Usage { invoiced: bool },
}

/// A deficit of a wallet.
#[derive(Clone, Debug)]
pub(super) struct Debt {
    pub(super) id: u64,
    pub(super) wallet: Wallet,
    pub(super) feature: &'static str,
    pub(super) cause: Cause,
    pub(super) open: i128,
    /// What grants repaid of it and did not get again, oldest first.
    pub(super) repaid: Vec<(u64, i128)>,
}

impl Debt {
    /// Does the wallet's next grant repay it?
    pub(super) fn is_in_credits(&self) -> bool {
        self.cause != Cause::Usage { invoiced: true }
    }
}

/// Credits set aside.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) feature: &'static str,
    pub(super) entity: &'static str,
    pub(super) more: super::words::Short,
    /// Units that no track has settled yet.
    pub(super) units: i128,
    pub(super) ends: i64,
    pub(super) is_open: bool,
    /// What is pinned of which grant, in burn order.
    pub(super) slices: Vec<(u64, &'static str, i128)>,
}

/// What paid for a part of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payer {
    Lot(u64),
    Debt(u64),
    Nobody,
}

/// A part of what a track cost: credits of a pool, and the units they stand for.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) payer: Payer,
    pub(super) pool: &'static str,
    pub(super) amount: i128,
    pub(super) units: i128,
}

/// A track.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) at: i64,
    pub(super) feature: &'static str,
    pub(super) entity: &'static str,
    pub(super) units: i128,
    /// Units of it that nobody paid.
    pub(super) unpaid: i128,
    /// Units of it that were taken back.
    pub(super) returned: i128,
    pub(super) parts: Vec<Part>,
}

/// A spend limit: what is used of it is counted anew for every question.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) feature: &'static str,
    pub(super) entity: &'static str,
    pub(super) span: super::words::Span,
    pub(super) most: i128,
}

/// What Stripe said of a payment's money.
#[derive(Clone, Debug, Default)]
pub(super) struct Money {
    pub(super) back: i64,
    pub(super) dispute: Option<Dispute>,
    pub(super) bought: Vec<u8>,
}

/// An account.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(super) shop: std::sync::Arc<Shop>,
    pub(super) opened: i64,
    pub(super) now: i64,
    pub(super) lots: Vec<Lot>,
    pub(super) debts: Vec<Debt>,
    pub(super) holds: Vec<Hold>,
    pub(super) usage: Vec<Usage>,
    pub(super) limits: BTreeMap<&'static str, Limit>,
    pub(super) levels: BTreeMap<&'static str, i128>,
    pub(super) payments: BTreeMap<u8, Money>,
    /// Periods given of each item of the plan.
    periods: Vec<i64>,
    ids: u64,
}

/// What a new grant is to be.
#[derive(Clone, Copy)]
pub(super) struct NewLot {
    pub(super) name: Name,
    pub(super) wallet: Wallet,
    pub(super) feature: &'static str,
    pub(super) entity: &'static str,
    pub(super) priority: i32,
    pub(super) unlimited: bool,
    pub(super) amount: i128,
    pub(super) starts: i64,
    pub(super) expires: Option<i64>,
    pub(super) payment: Option<u8>,
}

impl Model {
    /// A customer seen for the first time, who gets the plan that everyone gets.
    pub(crate) fn new(shop: std::sync::Arc<Shop>, now: i64) -> Self {
        let periods = vec![0; shop.items.len()];
        let (lots, debts, holds, usage) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (limits, levels, payments) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut model =
            Self { shop, opened: now, now, lots, debts, holds, usage, limits, levels, payments, periods, ids: 0 };
        model.renew();
        model
    }

    /// One step, `number` of its history. What is refused changes nothing.
    pub(crate) fn step(&mut self, number: usize, step: &Step) -> Answer {
        self.live_until(self.now + step.wait);
        let before = self.clone();
        let answer = self.act(number, &step.act);
        self.lose_what_is_over();
        answer.unwrap_or_else(|refusal| {
            *self = before;
            Answer::Refused(refusal)
        })
    }

    fn act(&mut self, number: usize, act: &Act) -> Result<Answer, Refusal> {
        match *act {
            Act::Track { feature, entity, units, short, hold, last } => {
                self.track(feature, entity, units, short, hold, last)
            }
            Act::Set { entity, units, short } => self.set_level(entity, units, short),
            Act::Hold { feature, entity, units, seconds, more } => {
                self.place_hold(feature, entity, units, seconds, more)
            }
            Act::Extend { hold, seconds } => self.extend_hold(hold, seconds),
            Act::Release { hold } => self.release_hold(hold),
            Act::SetLimit { name, feature, entity, span, most } => {
                self.limits.insert(name, Limit { feature, entity, span, most });
                Ok(Answer::Limited { used: self.used_of(name) })
            }
            Act::DropLimit { name } => {
                let used = self.limits.contains_key(name).then(|| self.used_of(name));
                self.limits.remove(name);
                used.map(|used| Answer::Limited { used }).ok_or(Refusal::UnknownLimit)
            }
            Act::Give { feature, entity, wallet, amount, priority, bought, starts_in, lives } => {
                let wallet = self.wallet(wallet, feature)?;
                let starts = self.now + starts_in.unwrap_or(0);
                let priority = priority.unwrap_or(if bought { 50 } else { 10 });
                let (name, expires) = (Name::Given(number), lives.map(|seconds| starts + seconds));
                let (unlimited, payment) = (false, None);
                let new =
                    NewLot { name, wallet, feature, entity, priority, unlimited, amount, starts, expires, payment };
                self.give(new);
                Ok(Answer::Granted)
            }
            Act::Buy { payment, item, feature, amount, ago, lives } => {
                Ok(self.buy(payment, item, feature, amount, self.now - ago, lives))
            }
            Act::Refund { payment, back } => Ok(self.money_back(payment, |money| money.back = back)),
            Act::Dispute { payment, state } => Ok(self.money_back(payment, |money| money.dispute = Some(state))),
            Act::Settle => Ok(Answer::Settled),
        }
    }

    /// Lives through everything that ends or begins until then, each at its own moment.
    pub(crate) fn live_until(&mut self, then: i64) {
        while let Some(next) = self.next_moment().filter(|next| *next <= then) {
            self.now = next;
            let over: Vec<usize> = self.over_holds();
            for hold in over {
                self.let_go(hold);
            }
            self.renew();
            self.lose_what_is_over();
            self.forget_untouched();
        }
        self.now = then;
    }

    fn next_moment(&self) -> Option<i64> {
        let ends = self.lots.iter().filter(|lot| lot.free() > 0).filter_map(|lot| lot.revived_until.or(lot.expires));
        let holds = self.holds.iter().filter(|hold| hold.is_open).map(|hold| hold.ends);
        let items = self.shop.items.iter().zip(&self.periods);
        let begins = items.filter_map(|(item, given)| Some(self.boundary(item.every?, *given)));
        ends.chain(holds).chain(begins).filter(|moment| *moment > self.now).min()
    }

    /// Boundary number `n` of an item, always computed from when the plan began: day 31 never drifts.
    pub(super) fn boundary(&self, every: Every, n: i64) -> i64 {
        match every {
            Every::Days(days) => self.opened + n * i64::from(days) * 86_400,
            Every::Months(months) => {
                let anchor = Timestamp::from_second(self.opened).unwrap().to_zoned(TimeZone::UTC).datetime();
                let at = anchor.checked_add((n * i64::from(months)).months()).unwrap();
                TimeZone::UTC.to_timestamp(at).unwrap().as_second()
            }
        }
    }

    /// Gives each item's period that begins by now; what is given once is given at the start.
    fn renew(&mut self) {
        let shop = self.shop.clone();
        for (place, item) in shop.items.iter().enumerate() {
            let given = self.periods[place];
            let (starts, expires) = match item.every {
                Some(every) => (self.boundary(every, given), Some(self.boundary(every, given + 1))),
                None if given > 0 => continue,
                None => (self.opened, None),
            };
            if starts > self.now {
                continue;
            }
            self.periods[place] = given + 1;
            self.roll_over(item, place, starts);
            self.give(NewLot {
                name: Name::Period(place, starts),
                wallet: Wallet::Default(item.feature),
                feature: item.feature,
                entity: "",
                priority: item.priority.unwrap_or(10),
                unlimited: item.included.is_none(),
                amount: item.included.unwrap_or(0),
                starts,
                expires,
                payment: None,
            });
        }
    }

    /// What is free of a grant past its end is gone; what a hold pins waits for the hold.
    pub(super) fn lose_what_is_over(&mut self) {
        for lot in &mut self.lots {
            if lot.is_over(self.now) {
                lot.lost += lot.free();
                lot.left = lot.held;
            }
        }
    }

    /// Periods that came and went while nobody used them leave no trace: this only keeps long sleeps short.
    fn forget_untouched(&mut self) {
        let now = self.now;
        let is_untouched = |lot: &Lot| {
            matches!(lot.name, Name::Period(..)) && !lot.unlimited && lot.lost == lot.granted && lot.is_over(now)
        };
        let named = |id: u64, usage: &[Usage]| {
            usage.iter().flat_map(|track| &track.parts).any(|part| part.payer == Payer::Lot(id))
        };
        let usage = std::mem::take(&mut self.usage);
        self.lots.retain(|lot| !is_untouched(lot) || named(lot.id, &usage));
        self.usage = usage;
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(super) fn lot(&mut self, id: u64) -> &mut Lot {
        self.lots.iter_mut().find(|lot| lot.id == id).unwrap()
    }

    fn wallet(&self, number: Option<usize>, feature: &'static str) -> Result<Wallet, Refusal> {
        match number {
            None => Ok(Wallet::Default(feature)),
            Some(number) if self.shop.wallets[number].0 == feature => Ok(Wallet::Named(number)),
            Some(_) => Err(Refusal::WalletFeature),
        }
    }

    /// Makes a grant; it repays its wallet's debts first, the oldest first (rule 21).
    pub(super) fn give(&mut self, new: NewLot) {
        let id = self.lay_down(new);
        let (wallet, mut left) = (self.lot(id).wallet, self.lot(id).left);
        for debt in self.debts.iter_mut().filter(|debt| debt.wallet == wallet && debt.is_in_credits()) {
            let part = left.min(debt.open);
            if part > 0 {
                debt.open -= part;
                debt.repaid.push((id, part));
                left -= part;
            }
        }
        self.lot(id).left = left;
    }

    /// Puts credits into a grant of their own.
    pub(super) fn lay_down(&mut self, new: NewLot) -> u64 {
        let id = self.fresh();
        let wallet_priority = match new.wallet {
            Wallet::Default(_) => 0,
            Wallet::Named(number) => self.shop.wallets[number].1,
        };
        self.lots.push(Lot {
            id,
            name: new.name,
            wallet: new.wallet,
            wallet_priority,
            feature: new.feature,
            entity: new.entity,
            priority: new.priority,
            unlimited: new.unlimited,
            granted: new.amount,
            left: new.amount,
            held: 0,
            lost: 0,
            taken: 0,
            owed: 0,
            waived: 0,
            starts: new.starts,
            expires: new.expires,
            revived_until: None,
            frozen: false,
            payment: new.payment,
        });
        id
    }

    /// Lowers a debt: what is still open of it is cancelled, then what was repaid goes back to the grants that did, the
    /// newest repayment first.
    pub(super) fn lower(&mut self, debt: u64, amount: i128) {
        let known = self.debts.iter_mut().find(|known| known.id == debt).unwrap();
        let cancelled = amount.min(known.open);
        known.open -= cancelled;
        let mut rest = amount - cancelled;
        let mut back = Vec::new();
        for (payer, gave) in known.repaid.iter_mut().rev() {
            let part = rest.min(*gave);
            *gave -= part;
            rest -= part;
            back.push((*payer, part));
        }
        for (payer, part) in back.into_iter().filter(|(_, part)| *part > 0) {
            self.lot(payer).left += part;
        }
    }

    /// Credits that came back to a grant that is over live again, where its feature says so.
    pub(super) fn revive(&mut self, lots: &[u64]) {
        let now = self.now;
        let reviving = self.shop.reviving.clone();
        for lot in self.lots.iter_mut().filter(|lot| lots.contains(&lot.id) && reviving.contains(&lot.feature)) {
            if lot.is_over(now) {
                lot.revived_until = Some(now + REVIVED_SECONDS);
            }
        }
    }
}
