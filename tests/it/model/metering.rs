//! Tracks, returns, holds and levels (rules 21 to 24).

use ethnum::I256;

use super::burning::{Asked, Paid};
use super::exact::{rounded, units_for};
use super::reference::{Cause, Debt, Hold, Lot, Model, Part, Payer, Usage, Wallet};
use super::words::{Answer, Name, Refusal, SEATS, Short};

impl Usage {
    /// Units that were paid and not taken back: those nobody paid are taken back first.
    pub(super) fn paid_units(&self) -> i128 {
        self.units - self.unpaid.max(self.returned)
    }

    /// Credits of a pool that paid, or are owed, and did not go back.
    pub(super) fn paid_in(&self, pool: &str) -> i128 {
        let gone = self.gone_at(self.returned);
        let paid = self.parts.iter().zip(gone).filter(|(part, _)| part.payer != Payer::Nobody && part.pool == pool);
        paid.map(|(part, gone)| part.amount - gone).sum()
    }

    /// What has gone back of each part once that many units were taken back: the last part first. Where one pool paid, a
    /// part stands for its credits; where several did, for its units.
    fn gone_at(&self, units: i128) -> Vec<i128> {
        if units >= self.units {
            return self.parts.iter().map(|part| part.amount).collect();
        }
        let is_one_pool = self.parts.iter().all(|part| part.pool == self.parts[0].pool);
        let weight = |part: &Part| I256::from(if is_one_pool { part.amount } else { part.units });
        let whole: I256 = self.parts.iter().map(weight).fold(I256::ZERO, |sum, weight| sum + weight);
        // In units times the track's units, so that nothing is cut: how far back from the end the return reaches.
        let reach = whole * I256::from(units);
        let mut behind = I256::ZERO;
        let mut gone = Vec::new();
        for part in self.parts.iter().rev() {
            let span = weight(part) * I256::from(self.units);
            let covered = (reach - behind).clamp(I256::ZERO, span);
            let is_nothing = span == I256::ZERO;
            gone.push(if is_nothing { 0 } else { rounded(covered, I256::from(part.amount), span) });
            behind += span;
        }
        gone.reverse();
        gone
    }
}

impl Model {
    pub(super) fn track(
        &mut self,
        feature: &'static str,
        entity: &'static str,
        units: i128,
        short: Short,
        hold: Option<usize>,
        last: bool,
    ) -> Result<Answer, Refusal> {
        if feature == SEATS {
            let used = self.levels.get(entity).copied().unwrap_or(0);
            return self.set_level(entity, used + units, short);
        }
        if units < 0 {
            return self.take_back(feature, entity, -units);
        }
        let hold = hold.map(|number| self.hold_for(number, feature, entity)).transpose()?;
        let room = self.room(feature, entity, hold);
        let paid = self.burn(&Asked { feature, entity, units, hold, room: &room });
        let short = hold.map_or(short, |number| self.holds[number].more);
        let owing = match short {
            Short::Reject => Self::must_pay(&paid, hold.is_some()).map(|()| None)?,
            Short::Debt if paid.limited || paid.shortfall > 0 => Some(self.may_owe(feature, &paid)?),
            Short::Cap | Short::Debt => None,
        };
        let (owed, shortfall) = match owing {
            Some((.., amount, _)) => (amount, 0),
            None => (0, paid.shortfall),
        };
        let parts = self.take(feature, hold, &paid, owing, shortfall);
        let unpaid = if owing.is_some() { 0 } else { paid.unpaid.floor() };
        let at = self.now;
        self.usage.push(Usage { at, feature, entity, units, unpaid, returned: 0, parts });
        let held = hold.map(|number| self.settle(number, units, last));
        let pool = owing.map_or(paid.pool, |(pool, ..)| pool);
        let unlimited = self.active(pool, entity).iter().any(|lot| lot.unlimited);
        let draws = paid.draws.iter().map(|draw| (self.name_of(draw.lot), draw.amount)).collect();
        let available = self.balance(pool, entity).0;
        let (cost, drawn) = (paid.drawn + shortfall + owed, paid.drawn);
        Ok(Answer::Tracked { cost, drawn, shortfall, owed, available, unlimited, draws, hold: held })
    }

    pub(super) fn name_of(&self, lot: u64) -> Name {
        self.lots.iter().find(|known| known.id == lot).unwrap().name
    }

