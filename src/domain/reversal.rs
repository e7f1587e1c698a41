//! Money going back: what Stripe's objects say of it, and how much of each grant that takes.
//!
//! Nothing is added up from events. Of every refunded charge, dispute, fraud warning and credit note of a payment the
//! newest view is kept ([`BackView`]); from all of them together follows what is to be taken of each of the payment's
//! grants ([`PaymentBack::aims`]), and posting books the difference to what was taken before. So duplicates and any
//! order end in the same books, and money that comes to us again (a refund that failed, a dispute that was won) gives
//! back exactly what it took.
//!
//! Always true: of one grant `taken + owed + waived` is its aim, never more than it gave; the aim grows with the money
//! that went back, is nothing at none and all at all of it; a refund and a dispute of one charge never count for more
//! than the charge.

use std::collections::BTreeMap;

use ethnum::I256;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalog::FeatureId;
use super::credits::{AmountError, Credits, round_half_even};
use super::ids::{DebtId, GrantId, PaymentId, WalletId};
use super::money::Currency;

/// Most objects of one payment that are kept: Stripe has no limit of refunds, but they share their charge's view.
pub const VIEWS_MAX: usize = 200;

/// Money of a payment went back, or came again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoneyBack {
    /// The payment.
    pub payment: PaymentId,
    /// Objects of Stripe's that say so, as they are now.
    pub views: Vec<BackView>,
}

/// One object of Stripe's as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackView {
    /// Its id: of the charge, for its refunds.
    pub object: String,
    /// When Stripe was asked, or made the event: older views change nothing.
    pub seen_at: Timestamp,
    /// Credits of packs that are spent already are written off rather than owed: the policy when it was seen.
    pub write_off: bool,
    /// What it says.
    pub says: Says,
}

/// What an object of Stripe's says of money going back. Amounts are minor units of the payment's currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Says {
    /// A charge, and how much of it went back so far in refunds that take credits.
    Refunded {
        /// The charge.
        charge: String,
        /// What was charged.
        charged: i64,
        /// What went back: never more than was charged.
        back: i64,
    },
    /// A dispute.
    Disputed {
        /// The charge.
        charge: String,
        /// How far it has got.
        state: DisputeState,
        /// Lost for good; nothing unless `state` is lost.
        lost: i64,
    },
    /// The card's issuer suspects fraud.
    Warned {
        /// The charge.
        charge: String,
        /// Is something still to be done about it?
        open: bool,
    },
    /// A credit note of the payment's invoice.
    Credited {
        /// The whole note; 0 when it is void.
        total: i64,
        /// Of that, what went back as refunds of a charge, which count there too.
        refunded: i64,
        /// What it credits of each price, taxes included, by the price's id.
        prices: BTreeMap<String, i64>,
    },
}

/// How far a dispute has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    /// Only an inquiry: nothing is taken or frozen.
    Inquiry,
    /// The money is held back.
    Open,
    /// Over, and nothing is lost.
    Won,
    /// Over, and lost.
    Lost,
}

impl BackView {
    /// Does this view take the place of one of the same object? The newer one does; of two from one second, the one
    /// that is further.
    pub fn replaces(&self, known: &Self) -> bool {
        (self.seen_at, self.says.progress()) > (known.seen_at, known.says.progress())
            && (&self.says, self.write_off, self.seen_at) != (&known.says, known.write_off, known.seen_at)
    }
}

impl Says {
    /// Does it neither take nor freeze anything?
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Refunded { back, .. } => *back == 0,
            Self::Disputed { state, lost, .. } => *lost == 0 && *state != DisputeState::Open,
            Self::Warned { open, .. } => !open,
            Self::Credited { total, .. } => *total == 0,
        }
    }

    fn progress(&self) -> (u8, i64) {
        match self {
            Self::Refunded { back, .. } => (0, *back),
            Self::Disputed { state, lost, .. } => (*state as u8, *lost),
            Self::Warned { open, .. } => (u8::from(!open), 0),
            Self::Credited { total, refunded, .. } => (u8::from(*total == 0), total.saturating_add(*refunded)),
        }
    }
}

/// A grant of the payment, and what was taken of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackLot {
    /// The grant.
    pub grant: GrantId,
    /// Its wallet.
    pub wallet: WalletId,
    /// Which feature's credits.
    pub feature: FeatureId,
    /// Credits it gave.
    pub granted: Credits,
    /// What was paid for it, in minor units, taxes included.
    pub paid: Option<i64>,
    /// Stripe's price of its line.
    pub price: Option<String>,
    /// Is it a plan's period? Then refunds take unspent credits only (rule 28).
    pub is_plan: bool,
    /// The grant whose rest it carries: what is reversed of that one is taken here first, where it lies unspent.
    pub rolled_from: Option<GrantId>,
    /// Credits that were gone without being used: expired, ended, voided, corrected.
    pub lost: Credits,
    /// What reversals took.
    pub account: BackAccount,
}

