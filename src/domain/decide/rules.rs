//! Top-up rules: set, taken away, and looked at after every command that may have brought a balance down.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::super::account::AccountState;
use super::super::attachment::Attachment;
use super::super::catalog::FeatureId;
use super::super::command::{Charging, ChargingRefusal, Command, Decision, OrderTopUp, Outcome, Rejection, SetRule};
use super::super::credits::Credits;
use super::super::ids::{GrantId, TopUpId};
use super::super::money::Currency;
use super::super::top_up::price::{NoQuote, Quote, cheapest, currencies};
use super::super::top_up::why::{Standing, standing, within_ceilings};
use super::super::top_up::{
    Buy, Ceiling, Consent, Notice, PackSource, Pause, PauseReason, PlanTopUp, RULES_MAX, Rule, RuleOrigin, RuleTerms,
    TopUp, TopUpState, TopUpTerms,
};
use super::{Context, Draft};

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
        if let Some(wallet) = wanted.wallet {
            let known = self.state.wallet(wallet).ok_or(Rejection::UnknownWallet(wallet))?;
            if known.feature != wanted.feature {
                let (holds, asked) = (known.feature.clone(), wanted.feature.clone());
                return Err(Rejection::WalletFeature { wallet, holds, asked });
            }
        }
        let place = self.state.rules.iter().position(|rule| rule.name == wanted.name);
        let others = |rule: &&Rule| rule.origin == RuleOrigin::Api && rule.name != wanted.name;
        if self.state.rules.iter().filter(others).count() >= RULES_MAX {
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
        let card_changed = before.is_some_and(|known| known.terms.payment_method != wanted.payment_method);
        if !wanted.enabled {
            self.stop_open(&wanted.name, "disabled");
        } else if card_changed {
            self.close_waiting(&wanted.name, "new_card");
        }
        Ok(charged(None))
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
        if let Some(wallet) = order.wallet {
            let known = self.state.wallet(wallet).ok_or(Rejection::UnknownWallet(wallet))?;
            if known.feature != order.feature {
                let (holds, asked) = (known.feature.clone(), order.feature.clone());
                return Err(Rejection::WalletFeature { wallet, holds, asked });
            }
        }
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
        let about_card =
            |rule: &&Rule| rule.paused.is_some_and(|paused| paused.because.is_about_card() && is_news(paused.at));
        let names: Vec<String> = self.state.rules.iter().filter(about_card).map(|rule| rule.name.clone()).collect();
        for name in &names {
            self.resume(name);
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
                || (trigger == Trigger::Time && awaits_renewal(&self.state, self.context, &rule.terms.feature))
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
        let source = self.state.rules.iter().find(|rule| rule.name == name).and_then(|rule| rule.terms.source.clone());
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
        let mut found: Vec<(String, Option<PackSource>)> = Vec::new();
        for rule in &self.state.rules {
            let needed = match rule.terms.buy {
                Buy::Quantity(quantity) => Ok(quantity),
                Buy::Target(target) => target.checked_sub(rule.terms.threshold),
            };
            let quote = needed.map_err(|_| NoQuote::TooMuch).and_then(|needed| {
                cheapest(&self.context.catalog.catalog, &self.state, &rule.terms.feature, rule.terms.currency, needed)
            });
            found.push((rule.name.clone(), quote.ok().map(|quote| quote.source)));
        }
        for (name, source) in found {
            let Some(rule) = self.state.rules.iter_mut().find(|rule| rule.name == name) else { continue };
            if rule.terms.source != source {
                rule.terms.source = source;
                self.rule_changed(&name);
            }
        }
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
        Command::Charging(charging) => charging.makes_rules_look().then_some(Trigger::Act),
        Command::Settle | Command::RenewalLost(_) => Some(Trigger::Time),
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
fn awaits_renewal(state: &AccountState, context: Context<'_>, feature: &FeatureId) -> bool {
    let gives = |known: &Attachment| {
        context.catalog.terms_of(known).is_some_and(|plan| plan.items.iter().any(|item| item.feature == *feature))
    };
    let waits = |known: &Attachment| {
        known.paid_through.is_some_and(|through| through <= context.now && known.awaits_renewal(through))
    };
    state.attachments.iter().any(|known| waits(known) && gives(known))
}

pub(super) fn charged(top_up: Option<TopUpId>) -> Decision {
    Decision::Applied(Outcome::Charged { top_up })
}
