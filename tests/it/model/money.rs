//! Payments and their money going back (rules 5, 28 and 29).

use ethnum::I256;

use super::exact::rounded;
use super::reference::{Cause, Debt, Model, Money, NewLot, Wallet};
use super::words::{Answer, Dispute, Name, PRICE};

impl Money {
    /// Minor units that are gone: refunds and a lost dispute together, never more than the price.
    fn gone(&self) -> i64 {
        let lost = if self.dispute == Some(Dispute::Lost) { PRICE } else { 0 };
        (self.back + lost).min(PRICE)
    }
}

impl Model {
    /// Each item of a payment gives once, from when it was paid; what went back before takes its share at once.
    pub(super) fn buy(
        &mut self,
        payment: u8,
        item: u8,
        feature: &'static str,
        amount: i128,
        starts: i64,
        lives: Option<i64>,
    ) -> Answer {
        let known = self.payments.entry(payment).or_default();
        if known.bought.contains(&item) {
            return Answer::Repeated;
        }
        known.bought.push(item);
        let name = Name::Bought(payment, item);
        let (wallet, expires) = (Wallet::Default(feature), lives.map(|seconds| starts + seconds));
        let (entity, priority, unlimited, payment) = ("", 50, false, Some(payment));
        self.give(NewLot { name, wallet, feature, entity, priority, unlimited, amount, starts, expires, payment });
        self.reverse(payment.unwrap());
        Answer::Granted
    }

    /// Stripe says how much of a payment is gone by now.
    pub(super) fn money_back(&mut self, payment: u8, says: impl Fn(&mut Money)) -> Answer {
        says(self.payments.entry(payment).or_default());
        self.reverse(payment);
        let lots = self.lots.iter().filter(|lot| lot.payment == Some(payment));
        let (mut taken, mut owed, mut waived) = (0, 0, 0);
        for lot in lots {
            taken += lot.taken;
            owed += lot.owed;
            waived += lot.waived;
        }
        Answer::Reversed { taken, owed, waived }
    }

    /// Takes of each grant of a payment the share of it that is gone, or gives back what was taken above that: what lies
    /// there, then what was used as a debt of the wallet; what expired is not asked for.
    fn reverse(&mut self, payment: u8) {
        let money = self.payments[&payment].clone();
        let (now, gone) = (self.now, I256::from(money.gone()));
        let mut owed: Vec<(Wallet, &'static str, i128)> = Vec::new();
        for lot in self.lots.iter_mut().filter(|lot| lot.payment == Some(payment)) {
            lot.frozen = money.dispute == Some(Dispute::Open);
            let aim = rounded(I256::from(lot.granted), gone, I256::from(PRICE));
            let more = aim - (lot.taken + lot.owed + lot.waived);
            if lot.is_over(now) {
                lot.lost += lot.free();
                lot.left = lot.held;
            }
            let take = if more > 0 { more.min(lot.free()) } else { (aim - lot.taken).min(0) };
            lot.taken += take;
            lot.left -= take;
            let rest = aim - lot.taken;
            let used = lot.granted - lot.free() - lot.taken - lot.lost;
            let before = lot.owed;
            lot.owed = rest.min(used.max(before));
            lot.waived = rest - lot.owed;
            match owed.iter_mut().find(|(wallet, ..)| *wallet == lot.wallet) {
                Some((.., more)) => *more += lot.owed - before,
                None => owed.push((lot.wallet, lot.feature, lot.owed - before)),
            }
        }
        owed.sort_by_key(|(wallet, ..)| *wallet);
        for (wallet, feature, more) in owed {
            self.claw_back(payment, wallet, feature, more);
        }
    }

    /// Changes what a wallet owes for a payment.
    fn claw_back(&mut self, payment: u8, wallet: Wallet, feature: &'static str, more: i128) {
        let cause = Cause::ClawBack(payment);
        let known = self.debts.iter_mut().find(|debt| debt.wallet == wallet && debt.cause == cause);
        match known {
            Some(debt) if more >= 0 => debt.open += more,
            Some(debt) => {
                let id = debt.id;
                self.lower(id, -more);
            }
            None if more > 0 => {
                let id = self.fresh();
                self.debts.push(Debt { id, wallet, feature, cause, open: more, repaid: Vec::new() });
            }
            None => {}
        }
    }
}