/// What reversals did to one grant: the three add up to its aim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackAccount {
    /// Credits taken from the grant.
    pub taken: Credits,
    /// Credits that were spent and became debt of the wallet.
    pub owed: Credits,
    /// Credits that were spent or gone and are not asked for.
    pub waived: Credits,
}

impl BackAccount {
    /// Everything that was reversed of the grant.
    pub fn all(&self) -> Result<Credits, AmountError> {
        self.taken.checked_add(self.owed)?.checked_add(self.waived)
    }
}

/// All that is known of a payment's money going back.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PaymentBack {
    /// What was paid for everything together, taxes included: the whole that shares are of.
    pub total: Option<(Currency, i64)>,
    /// The newest view of each object.
    pub views: BTreeMap<String, BackView>,
    /// The payment's grants.
    pub lots: Vec<BackLot>,
    /// Debts it made, by wallet.
    pub debts: BTreeMap<WalletId, DebtId>,
}

/// What a view told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// An older look, or the same one.
    Nothing,
    /// What is known, seen later.
    Again,
    /// Something else than before.
    News,
}

/// What is to be reversed of one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Aim {
    /// Credits in all, never more than it gave.
    pub all: Credits,
    /// Of that, what may become debt where it is spent already.
    pub may_owe: Credits,
}

/// Money that went back, of the whole payment.
#[derive(Clone, Copy, Debug, Default)]
struct Back {
    /// In refunds.
    refunded: i64,
    /// In refunds and lost disputes, no charge counted above what it was.
    all: i64,
}

impl PaymentBack {
    /// Takes in a view.
    pub fn learn(&mut self, view: &BackView) -> Learned {
        match self.views.get(&view.object) {
            Some(known) if !view.replaces(known) => return Learned::Nothing,
            Some(_) | None => {}
        }
        let mut view = view.clone();
        let again = self.views.get(&view.object).filter(|known| known.says == view.says).map(|known| known.write_off);
        // Another policy counts for what happens from now on, not for a second look at what was decided.
        view.write_off = again.unwrap_or(view.write_off);
        self.views.insert(view.object.clone(), view);
        if again.is_some() { Learned::Again } else { Learned::News }
    }

    /// Is the unspent part set aside while a dispute is open or fraud is suspected?
    pub fn is_frozen(&self) -> bool {
        self.views.values().any(|view| match &view.says {
            Says::Disputed { state, .. } => *state == DisputeState::Open,
            Says::Warned { open, .. } => *open,
            Says::Refunded { .. } | Says::Credited { .. } => false,
        })
    }

    /// Has any money gone back?
    pub fn is_any(&self) -> bool {
        self.views.values().any(|view| match &view.says {
            Says::Refunded { back, .. } => *back > 0,
            Says::Disputed { lost, .. } => *lost > 0,
            Says::Warned { .. } => false,
            Says::Credited { total, .. } => *total > 0,
        })
    }

    /// What is to be reversed of each grant, in the order of [`Self::lots`].
    pub fn aims(&self) -> Result<Vec<Aim>, AmountError> {
        let total = self.total.map_or(0, |(_, minor)| minor);
        let back = self.money_back(total);
        let write_off = self.views.values().any(|view| view.write_off);
        let direct = |lot: &BackLot| match lot.rolled_from {
            None => self.aim(lot, total, back, write_off),
            Some(_) => Ok(Aim::default()),
        };
        let mut aims: Vec<Aim> = self.lots.iter().map(direct).collect::<Result<_, AmountError>>()?;
        self.follow_rollovers(&mut aims)?;
        Ok(aims)
    }

    /// What rolled over is of the payment still: of what is to be reversed of a grant, the part that was not taken while
    /// it lay there is taken where its rest lies now. What may be owed counts for the two together.
    fn follow_rollovers(&self, aims: &mut [Aim]) -> Result<(), AmountError> {
        for (place, lot) in self.lots.iter().enumerate() {
            let Some(from) = lot.rolled_from else { continue };
            let Some(source) = self.lots.iter().position(|other| other.grant == from) else { continue };
            let taken = self.lots.get(source).map_or(Credits::ZERO, |source| source.account.taken);
            let Some(whole) = aims.get_mut(source) else { continue };
            let part = whole.all.checked_sub(taken)?.max(Credits::ZERO).min(lot.granted);
            whole.all = whole.all.checked_sub(part)?;
            let may_owe = whole.may_owe.min(part);
            if let Some(aim) = aims.get_mut(place) {
                *aim = Aim { all: part, may_owe };
            }
        }
        Ok(())
    }

    fn money_back(&self, total: i64) -> Back {
        // By charge: what was charged (a charge nobody has shown us is at most the whole), refunded, lost.
        let mut charges: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
        for view in self.views.values() {
            match &view.says {
                Says::Refunded { charge, charged, back } => {
                    let of = charges.entry(charge).or_insert((total, 0, 0));
                    (of.0, of.1) = (*charged, *back);
                }
                Says::Disputed { charge, lost, .. } => {
                    let of = charges.entry(charge).or_insert((total, 0, 0));
                    of.2 = of.2.saturating_add(*lost);
                }
                Says::Warned { .. } | Says::Credited { .. } => {}
            }
        }
        charges.values().fold(Back::default(), |sum, (charged, refunded, lost)| Back {
            refunded: sum.refunded.saturating_add((*refunded).min(*charged)),
            all: sum.all.saturating_add(refunded.saturating_add(*lost).min(*charged)),
        })
    }

