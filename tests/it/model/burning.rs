//! Who pays for usage: rules 20, 22 and 23, one lot after the other.

use std::collections::BTreeMap;

use super::exact::{ONE, Rate, Units};
use super::reference::{Lot, Model, Wallet};
use super::words::{Refusal, Span};

/// What is asked of the grants.
pub(super) struct Asked<'a> {
    pub(super) feature: &'static str,
    pub(super) entity: &'static str,
    pub(super) units: i128,
    /// The number of the hold that pays first.
    pub(super) hold: Option<usize>,
    pub(super) room: &'a Room,
}

/// What spend limits leave.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    /// Units of the feature.
    pub(super) units: Option<i128>,
    /// Credits of a pool.
    pub(super) credits: BTreeMap<&'static str, i128>,
}

/// Credits of one grant that one usage takes.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    pub(super) lot: u64,
    pub(super) pool: &'static str,
    pub(super) amount: i128,
    pub(super) pinned: bool,
}

/// Who pays.
#[derive(Clone, Debug)]
pub(super) struct Paid {
    pub(super) draws: Vec<Draw>,
    pub(super) drawn: i128,
    /// Credits of the last pool that nobody pays.
    pub(super) shortfall: i128,
    /// The same as units.
    pub(super) unpaid: Units,
    /// The pool that paid last, or the last one when something is unpaid.
    pub(super) pool: &'static str,
    pub(super) unlimited: bool,
    /// Is it a spend limit that leaves something unpaid?
    pub(super) limited: bool,
}

impl Model {
    /// The pools of a feature: its own, then the credit systems that price it, by name.
    pub(super) fn pools(&self, feature: &str) -> Vec<(&'static str, Rate)> {
        let names = super::words::SPENT.into_iter().find(|name| *name == feature);
        let own = names.map(|name| (name, ONE * ONE));
        let systems = self.shop.systems.iter().filter_map(|(system, costs)| Some((*system, *costs.get(feature)?)));
        own.into_iter().chain(systems).collect()
    }

    /// Grants that usage by an entity may look at now.
    pub(super) fn active(&self, pool: &str, entity: &str) -> Vec<&Lot> {
        let is_seen = |lot: &&Lot| {
            lot.feature == pool
                && lot.is_active(self.now)
                && (entity.is_empty() || lot.entity.is_empty() || lot.entity == entity)
        };
        let mut lots: Vec<&Lot> = self.lots.iter().filter(is_seen).collect();
        lots.sort_by_key(|lot| order(lot, 0, entity));
        lots
    }

    /// What each wallet that owes may spend: only what it has above its debts.
    pub(super) fn above_debts(&self) -> BTreeMap<Wallet, i128> {
        let mut left: BTreeMap<Wallet, i128> = BTreeMap::new();
        for debt in self.debts.iter().filter(|debt| debt.is_in_credits()) {
            *left.entry(debt.wallet).or_default() -= debt.open;
        }
        for lot in self.lots.iter().filter(|lot| lot.is_active(self.now)) {
            if let Some(left) = left.get_mut(&lot.wallet) {
                *left += lot.free();
            }
        }
        left.into_iter().map(|(wallet, left)| (wallet, left.max(0))).collect()
    }

    /// Walks through all grants in the one order of rule 20 and takes of each what it can give.
    pub(super) fn burn(&self, asked: &Asked<'_>) -> Paid {
        let pools = self.pools(asked.feature);
        let last = *pools.last().unwrap();
        let payable = asked.room.units.map_or(asked.units, |most| most.clamp(0, asked.units));
        let denied = Units::of(asked.units - payable);
        let mut paid = Paid {
            draws: Vec::new(),
            drawn: 0,
            shortfall: 0,
            unpaid: denied,
            pool: last.0,
            unlimited: false,
            limited: !denied.is_none(),
        };
        for (pool, rate) in &pools {
            if let Some(lot) = self.active(pool, asked.entity).into_iter().find(|lot| lot.unlimited) {
                paid.draws.push(Draw { lot: lot.id, pool, amount: 0, pinned: false });
                paid.pool = pool;
                paid.shortfall = denied.cost(*rate);
                paid.unlimited = denied.is_none();
                return paid;
            }
        }
        let rest = self.burn_pinned(asked.hold, &pools, Units::of(payable), &mut paid);
        let (rest, stopped) = self.burn_free(asked, &pools, rest, &mut paid);
        paid.unpaid = rest.and(denied);
        if !paid.unpaid.is_none() {
            paid.pool = last.0;
            paid.shortfall = paid.unpaid.cost(last.1);
            paid.limited |= stopped;
        }
        paid
    }

