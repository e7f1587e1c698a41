//! Top-up rules: set, taken away, and looked at after every command that may have brought a balance down.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::super::account::AccountState;
use super::super::attachment::Attachment;
use super::super::catalog::{CatalogVersion, FeatureId};
use super::super::command::{Charging, ChargingRefusal, Command, Decision, OrderTopUp, Outcome, Rejection, SetRule};
use super::super::credits::Credits;
use super::super::grant::WalletState;
use super::super::ids::{GrantId, TopUpId, WalletId};
use super::super::money::Currency;
use super::super::top_up::price::{NoQuote, Quote, cheapest, currencies};
use super::super::top_up::why::{Standing, is_above_ceilings, standing, stands_before, within_ceilings};
use super::super::top_up::{
    Buy, Ceiling, Consent, DROPPED_MAX, Notice, PackSource, Pause, PauseReason, PlanTopUp, RULES_MAX, Rule, RuleOrigin,
    RuleTerms, TopUp, TopUpState, TopUpTerms,
};
use super::Draft;

/// What the rule that counts orders by hand is named after.
const DEMAND: &str = "demand";
/// What the rules of plans are named after.
const PLAN: &str = "plan";

impl Draft<'_> {
    /// Everything asked of rules and top-ups.
    pub(super) fn charging(&mut self, charging: &Charging) -> Result<Decision, Rejection> {
        self.source = super::super::entry::Source::Charger;
        match charging {
            Charging::SetRule(wanted) => self.set_rule(wanted),
            Charging::DropRule(name) => self.drop_rule(name),
            Charging::Order(order) => self.order(order),
            Charging::Look => Ok(charged(None)),
            Charging::CardSeen(at) => Ok(self.card_seen(*at)),
            Charging::CustomerDeleted => Ok(self.customer_deleted()),
            Charging::BeginTry(begin) => self.begin_try(begin),
            Charging::NoCard(top_up) => self.no_card(*top_up),
            Charging::TryEnded { top_up, attempt, result } => self.try_ended(*top_up, *attempt, result),
            Charging::Paid(paid) => self.top_up_paid(paid),
            Charging::Linked { top_up, link } => self.linked(*top_up, link),
            Charging::GiveUp { top_up, reason } => self.give_up(*top_up, reason),
            Charging::Closed(top_up) => self.closed(*top_up),
        }
    }

    fn set_rule(&mut self, wanted: &SetRule) -> Result<Decision, Rejection> {
        self.must_hold_credits(&wanted.feature)?;
        self.must_take_credits(wanted.wallet, &wanted.feature)?;
        self.forget_dropped();
        let place = self.state.rules.iter().position(|rule| rule.name == wanted.name);
        let others = |rule: &&Rule| rule.origin == RuleOrigin::Api && rule.name != wanted.name;
        if self.state.rules.iter().filter(others).count() >= RULES_MAX {
            return Err(ChargingRefusal::TooManyRules.into());
        }
        // Each of these was made and taken away in this month, and is read with every use.
        let dropped = self.state.rules.iter().filter(|rule| rule.origin == RuleOrigin::Dropped).count();
        if place.is_none() && dropped >= DROPPED_MAX {
            return Err(ChargingRefusal::TooManyRules.into());
        }
        let terms = self.terms(wanted)?;
        let mut rule = Rule::new(wanted.name.clone(), RuleOrigin::Api, terms, wanted.enabled);
        let before = place.and_then(|place| self.state.rules.get(place).cloned());
        if let Some(known) = &before {
            // What it decided goes on counting, and a sum has one currency.
            if known.terms.currency == rule.terms.currency {
                (rule.day, rule.month, rule.decided_at) = (known.day, known.month, known.decided_at);
            } else if known.has_decided_in_month(self.context.now) {
                return Err(ChargingRefusal::CurrencyFixed(known.terms.currency).into());
            }
            if !wanted.enabled {
                (rule.paused, rule.failures) = (known.paused, known.failures);
            }
        }
        match place.and_then(|place| self.state.rules.get_mut(place)) {
            Some(known) => *known = rule,
            None => self.state.rules.push(rule),
        }
        self.rule_changed(&wanted.name);
        if let Some(why) = before.and_then(|known| self.is_not_what_it_was(&known.terms, wanted)) {
            self.stop_open(&wanted.name, why);
        }
        self.stop_replaced(&wanted.name);
        Ok(charged(None))
    }

    /// Why what a rule decided before it was set anew is not what it would decide now.
    fn is_not_what_it_was(&self, before: &RuleTerms, wanted: &SetRule) -> Option<&'static str> {
        let rule = self.state.rules.iter().find(|rule| rule.name == wanted.name)?;
        let same = |now: &RuleTerms| {
            (&now.feature, now.wallet, now.currency) == (&before.feature, before.wallet, before.currency)
        };
        if !wanted.enabled {
            Some("disabled")
        } else if before.payment_method != wanted.payment_method {
            Some("new_card")
        } else if !same(&rule.terms) || is_above_ceilings(rule, self.context.now) {
            Some("rule_changed")
        } else {
            None
        }
    }

    /// What plans' rules decided that a rule of the app's own stands before now is not wanted any more.
    fn stop_replaced(&mut self, name: &str) {
        let Some(rule) = self.state.rules.iter().find(|rule| rule.name == name) else { return };
        let replaced = self.state.rules.iter().filter(|other| stands_before(rule, other));
        let replaced: Vec<String> = replaced.map(|other| other.name.clone()).collect();
        for other in replaced {
            self.stop_open(&other, "replaced_by_other_rule");
        }
    }

    /// A wallet that is named is of the feature, and not over: what is bought for it would go elsewhere.
    fn must_take_credits(&self, wallet: Option<WalletId>, feature: &FeatureId) -> Result<(), Rejection> {
        let Some(wallet) = wallet else { return Ok(()) };
        let known = self.state.wallet(wallet).ok_or(Rejection::UnknownWallet(wallet))?;
        if known.feature != *feature {
            let (holds, asked) = (known.feature.clone(), feature.clone());
            return Err(Rejection::WalletFeature { wallet, holds, asked });
        }
        if known.state == WalletState::Closed { Err(Rejection::WalletClosed(wallet)) } else { Ok(()) }
    }

    fn terms(&self, wanted: &SetRule) -> Result<RuleTerms, Rejection> {
        let currency = self.currency(&wanted.feature, wanted.currency, wanted.usual_currency)?;
        let needed = match wanted.buy {
            Buy::Quantity(quantity) => quantity,
            Buy::Target(target) => target.checked_sub(wanted.threshold)?,
        };
        if !needed.is_positive() {
            return Err(ChargingRefusal::NothingToBuy.into());
        }
        let quote = self.quoted(&wanted.feature, currency, needed)?;
        let usual = wanted.usual_month.get(&currency).copied();
        let month = wanted.per_month.minor.or(usual).ok_or(ChargingRefusal::CeilingMissing(currency))?;
        if wanted.enabled && wanted.consent.is_none() {
            return Err(ChargingRefusal::ConsentMissing.into());
        }
        Ok(RuleTerms {
            feature: wanted.feature.clone(),
            wallet: wanted.wallet,
            threshold: wanted.threshold,
            buy: wanted.buy,
            currency,
            payment_method: wanted.payment_method.clone(),
            mode: wanted.mode,
            per_day: wanted.per_day,
            per_month: Ceiling { minor: Some(month), ..wanted.per_month },
            cooldown_seconds: wanted.cooldown_seconds,
            consent: wanted.consent.clone(),
            source: Some(quote.source),
            shut: None,
        })
    }

    /// The currency of the order, else the only one of the packs, else the customer's or the usual one.
    fn currency(
        &self,
        feature: &FeatureId,
        asked: Option<Currency>,
        usual: Option<Currency>,
    ) -> Result<Currency, Rejection> {
        let sold = currencies(&self.context.catalog.catalog, &self.state, feature);
        let missing = |currency| ChargingRefusal::PriceMissing { feature: feature.clone(), currency };
        if let Some(asked) = asked {
            return if sold.contains(&asked) { Ok(asked) } else { Err(missing(Some(asked)).into()) };
        }
        match (sold.as_slice(), usual) {
            ([], _) => Err(missing(None).into()),
            ([only], _) => Ok(*only),
            (sold, Some(usual)) if sold.contains(&usual) => Ok(usual),
            (_, _) => Err(ChargingRefusal::WhichCurrency(feature.clone()).into()),
        }
    }

    fn quoted(&self, feature: &FeatureId, currency: Currency, needed: Credits) -> Result<Quote, Rejection> {
        cheapest(&self.context.catalog.catalog, &self.state, feature, currency, needed).map_err(|none| match none {
            NoQuote::Missing => {
                ChargingRefusal::PriceMissing { feature: feature.clone(), currency: Some(currency) }.into()
            }
            NoQuote::TooMuch => ChargingRefusal::TooMuch.into(),
        })
    }

    fn drop_rule(&mut self, name: &str) -> Result<Decision, Rejection> {
        let place = self.state.rules.iter().position(|rule| rule.name == name && rule.origin == RuleOrigin::Api);
        let Some(place) = place else { return Err(ChargingRefusal::UnknownRule(name.to_owned()).into()) };
        self.stop_open(name, "disabled");
        // The row stays while its ceilings count: who sets it anew begins no new month.
        if self.is_remembered(name) {
            if let Some(rule) = self.state.rules.get_mut(place) {
                (rule.enabled, rule.origin) = (false, RuleOrigin::Dropped);
            }
        } else {
            self.state.rules.remove(place);
        }
        self.rule_changed(name);
        Ok(charged(None))
    }

    fn order(&mut self, order: &OrderTopUp) -> Result<Decision, Rejection> {
        self.must_hold_credits(&order.feature)?;
        self.must_take_credits(order.wallet, &order.feature)?;
        let currency = self.currency(&order.feature, order.currency, order.usual_currency)?;
        let quote = self.quoted(&order.feature, currency, order.quantity)?;
        let month = order.usual_month.get(&currency).copied().ok_or(ChargingRefusal::CeilingMissing(currency))?;
        let name = format!("{DEMAND}/{}/{currency}", order.feature);
        if let Some(open) = self.open_of(&name) {
            return Err(ChargingRefusal::InProgress(open).into());
        }
        let terms = RuleTerms {
            feature: order.feature.clone(),
            wallet: order.wallet,
            threshold: Credits::ZERO,
            buy: Buy::Quantity(order.quantity),
            currency,
            payment_method: order.payment_method.clone(),
            mode: order.mode,
            per_day: Ceiling::default(),
            per_month: Ceiling { count: None, minor: Some(month) },
            cooldown_seconds: 0,
            consent: None,
            source: Some(quote.source.clone()),
            shut: None,
        };
        let mut rule = Rule::new(name.clone(), RuleOrigin::Demand, terms, false);
        if let Some(known) = self.state.rules.iter().find(|known| known.name == name) {
            (rule.day, rule.month, rule.decided_at) = (known.day, known.month, known.decided_at);
        }
        within_ceilings(&rule, quote.amount.minor(), self.context.now)
            .map_err(|held_back| ChargingRefusal::HeldBack(Box::new(held_back)))?;
        match self.state.rules.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = rule,
            None => self.state.rules.push(rule),
        }
        let top_up = self.decide_top_up(&name, quote, None);
        Ok(charged(top_up))
    }

    /// A new card mends what the last one broke; a link that waits for it is closed.
    fn card_seen(&mut self, at: Option<Timestamp>) -> Decision {
        // Stripe tells whole seconds: what happened within the same one may have come after.
        let since = at.and_then(|at| at.checked_add(SignedDuration::from_secs(1)).ok());
        let is_news = |of: Timestamp| since.is_none_or(|since| of < since);
        let waits = |rule: &Rule| {
            let of_rule = |top_up: &&TopUp| top_up.rule == rule.name && top_up.state == TopUpState::NeedsAction;
            // A page on which an order by hand can be paid takes any card.
            let is_stuck = |top_up: &TopUp| rule.origin != RuleOrigin::Demand || top_up.link.is_none();
            let is_older = |top_up: &TopUp| top_up.last_try.as_ref().is_none_or(|last| is_news(last.created_at));
            self.state.top_ups.iter().find(of_rule).is_some_and(|top_up| is_stuck(top_up) && is_older(top_up))
        };
        let about_card = |rule: &&Rule| match rule.paused {
            Some(paused) if paused.because.is_about_card() => is_news(paused.at),
            Some(_) | None => waits(rule),
        };
        let names: Vec<String> = self.state.rules.iter().filter(about_card).map(|rule| rule.name.clone()).collect();
        for name in &names {
            if self.state.rules.iter().any(|rule| rule.name == *name && rule.is_free_of_other_pauses()) {
                self.resume(name);
            }
            self.close_waiting(name, "new_card");
        }
        // What waits for tomorrow because of the old card need not.
        let now = self.context.now;
        let waits = |top_up: &&mut TopUp| {
            top_up.state == TopUpState::Open
                && top_up.due_at.is_some_and(|due| due > now)
                && top_up.last_try.as_ref().and_then(|last| last.ended_at).is_none_or(is_news)
        };
        for top_up in self.state.top_ups.iter_mut().filter(waits) {
            top_up.due_at = Some(now);
            self.changes.charging.top_ups.insert(top_up.id);
        }
        charged(None)
    }

    fn customer_deleted(&mut self) -> Decision {
        let names: Vec<String> = self.state.rules.iter().map(|rule| rule.name.clone()).collect();
        for name in names {
            self.stop_open(&name, PauseReason::CustomerDeleted.word());
            self.pause(&name, PauseReason::CustomerDeleted);
        }
        charged(None)
    }

    /// Looks at every rule: decides, or remembers when what holds one back ends by itself. Never fails what came before.
    pub(super) fn look_at_rules(&mut self, command: &Command) {
        if self.state.rules.is_empty() {
            return;
        }
        let Some(trigger) = trigger_of(command) else { return };
        let now = self.context.now;
        let names: Vec<String> = self.state.rules.iter().map(|rule| rule.name.clone()).collect();
        for name in names {
            let Some(rule) = self.state.rules.iter().find(|rule| rule.name == name) else { continue };
            if matches!(rule.origin, RuleOrigin::Demand | RuleOrigin::Dropped)
                || (trigger == Trigger::Time
                    && awaits_renewal(&self.state, self.context.catalog, &rule.terms.feature, now))
            {
                continue;
            }
            let look_at = match standing(&self.state, self.context.catalog, rule, now) {
                Standing::WouldCharge { quote, balance } => {
                    self.decide_top_up(&name, quote, Some(balance));
                    None
                }
                Standing::HeldBack(held_back) => held_back.until(),
            };
            self.look_again(&name, look_at);
        }
    }

    fn look_again(&mut self, name: &str, look_at: Option<Timestamp>) {
        let Some(rule) = self.state.rules.iter_mut().find(|rule| rule.name == name) else { return };
        if rule.look_at != look_at {
            rule.look_at = look_at;
            self.rule_changed(name);
        }
    }

    fn decide_top_up(&mut self, name: &str, quote: Quote, balance: Option<Credits>) -> Option<TopUpId> {
        let (id, grant) = (TopUpId::from_uuid(self.ids.fresh()), GrantId::from_uuid(self.ids.fresh()));
        let now = self.context.now;
        let rule = self.state.rules.iter_mut().find(|rule| rule.name == name)?;
        rule.count(now, now, quote.amount, true);
        rule.decided_at = Some(now);
        let terms = TopUpTerms {
            feature: rule.terms.feature.clone(),
            wallet: rule.terms.wallet,
            source: quote.source,
            units: quote.units,
            stripe_price: quote.stripe_price,
            expires_after: quote.expires_after,
            payment_method: rule.terms.payment_method.clone(),
            mode: rule.terms.mode,
            balance,
        };
        self.state.top_ups.push(TopUp {
            id,
            rule: name.to_owned(),
            state: TopUpState::Open,
            terms,
            amount: quote.amount,
            credits: quote.credits,
            grant,
            payment: None,
            reason: None,
            link: None,
            tries: 0,
            last_try: None,
            created_at: now,
            due_at: Some(now),
            ended_at: None,
        });
        self.changes.charging.made.insert(id);
        self.changes.charging.top_ups.insert(id);
        self.rule_changed(name);
        Some(id)
    }

    /// Rules of attached plans come and go with them; and whose packs are bought is looked up anew.
    pub(super) fn follow_plans(&mut self) {
        let catalog = self.context.catalog;
        let mut wanted: BTreeMap<String, (PlanTopUp, Option<Consent>)> = BTreeMap::new();
        for known in self.state.attachments.iter().filter(|known| known.is_live()) {
            for rule in catalog.terms_of(known).into_iter().flat_map(|plan| &plan.top_ups) {
                let consent = rule.consent.as_ref().map(|version| Consent {
                    by: format!("whoever took plan {}", known.plan),
                    at: known.started_at,
                    text_version: version.clone(),
                });
                wanted.insert(format!("{PLAN}/{}/{}", known.plan, rule.feature), (rule.clone(), consent));
            }
        }
        let gone = |rule: &&Rule| rule.origin == RuleOrigin::Plan && !wanted.contains_key(&rule.name);
        let gone: Vec<String> = self.state.rules.iter().filter(gone).map(|rule| rule.name.clone()).collect();
        for name in gone {
            self.stop_open(&name, "plan_ended");
            if let Some(rule) = self.state.rules.iter_mut().find(|rule| rule.name == name) {
                (rule.enabled, rule.origin) = (false, RuleOrigin::Dropped);
            }
            self.rule_changed(&name);
        }
        self.forget_dropped();
        for (name, (said, consent)) in wanted {
            self.follow_plan(&name, said, consent);
        }
        self.find_sources();
    }

    /// Is its last decision not over, or is there a month whose ceilings it still counts?
    fn is_remembered(&self, name: &str) -> bool {
        let now = self.context.now;
        let counts = |rule: &Rule| rule.name == name && rule.has_decided_in_month(now);
        self.open_of(name).is_some() || self.state.rules.iter().any(counts)
    }

    /// Rules that were taken away go for good once nothing hangs on them.
    fn forget_dropped(&mut self) {
        let dropped = self.state.rules.iter().filter(|rule| rule.origin == RuleOrigin::Dropped);
        let forgotten: Vec<String> =
            dropped.filter(|rule| !self.is_remembered(&rule.name)).map(|rule| rule.name.clone()).collect();
        for name in forgotten {
            self.state.rules.retain(|rule| rule.name != name);
            self.rule_changed(&name);
        }
    }

    fn follow_plan(&mut self, name: &str, said: PlanTopUp, consent: Option<Consent>) {
        let now = self.context.now;
        let before = self.state.rules.iter().find(|rule| rule.name == name).map(|rule| &rule.terms);
        let (source, shut) = before.map_or((None, None), |terms| (terms.source.clone(), terms.shut));
        let terms = RuleTerms {
            feature: said.feature,
            wallet: None,
            threshold: said.threshold,
            buy: said.buy,
            currency: said.currency,
            payment_method: None,
            mode: said.mode,
            per_day: said.per_day,
            per_month: said.per_month,
            cooldown_seconds: said.cooldown_seconds,
            consent,
            source,
            shut,
        };
        match self.state.rules.iter_mut().find(|rule| rule.name == name) {
            Some(rule) if rule.terms == terms && rule.enabled => return,
            // Its ceilings count another currency: the new terms wait for a new month.
            Some(rule) if rule.terms.currency != terms.currency && rule.has_decided_in_month(now) => return,
            Some(rule) if rule.terms.currency != terms.currency => {
                *rule = Rule::new(name.to_owned(), RuleOrigin::Plan, terms, true);
            }
            Some(rule) => (rule.terms, rule.enabled, rule.origin) = (terms, true, RuleOrigin::Plan),
            None => self.state.rules.push(Rule::new(name.to_owned(), RuleOrigin::Plan, terms, true)),
        }
        self.rule_changed(name);
    }

    fn find_sources(&mut self) {
        let mut found: Vec<(String, Option<PackSource>, Option<WalletState>)> = Vec::new();
        for rule in &self.state.rules {
            let needed = match rule.terms.buy {
                Buy::Quantity(quantity) => Ok(quantity),
                Buy::Target(target) => target.checked_sub(rule.terms.threshold),
            };
            let quote = needed.map_err(|_| NoQuote::TooMuch).and_then(|needed| {
                cheapest(&self.context.catalog.catalog, &self.state, &rule.terms.feature, rule.terms.currency, needed)
            });
            found.push((rule.name.clone(), quote.ok().map(|quote| quote.source), self.shut(&rule.terms)));
        }
        for (name, source, shut) in found {
            let Some(rule) = self.state.rules.iter_mut().find(|rule| rule.name == name) else { continue };
            if rule.terms.source != source || rule.terms.shut != shut {
                (rule.terms.source, rule.terms.shut) = (source, shut);
                self.rule_changed(&name);
            }
        }
    }

    /// How the wallet that a rule fills stands, unless credits in it can be spent. A default one is made when missing.
    fn shut(&self, terms: &RuleTerms) -> Option<WalletState> {
        let state = if let Some(wallet) = terms.wallet {
            self.state.wallet(wallet).map_or(WalletState::Closed, |known| known.state)
        } else {
            let mut wallets = self.state.wallets.iter();
            wallets.find(|known| known.is_default && known.feature == terms.feature)?.state
        };
        (state != WalletState::Open).then_some(state)
    }

    /// A plan that says rules has come: an account without any is looked at too.
    pub(super) fn plans_say_rules(&self) -> bool {
        let says =
            |known: &Attachment| self.context.catalog.terms_of(known).is_some_and(|plan| !plan.top_ups.is_empty());
        self.state.attachments.iter().any(|known| known.is_live() && says(known))
    }

    pub(super) fn rule_changed(&mut self, name: &str) {
        self.changes.charging.rules.insert(name.to_owned());
        if !self.state.has_extras {
            self.state.has_extras = true;
            self.changes.head_changed = true;
        }
    }

    /// A rule's decision that is not over.
    pub(super) fn open_of(&self, rule: &str) -> Option<TopUpId> {
        let open = |top_up: &&TopUp| top_up.rule == rule && !top_up.state.is_over();
        self.state.top_ups.iter().find(open).map(|top_up| top_up.id)
    }

    pub(super) fn pause(&mut self, name: &str, because: PauseReason) {
        let now = self.context.now;
        let Some(rule) = self.state.rules.iter_mut().find(|rule| rule.name == name) else { return };
        if matches!(rule.origin, RuleOrigin::Demand | RuleOrigin::Dropped)
            || rule.paused.is_some_and(|paused| paused.because == because)
        {
            return;
        }
        rule.paused = Some(Pause { because, at: now });
        let notice = Notice {
            topic: "top_up_rule.paused",
            top_up: None,
            rule: name.to_owned(),
            feature: rule.terms.feature.clone(),
            credits: None,
            amount_minor: None,
            currency: rule.terms.currency,
            reason: Some(because.word().to_owned()),
            url: None,
        };
        self.changes.charging.notices.push(notice);
        self.rule_changed(name);
    }

    /// A rule that waited for its customer goes on.
    pub(super) fn resume(&mut self, name: &str) {
        let Some(rule) = self.state.rules.iter_mut().find(|rule| rule.name == name) else { return };
        if rule.paused.is_some() || rule.failures > 0 {
            (rule.paused, rule.failures) = (None, 0);
            self.rule_changed(name);
        }
    }
}