    /// Takes what pays, and writes down which part of the cost each paid.
    fn take(
        &mut self,
        feature: &str,
        hold: Option<usize>,
        paid: &Paid,
        owing: Option<(&'static str, i128, bool)>,
        shortfall: i128,
    ) -> Vec<Part> {
        let pools = self.pools(feature);
        let units = |pool: &str, amount| units_for(amount, pools.iter().find(|(known, _)| *known == pool).unwrap().1);
        let mut parts = Vec::new();
        for draw in &paid.draws {
            if let Some(number) = hold.filter(|_| draw.pinned) {
                let slices = &mut self.holds[number].slices;
                slices.iter_mut().find(|slice| slice.0 == draw.lot).unwrap().2 -= draw.amount;
                slices.retain(|slice| slice.2 > 0);
                self.lot(draw.lot).held -= draw.amount;
            }
            self.lot(draw.lot).left -= draw.amount;
            if draw.amount > 0 {
                let units = units(draw.pool, draw.amount);
                parts.push(Part { payer: Payer::Lot(draw.lot), pool: draw.pool, amount: draw.amount, units });
            }
        }
        if let Some((pool, amount, invoiced)) = owing {
            let debt = self.owe(pool, amount, Cause::Usage { invoiced });
            parts.push(Part { payer: Payer::Debt(debt), pool, amount, units: units(pool, amount) });
        }
        let units = paid.unpaid.floor();
        if owing.is_none() && (shortfall > 0 || units > 0) {
            parts.push(Part { payer: Payer::Nobody, pool: paid.pool, amount: shortfall, units });
        }
        parts
    }

    /// Adds to the open debt of that cause in the feature's own wallet, or makes one.
    pub(super) fn owe(&mut self, feature: &'static str, amount: i128, cause: Cause) -> u64 {
        let wallet = Wallet::Default(feature);
        let known = self.debts.iter_mut().find(|debt| debt.wallet == wallet && debt.cause == cause && debt.open > 0);
        if let Some(debt) = known {
            debt.open += amount;
            return debt.id;
        }
        let id = self.fresh();
        self.debts.push(Debt { id, wallet, feature, cause, open: amount, repaid: Vec::new() });
        id
    }

    /// Takes usage back: tracks newest first, each the way it was paid, backwards (rule 24).
    fn take_back(&mut self, feature: &'static str, entity: &'static str, asked: i128) -> Result<Answer, Refusal> {
        let (mut rest, mut drawn, mut shortfall, mut owed) = (asked, 0, 0, 0);
        let (mut draws, mut first) = (Vec::new(), None);
        for place in (0..self.usage.len()).rev() {
            let track = &mut self.usage[place];
            let take = rest.min(track.units - track.returned);
            if track.feature != feature || track.entity != entity || take <= 0 {
                continue;
            }
            let (before, after) = (track.gone_at(track.returned), track.gone_at(track.returned + take));
            track.returned += take;
            rest -= take;
            let parts = track.parts.clone();
            for ((part, before), after) in parts.iter().zip(before).zip(after).rev() {
                let back = after - before;
                if back == 0 {
                    continue;
                }
                first.get_or_insert(part.pool);
                match part.payer {
                    Payer::Lot(lot) => {
                        drawn += back;
                        draws.push((lot, back));
                    }
                    Payer::Debt(debt) => {
                        owed += back;
                        self.lower(debt, back);
                    }
                    Payer::Nobody => shortfall += back,
                }
            }
        }
        if rest > 0 {
            return Err(Refusal::NothingToReturn { asked, found: asked - rest });
        }
        for (lot, back) in &draws {
            self.lot(*lot).left += back;
        }
        self.revive(&draws.iter().map(|(lot, _)| *lot).collect::<Vec<_>>());
        let pool = first.unwrap_or(self.pools(feature).last().unwrap().0);
        let unlimited = self.active(pool, entity).iter().any(|lot| lot.unlimited);
        let draws = draws.into_iter().map(|(lot, back)| (self.name_of(lot), -back)).collect();
        let (cost, available) = (-(drawn + shortfall + owed), self.balance(pool, entity).0);
        let (drawn, shortfall, owed) = (-drawn, -shortfall, -owed);
        Ok(Answer::Tracked { cost, drawn, shortfall, owed, available, unlimited, draws, hold: None })
    }

    pub(super) fn place_hold(
        &mut self,
        feature: &'static str,
        entity: &'static str,
        units: i128,
        seconds: u32,
        more: Short,
    ) -> Result<Answer, Refusal> {
        let room = self.room(feature, entity, None);
        let paid = self.burn(&Asked { feature, entity, units, hold: None, room: &room });
        Self::must_pay(&paid, false)?;
        let draws = paid.draws.iter().filter(|draw| draw.amount > 0);
        let slices: Vec<_> = draws.map(|draw| (draw.lot, draw.pool, draw.amount)).collect();
        for (lot, _, amount) in &slices {
            self.lot(*lot).held += amount;
        }
        let ends = self.now + i64::from(seconds);
        self.holds.push(Hold { feature, entity, more, units, ends, is_open: true, slices });
        Ok(Answer::Held { held: paid.drawn, ends })
    }

    fn open_hold(&mut self, number: usize) -> Result<&mut Hold, Refusal> {
        self.holds.get_mut(number).filter(|hold| hold.is_open).ok_or(Refusal::UnknownHold)
    }

    fn hold_for(&mut self, number: usize, feature: &str, entity: &str) -> Result<usize, Refusal> {
        let hold = self.open_hold(number)?;
        if hold.feature == feature && hold.entity == entity { Ok(number) } else { Err(Refusal::HoldOfOther) }
    }

    /// A hold lives so long from now on, and never less than it did.
    pub(super) fn extend_hold(&mut self, number: usize, seconds: u32) -> Result<Answer, Refusal> {
        let until = self.now + i64::from(seconds);
        let hold = self.open_hold(number)?;
        hold.ends = hold.ends.max(until);
        Ok(Answer::Held { held: hold.held(), ends: hold.ends })
    }

    pub(super) fn release_hold(&mut self, number: usize) -> Result<Answer, Refusal> {
        let ends = self.open_hold(number)?.ends;
        self.let_go(number);
        Ok(Answer::Held { held: 0, ends })
    }

    /// Holds whose time is over, in the order in which it was.
    pub(super) fn over_holds(&self) -> Vec<usize> {
        let is_over = |number: &usize| self.holds[*number].is_open && self.holds[*number].ends <= self.now;
        let mut over: Vec<usize> = (0..self.holds.len()).filter(is_over).collect();
        over.sort_by_key(|number| self.holds[*number].ends);
        over
    }

    /// What a hold pinned is free again.
    pub(super) fn let_go(&mut self, number: usize) {
        self.holds[number].is_open = false;
        for (lot, _, amount) in std::mem::take(&mut self.holds[number].slices) {
            self.lot(lot).held -= amount;
        }
    }

    /// What a track settled is no longer to come; the last one lets go of the rest. Answers what is still held.
    fn settle(&mut self, number: usize, units: i128, last: bool) -> i128 {
        let hold = &mut self.holds[number];
        hold.units = (hold.units - units).max(0);
        if last {
            self.let_go(number);
        }
        // What is let go of a grant that is over is gone before anybody can look.
        self.lose_what_is_over();
        self.holds[number].held()
    }

    /// Sets what is in use: freeing always succeeds, and with `cap` the app knows better than the grants.
    pub(super) fn set_level(&mut self, entity: &'static str, wanted: i128, short: Short) -> Result<Answer, Refusal> {
        let used = self.levels.get(entity).copied().unwrap_or(0);
        let cost = wanted - used;
        if wanted < 0 {
            return Err(Refusal::NothingToReturn { asked: -cost, found: used });
        }
        let (available, unlimited) = self.seats_left(entity);
        let shortfall = if unlimited { 0 } else { (cost - available).max(0) };
        match short {
            Short::Reject if shortfall > 0 => return Err(Refusal::Insufficient { required: cost, available }),
            Short::Debt if shortfall > 0 => return Err(Refusal::DebtNotAllowed),
            Short::Cap | Short::Reject | Short::Debt => {}
        }
        self.levels.insert(entity, wanted);
        let (available, drawn) = (self.seats_left(entity).0, cost - shortfall);
        let draws = Vec::new();
        Ok(Answer::Tracked { cost, drawn, shortfall, owed: 0, available, unlimited, draws, hold: None })
    }

    /// Grants of seats that an entity can look at: its own, and the customer's.
    pub(super) fn seats_of(&self, entity: &str) -> impl Iterator<Item = &Lot> {
        let lots = self.active(SEATS, entity).into_iter();
        lots.filter(|lot| lot.entity.is_empty() || lot.entity == entity).collect::<Vec<_>>().into_iter()
    }

    /// Seats an entity can take besides: what is left of its own, and of what all share after those who need more than
    /// their own.
    pub(super) fn seats_left(&self, entity: &str) -> (i128, bool) {
        let granted = |of: &str| -> i128 {
            let own =
                self.lots.iter().filter(|lot| lot.feature == SEATS && lot.entity == of && lot.is_active(self.now));
            own.map(Lot::free).sum()
        };
        let own = |of: &str| if of.is_empty() { 0 } else { granted(of) };
        let beyond: i128 = self.levels.iter().map(|(of, used)| (used - own(of)).max(0)).sum();
        let used = self.levels.get(entity).copied().unwrap_or(0);
        let unlimited = self.seats_of(entity).any(|lot| lot.unlimited);
        ((own(entity) - used).max(0) + (granted("") - beyond).max(0), unlimited)
    }
}

impl Hold {
    /// Credits still pinned.
    pub(super) fn held(&self) -> i128 {
        self.slices.iter().map(|(.., amount)| amount).sum()
    }
}