    /// First what the hold has set aside, whatever became of the grants meanwhile.
    fn burn_pinned(
        &self,
        hold: Option<usize>,
        pools: &[(&'static str, Rate)],
        mut rest: Units,
        paid: &mut Paid,
    ) -> Units {
        for (lot, pool, pinned) in hold.map(|hold| self.holds[hold].slices.as_slice()).unwrap_or_default() {
            let Some((pool, rate)) = pools.iter().find(|(known, _)| known == pool) else { continue };
            let cost = rest.cost(*rate);
            let amount = cost.min(*pinned);
            if amount > 0 {
                paid.draws.push(Draw { lot: *lot, pool, amount, pinned: true });
                paid.drawn += amount;
                paid.pool = pool;
            }
            rest = if amount == cost { Units::NONE } else { rest.less(amount, *rate) };
        }
        rest
    }

    /// Then the grants, as long as something is to be paid. Each pool is asked once for what is left, in its own credits;
    /// a pool without grants is asked as if the customer had an empty one, since its price may be nothing.
    fn burn_free(
        &self,
        asked: &Asked<'_>,
        pools: &[(&'static str, Rate)],
        mut rest: Units,
        paid: &mut Paid,
    ) -> (Units, bool) {
        let mut line: Vec<(Key, usize, Option<&Lot>)> = Vec::new();
        for (place, (pool, _)) in pools.iter().enumerate() {
            let lots = self.active(pool, asked.entity);
            if lots.is_empty() {
                line.push((nobody(place, asked.entity), place, None));
            }
            line.extend(lots.into_iter().map(|lot| (order(lot, place, asked.entity), place, Some(lot))));
        }
        line.sort_by_key(|(key, ..)| *key);
        let (mut budgets, mut rooms, mut stopped) = (self.above_debts(), asked.room.credits.clone(), false);
        let mut line = line.into_iter().peekable();
        while let Some(place) = line.peek().map(|(_, place, _)| *place).filter(|_| !rest.is_none()) {
            let (pool, rate) = pools[place];
            let cost = rest.cost(rate);
            let mut open = cost;
            while let Some((_, _, lot)) = line.next_if(|(_, next, _)| *next == place) {
                let Some(lot) = lot.filter(|_| open > 0) else { continue };
                let by_wallet = budgets.get(&lot.wallet).copied().unwrap_or(i128::MAX);
                let wanted = lot.free().min(open).min(by_wallet);
                let amount = wanted.min(rooms.get(pool).copied().unwrap_or(i128::MAX));
                stopped |= amount < wanted;
                if amount > 0 {
                    budgets.entry(lot.wallet).and_modify(|left| *left -= amount);
                    rooms.entry(pool).and_modify(|left| *left -= amount);
                    open -= amount;
                    paid.draws.push(Draw { lot: lot.id, pool, amount, pinned: false });
                    paid.drawn += amount;
                    paid.pool = pool;
                }
            }
            rest = if open == 0 { Units::NONE } else { rest.less(cost - open, rate) };
        }
        (rest, stopped)
    }

    /// What can be spent of a pool, and what is held.
    pub(super) fn balance(&self, pool: &str, entity: &str) -> (i128, i128) {
        let mut budgets = self.above_debts();
        let (mut available, mut held) = (0, 0);
        for lot in self.active(pool, entity) {
            let part = lot.free().min(budgets.get(&lot.wallet).copied().unwrap_or(i128::MAX));
            budgets.entry(lot.wallet).and_modify(|left| *left -= part);
            available += part;
            held += lot.held;
        }
        (available, held)
    }

    /// What spend limits leave for usage; what its own hold has set aside is let be.
    pub(super) fn room(&self, feature: &str, entity: &str, hold: Option<usize>) -> Room {
        let mut room = Room::default();
        for (name, limit) in &self.limits {
            if !(limit.entity.is_empty() || limit.entity == entity) {
                continue;
            }
            let is_pool = self.shop.systems.contains_key(limit.feature);
            if !is_pool && limit.feature != feature {
                continue;
            }
            let open = self
                .holds
                .iter()
                .enumerate()
                .filter(|(_, known)| known.is_open && (limit.entity.is_empty() || limit.entity == known.entity));
            let mut used = self.used_of(name);
            for (number, known) in open {
                if is_pool {
                    used +=
                        known.slices.iter().filter(|slice| slice.1 == limit.feature).map(|slice| slice.2).sum::<i128>();
                } else if known.feature == limit.feature && Some(number) != hold {
                    used += known.units;
                }
            }
            let left = (limit.most - used).max(0);
            if is_pool {
                let known = room.credits.entry(limit.feature).or_insert(left);
                *known = left.min(*known);
            } else {
                let left = left.max(hold.map_or(0, |hold| self.holds[hold].units));
                room.units = Some(room.units.map_or(left, |known| known.min(left)));
            }
        }
        room
    }

    /// What was used of a limit in its running window: every track in it counts, less what was taken back of it.
    pub(super) fn used_of(&self, name: &str) -> i128 {
        let limit = &self.limits[name];
        let from = window_start(limit.span, self.now);
        let counts = |entity: &str| limit.entity.is_empty() || limit.entity == entity;
        let tracks = self.usage.iter().filter(|track| from.is_none_or(|from| track.at >= from) && counts(track.entity));
        if self.shop.systems.contains_key(limit.feature) {
            tracks.map(|track| track.paid_in(limit.feature)).sum()
        } else {
            tracks.filter(|track| track.feature == limit.feature).map(super::reference::Usage::paid_units).sum()
        }
    }

    /// Refuses what is not paid in full, or with a strict hold what the hold does not pay.
    pub(super) fn must_pay(paid: &Paid, strict: bool) -> Result<(), Refusal> {
        let required = paid.drawn + paid.shortfall;
        if paid.limited {
            return Err(Refusal::SpendLimit);
        }
        if paid.shortfall > 0 {
            return Err(Refusal::Insufficient { required, available: paid.drawn });
        }
        let pinned: i128 = paid.draws.iter().filter(|draw| draw.pinned).map(|draw| draw.amount).sum();
        if strict && pinned < paid.drawn {
            return Err(Refusal::Insufficient { required, available: pinned });
        }
        Ok(())
    }

    /// Who may owe what nobody pays: in the first pool that the plan lets owe so much.
    pub(super) fn may_owe(&self, feature: &str, paid: &Paid) -> Result<(&'static str, i128, bool), Refusal> {
        if paid.limited {
            return Err(Refusal::SpendLimit);
        }
        let Some((allowed, limit, invoiced)) = self.shop.overage else { return Err(Refusal::DebtNotAllowed) };
        let pool = self.pools(feature).into_iter().find(|(pool, _)| *pool == allowed);
        let Some((pool, rate)) = pool else { return Err(Refusal::DebtNotAllowed) };
        let usage = self.debts.iter().filter(|debt| matches!(debt.cause, super::reference::Cause::Usage { .. }));
        let owed: i128 = usage.filter(|debt| debt.feature == pool).map(|debt| debt.open).sum();
        let (left, amount) = ((limit - owed).max(0), paid.unpaid.cost(rate));
        if amount > left {
            return Err(Refusal::Insufficient { required: paid.drawn + paid.shortfall, available: paid.drawn + left });
        }
        Ok((pool, amount, invoiced))
    }
}

type Key = (u8, &'static str, usize, i32, i32, (bool, Option<i64>), i64, u64);

/// The burn order of rule 20: whose seat, which pool, wallet priority, grant priority, expiry (none last), start, id.
fn order(lot: &Lot, pool: usize, entity: &str) -> Key {
    let seat = u8::from(lot.entity.is_empty() != entity.is_empty());
    let expiry = (lot.expires.is_none(), lot.expires);
    (seat, lot.entity, pool, lot.wallet_priority, lot.priority, expiry, lot.starts, lot.id)
}

/// The place of a pool without grants.
fn nobody(pool: usize, entity: &str) -> Key {
    (u8::from(!entity.is_empty()), "", pool, 0, 0, (false, None), 0, 0)
}

/// When the calendar's window around a time began, in UTC.
pub(super) fn window_start(span: Span, now: i64) -> Option<i64> {
    use jiff::civil::{Weekday, time};
    let at = jiff::Timestamp::from_second(now).unwrap().to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let date = at.date();
    let start = match span {
        Span::Lifetime => return None,
        Span::Hour => return Some(now - now.rem_euclid(3_600)),
        Span::Day => date,
        Span::Week if date.weekday() == Weekday::Monday => date,
        Span::Week => date.nth_weekday(-1, Weekday::Monday).unwrap(),
        Span::Month => date.first_of_month(),
        Span::Year => date.first_of_year(),
    };
    let start = start.to_datetime(time(0, 0, 0, 0)).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    Some(start.timestamp().as_second())
}
