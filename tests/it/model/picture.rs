//! What can be seen of the model's account: balances, debts, levels, limits, and answers to checks.

use std::collections::BTreeMap;

use super::burning::Asked;
use super::exact::ONE;
use super::reference::Model;
use super::words::{Checked, ENTITIES, Picture, SEATS, SPENT, asked};

impl Model {
    /// Everything that the engine has to show alike; the number chooses what is asked for in checks.
    pub(crate) fn picture(&self, number: Option<usize>) -> Picture {
        let lots = self.lots.iter().filter(|lot| lot.left > 0).map(|lot| (lot.name, (lot.left, lot.held)));
        let mut balances = BTreeMap::new();
        for pool in SPENT {
            for entity in ENTITIES {
                balances.insert((pool, entity), self.balance(pool, entity));
            }
        }
        let mut debts = BTreeMap::new();
        for debt in self.debts.iter().filter(|debt| debt.open > 0) {
            *debts.entry((debt.feature, debt.is_in_credits())).or_default() += debt.open;
        }
        let limits = self.limits.keys().map(|name| (*name, self.used_of(name))).collect();
        let levels = self.levels.iter().filter(|(_, used)| **used > 0).map(|(of, used)| (*of, *used)).collect();
        let check = |(of, entity)| {
            let answer = if of == SEATS { self.check_seats(entity) } else { self.check(of, entity) };
            (of, entity, answer)
        };
        let checks = asked(number).into_iter().map(check).collect();
        Picture { lots: lots.collect(), balances, debts, levels, limits, checks }
    }

    fn check(&self, feature: &'static str, entity: &'static str) -> Checked {
        let pools = self.pools(feature);
        let room = self.room(feature, entity, None);
        let paid = self.burn(&Asked { feature, entity, units: ONE, hold: None, room: &room });
        let granted = pools.iter().any(|(pool, _)| !self.active(pool, entity).is_empty());
        let frozen = self.lots.iter().any(|lot| {
            let is_live = lot.frozen && lot.left > 0 && lot.starts <= self.now && !lot.is_over(self.now);
            is_live && pools.iter().any(|(pool, _)| *pool == lot.feature)
        });
        let reason = match (paid.unlimited, granted, paid.limited, paid.shortfall > 0) {
            (true, ..) => "unlimited",
            (_, false, ..) if frozen => "frozen",
            (_, false, ..) => "feature_not_granted",
            (_, _, true, _) => "spend_limit",
            (_, _, _, true) if frozen => "frozen",
            (_, _, _, true) => "insufficient",
            (_, _, _, false) => "ok",
        };
        let sums = pools.iter().map(|(pool, _)| self.balance(pool, entity));
        let (available, held) = sums.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
        let allowed = matches!(reason, "ok" | "unlimited");
        let (required, shortfall) = (paid.drawn + paid.shortfall, paid.shortfall);
        Checked { allowed, reason, required, available, held, shortfall }
    }

    fn check_seats(&self, entity: &'static str) -> Checked {
        let (available, unlimited) = self.seats_left(entity);
        let shortfall = if unlimited { 0 } else { (ONE - available).max(0) };
        let granted = self.seats_of(entity).next().is_some();
        let frozen = self.lots.iter().any(|lot| {
            lot.feature == SEATS && lot.frozen && lot.left > 0 && lot.starts <= self.now && !lot.is_over(self.now)
        });
        let reason = match (unlimited, granted, shortfall > 0) {
            (true, ..) => "unlimited",
            (_, _, true) | (_, false, _) if frozen => "frozen",
            (_, false, _) | (_, true, true) => "insufficient",
            (_, true, false) => "ok",
        };
        let allowed = matches!(reason, "ok" | "unlimited");
        Checked { allowed, reason, required: ONE, available, held: 0, shortfall }
    }
}