    fn aim(&self, lot: &BackLot, total: i64, back: Back, write_off: bool) -> Result<Aim, AmountError> {
        let noted = self.noted(lot);
        let all = noted.share_of(back.all, lot, total)?;
        let may_owe = match (write_off, lot.is_plan) {
            (true, _) => Credits::ZERO,
            (false, false) => all,
            (false, true) => all.checked_sub(noted.share_of(back.refunded, lot, total)?)?,
        };
        Ok(Aim { all, may_owe })
    }

    /// What the credit notes say of a lot.
    fn noted(&self, lot: &BackLot) -> Noted {
        let mut noted = Noted::default();
        for view in self.views.values() {
            let Says::Credited { total, refunded, prices } = &view.says else { continue };
            let Some(price) = &lot.price else {
                // Credits that no line bought follow the whole.
                noted.beside = noted.beside.saturating_add(total.saturating_sub(*refunded).max(0));
                continue;
            };
            let lined = prices.values().fold(0_i64, |sum, minor| sum.saturating_add(*minor)).min(*total);
            let by_lines = (*refunded).min(lined);
            let rest = total.saturating_sub(lined).saturating_sub(refunded.saturating_sub(by_lines)).max(0);
            noted.covered = noted.covered.saturating_add(by_lines);
            noted.beside = noted.beside.saturating_add(rest);
            noted.lined = noted.lined.saturating_add(lined);
            noted.named = noted.named.saturating_add(prices.get(price).copied().unwrap_or(0));
        }
        // A price may have bought several grants, of which one carries the money of each of its lines.
        let of_price = self.lots.iter().filter(|other| lot.price.is_some() && other.price == lot.price);
        noted.paid = of_price.filter_map(|other| other.paid).fold(0_i64, i64::saturating_add);
        noted
    }
}

/// What credit notes say of one lot, in minor units.
#[derive(Clone, Copy, Debug, Default)]
struct Noted {
    /// Went back in refunds of charges, and lines say for what.
    covered: i64,
    /// Credited, not in a refund, and no line says for what.
    beside: i64,
    /// Credited in lines, of all prices.
    lined: i64,
    /// Of that, for the price of this lot.
    named: i64,
    /// What was paid for that price; 0 when no grant says.
    paid: i64,
}

impl Noted {
    /// What is to be taken of a lot, when so much went back of the charges.
    fn share_of(self, gone: i64, lot: &BackLot, total: i64) -> Result<Credits, AmountError> {
        let whole = gone.saturating_sub(self.covered).max(0).saturating_add(self.beside);
        // A note's refund that failed, has not arrived or was a favour takes nothing by its lines either.
        let kept = self.covered.saturating_sub(gone.max(0)).clamp(0, self.lined);
        let paid = if self.paid > 0 { self.paid } else { total };
        let named = if kept == 0 {
            share(lot.granted, self.named, paid)?
        } else {
            let (part, of) = (i128::from(self.lined.saturating_sub(kept)), i128::from(self.lined));
            // Cannot overflow: below 2^63 times below 2^63.
            let part = i128::from(self.named).wrapping_mul(part);
            share_of(lot.granted, part, i128::from(paid).wrapping_mul(of))?
        };
        Ok(share(lot.granted, whole, total)?.checked_add(named)?.min(lot.granted))
    }
}

/// `granted * part / whole`, rounded half to even at the ninth place; all of it from the whole on, nothing of nothing.
pub fn share(granted: Credits, part: i64, whole: i64) -> Result<Credits, AmountError> {
    share_of(granted, i128::from(part), i128::from(whole))
}

fn share_of(granted: Credits, part: i128, whole: i128) -> Result<Credits, AmountError> {
    if part <= 0 || whole <= 0 {
        return Ok(Credits::ZERO);
    }
    if part >= whole {
        return Ok(granted);
    }
    // Cannot overflow: below 2^97 times below 2^126.
    let product = I256::from(granted.nanos()).wrapping_mul(I256::from(part));
    let nanos = round_half_even(product, I256::from(whole));
    i128::try_from(nanos).map_err(|_| AmountError::TooLarge).and_then(Credits::from_nanos)
}

impl BackLot {
    /// Credits of the grant that were used, or are set aside for use: what a customer can owe for at most. `free` is
    /// what lies in the grant and is not held.
    pub fn used(&self, free: Credits) -> Result<Credits, AmountError> {
        let left = self.granted.checked_sub(free)?.checked_sub(self.account.taken)?.checked_sub(self.lost)?;
        Ok(left.max(Credits::ZERO))
    }
}
