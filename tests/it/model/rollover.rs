//! What is unspent of a period moves into a grant of its own when the next one comes (rules 17 and 20).

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::reference::{Model, NewLot};
use super::words::{Name, PlanItem};

/// Burn priority of what rolled over: before all else (rule 20).
const PRIORITY: i32 = 5;

impl Model {
    /// At a boundary: of the period that ends there, what is free rolls over as far as the cap lets it, the oldest of what
    /// rolled over before being cut first. What a hold pins stays where it is.
    pub(super) fn roll_over(&mut self, item: &PlanItem, place: usize, boundary: i64) {
        let Some(rollover) = item.rollover else { return };
        let is_ending = |lot: &&super::reference::Lot| {
            matches!(lot.name, Name::Period(of, _) if of == place) && lot.expires == Some(boundary) && lot.free() > 0
        };
        let Some((id, free)) = self.lots.iter().find(is_ending).map(|lot| (lot.id, lot.free())) else { return };
        let share = rollover.percent.map(|percent| item.included.unwrap_or(0) * i128::from(percent) / 100);
        let cap = [rollover.most, share].into_iter().flatten().min().unwrap_or(i128::MAX);
        let mut moved = free.min(cap);
        let now = self.now;
        let is_kept = |lot: &&mut super::reference::Lot| {
            matches!(lot.name, Name::Rolled(of, _) if of == item.feature) && !lot.is_over(now)
        };
        let kept: i128 = self.lots.iter_mut().filter(is_kept).map(|lot| lot.left).sum();
        let mut above = (kept + moved).saturating_sub(cap).max(0);
        for lot in self.lots.iter_mut().filter(is_kept) {
            let cut = above.min(lot.free());
            lot.left -= cut;
            lot.lost += cut;
            above -= cut;
        }
        moved = (moved - above).max(0);
        let old = self.lot(id);
        old.left -= moved;
        old.lost += moved;
        let (wallet, feature, entity, payment) = (old.wallet, old.feature, old.entity, old.payment);
        if moved == 0 {
            return;
        }
        let expires = rollover.months.map(|months| {
            let at = Timestamp::from_second(boundary).unwrap().to_zoned(TimeZone::UTC);
            at.checked_add(i64::from(months).months()).unwrap().timestamp().as_second()
        });
        let (name, priority) = (Name::Rolled(item.feature, boundary), item.priority.unwrap_or(PRIORITY));
        let (unlimited, amount, starts) = (false, moved, boundary);
        self.lay_down(NewLot { name, wallet, feature, entity, priority, unlimited, amount, starts, expires, payment });
    }
}