/// What made rules be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// Usage, or somebody who set something.
    Act,
    /// Time alone: credits ended.
    Time,
}

/// Money going back and corrections by hand bring a balance down, and charge nobody; the next usage may.
fn trigger_of(command: &Command) -> Option<Trigger> {
    match command {
        Command::Track(_)
        | Command::Hold(_)
        | Command::Open
        | Command::PlanPaid(_)
        | Command::PlanChanged(_)
        | Command::SubscriptionSeen(_)
        | Command::Attach(_) => Some(Trigger::Act),
        // A look: somebody asked, or a cooldown is over, and nobody used anything.
        Command::Settle | Command::RenewalLost(_) | Command::Charging(Charging::Look) => Some(Trigger::Time),
        Command::Charging(charging) => charging.makes_rules_look().then_some(Trigger::Act),
        Command::ExtendHold(_)
        | Command::ReleaseHold(_)
        | Command::SetLimit(_)
        | Command::DropLimit(_)
        | Command::Grant(_)
        | Command::Purchase(_)
        | Command::MoneyBack(_)
        | Command::Wallet(_)
        | Command::Terminate(_)
        | Command::Void(_)
        | Command::Adjust(_)
        | Command::Cancel(_)
        | Command::Uncancel(_)
        | Command::Bill(_) => None,
    }
}

/// Does a plan that gives the feature wait for the invoice of its next period? Its end alone charges nobody (rule 14).
pub fn awaits_renewal(state: &AccountState, catalog: &CatalogVersion, feature: &FeatureId, now: Timestamp) -> bool {
    let gives = |known: &Attachment| {
        catalog.terms_of(known).is_some_and(|plan| plan.items.iter().any(|item| item.feature == *feature))
    };
    let waits =
        |known: &Attachment| known.paid_through.is_some_and(|through| through <= now && known.awaits_renewal(through));
    state.attachments.iter().any(|known| waits(known) && gives(known))
}

pub(super) fn charged(top_up: Option<TopUpId>) -> Decision {
    Decision::Applied(Outcome::Charged { top_up })
}
