//! Questions and writes in Stripe's own words: async-stripe's builders give path, query and form. The only file that
//! knows async-stripe.
//!
//! Their clients, retries and parsers are not used: a builder is a list of parameters that the compiler checks. What they
//! leave to chance, the order of a map's pairs, [`Frozen`] puts right.

use std::collections::HashMap;

use jiff::Timestamp;
use stripe_billing::InvoiceStatus;
use stripe_billing::SubscriptionScheduleEndBehavior;
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_billing::credit_note::RetrieveCreditNote;
use stripe_billing::credit_note_line_item::ListCreditNoteCreditNoteLineItem;
use stripe_billing::invoice::{
    CreateInvoice, CreateInvoiceAutomaticTax, CreateInvoicePendingInvoiceItemsBehavior, FinalizeInvoiceInvoice,
    ListInvoice, PayInvoice, RetrieveInvoice, VoidInvoiceInvoice,
};
use stripe_billing::invoice_item::{CreateInvoiceItem, PricingParam};
use stripe_billing::invoice_line_item::ListInvoiceInvoiceLineItem;
use stripe_billing::invoice_payment::{ListInvoicePayment, ListInvoicePaymentPayment, ListInvoicePaymentPaymentType};
use stripe_billing::subscription::{
    CancelSubscription, CreateSubscription, CreateSubscriptionItems, CreateSubscriptionPaymentBehavior,
    ListSubscription, ListSubscriptionStatus, RetrieveSubscription, UpdateSubscription, UpdateSubscriptionItems,
    UpdateSubscriptionPaymentBehavior, UpdateSubscriptionProrationBehavior,
};
use stripe_billing::subscription_schedule::{
    CreateSubscriptionSchedule, ReleaseSubscriptionSchedule, RetrieveSubscriptionSchedule, UpdateSubscriptionSchedule,
    UpdateSubscriptionSchedulePhases, UpdateSubscriptionSchedulePhasesEndDate, UpdateSubscriptionSchedulePhasesItems,
    UpdateSubscriptionSchedulePhasesProrationBehavior, UpdateSubscriptionSchedulePhasesStartDate,
};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionCustomerCreation, CreateCheckoutSessionLineItems,
    CreateCheckoutSessionLineItemsPriceData, CreateCheckoutSessionPaymentIntentData,
    CreateCheckoutSessionPaymentIntentDataSetupFutureUsage, CreateCheckoutSessionSetupIntentData,
    CreateCheckoutSessionSubscriptionData, ExpireCheckoutSession, ListCheckoutSession, ListLineItemsCheckoutSession,
    ProductData, RetrieveCheckoutSession,
};
use stripe_checkout::{CheckoutSessionMode, CheckoutSessionStatus};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::charge::RetrieveCharge;
use stripe_core::customer::{
    CreateCustomer, ListPaymentMethodsCustomer, ListPaymentMethodsCustomerType, RetrieveCustomer, UpdateCustomer,
    UpdateCustomerInvoiceSettings,
};
use stripe_core::dispute::ListDispute;
use stripe_core::event::ListEvent;
use stripe_core::payment_intent::{
    CancelPaymentIntent, CancelPaymentIntentCancellationReason, CreatePaymentIntent,
    CreatePaymentIntentAutomaticPaymentMethods, CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects,
    CreatePaymentIntentOffSession, ListPaymentIntent, RetrievePaymentIntent,
};
use stripe_core::refund::{CreateRefund, CreateRefundReason, ListRefund, RetrieveRefund};
use stripe_core::setup_intent::RetrieveSetupIntent;
use stripe_types::{Currency as CurrencyParam, RangeQueryTs};

use super::client::{Fetch, Listing, PAGE_LIMIT, StripeId};
use super::frozen::{Frozen, Metadata, WriteError, WriteMethod};
use super::write::{
    AfterLast, Buyer, CancelReason, Charge, Checkout, CheckoutLine, InvoiceItem, ItemChange, ItemCharge, NewCustomer,
    NewInvoice, NewSubscription, PaymentBehavior, Phase, PriceLine, Proration, Purpose, Refund, RefundReason,
    SubscriptionChange, Write,
};
use crate::domain::money::{Currency, Money};

/// Stripe's limit for the lines of a session.
const SESSION_LINES_MAX: usize = 100;

/// Stripe's limit for the items of a subscription and of a phase.
const ITEMS_MAX: usize = 20;

/// Stripe's limit for the phases of a schedule that is read back whole.
const PHASES_MAX: usize = 10;

/// Encodes a write; see [`Write::freeze`].
pub(super) fn freeze(write: &Write) -> Result<Frozen, WriteError> {
    let RequestBuilder { method, path, query: _, body } = request(write)?;
    let method = match method {
        StripeMethod::Post => WriteMethod::Post,
        StripeMethod::Delete => WriteMethod::Delete,
        StripeMethod::Get => return Err(WriteError::Method),
    };
    Frozen::new(method, &format!("/v1{path}"), &body.unwrap_or_default())
}

fn request(write: &Write) -> Result<RequestBuilder, WriteError> {
    Ok(match write {
        Write::Charge(charge) => off_session(charge)?.build(),
        Write::CancelIntent { payment_intent, reason } => {
            CancelPaymentIntent::new(payment_intent.as_str()).cancellation_reason(cancel_reason(*reason)).build()
        }
        Write::CreateCustomer(customer) => new_customer(customer).build(),
        Write::SetDefaultMethod { customer, payment_method } => {
            let mut settings = UpdateCustomerInvoiceSettings::new();
            settings.default_payment_method = Some(payment_method.to_string());
            UpdateCustomer::new(customer.as_str()).invoice_settings(settings).build()
        }
        Write::CreateSession(session) => checkout(session)?.build(),
        Write::ExpireSession { session } => ExpireCheckoutSession::new(session.as_str()).build(),
        Write::CreateInvoice(invoice) => new_invoice(invoice).build(),
        Write::AddInvoiceItem(item) => invoice_item(item)?.build(),
        Write::FinalizeInvoice { invoice, auto_advance } => {
            FinalizeInvoiceInvoice::new(invoice.as_str()).auto_advance(*auto_advance).build()
        }
        Write::PayInvoice { invoice, payment_method } => {
            let request = PayInvoice::new(invoice.as_str()).off_session(true);
            set(request, payment_method.as_ref().map(StripeId::to_string), PayInvoice::payment_method).build()
        }
        Write::VoidInvoice { invoice } => VoidInvoiceInvoice::new(invoice.as_str()).build(),
        Write::SetCancelAtPeriodEnd { subscription, cancel } => {
            UpdateSubscription::new(subscription.as_str()).cancel_at_period_end(*cancel).build()
        }
        Write::CreateSubscription(new) => new_subscription(new)?.build(),
        Write::ChangeSubscription(change) => change_subscription(change)?.build(),
        Write::CancelSubscription { subscription, prorate, invoice_now } => {
            CancelSubscription::new(subscription.as_str()).prorate(*prorate).invoice_now(*invoice_now).build()
        }
        Write::Refund(back) => refund(back)?.build(),
        Write::OpenPortal { customer, return_url, configuration } => {
            let request = CreateBillingPortalSession::new().customer(customer.as_str());
            let request = set(request, return_url.clone(), CreateBillingPortalSession::return_url);
            let configuration = configuration.as_ref().map(StripeId::to_string);
            set(request, configuration, CreateBillingPortalSession::configuration).build()
        }
        Write::CreateSchedule { from_subscription } => {
            CreateSubscriptionSchedule::new().from_subscription(from_subscription.as_str()).build()
        }
        Write::SetPhases { schedule, phases, after_last } => set_phases(schedule, phases, *after_last)?.build(),
        Write::ReleaseSchedule { schedule } => ReleaseSubscriptionSchedule::new(schedule.as_str()).build(),
    })
}

fn off_session(charge: &Charge) -> Result<CreatePaymentIntent, WriteError> {
    let Charge { amount, customer, payment_method, description, receipt_email, return_url, metadata } = charge;
    let request = CreatePaymentIntent::new(positive(*amount, "a charge")?, currency(amount.currency()))
        .confirm(true)
        .off_session(CreatePaymentIntentOffSession::Bool(true))
        .customer(customer.as_str())
        .payment_method(payment_method.as_str())
        // Its time is the time of the payment, and its balance transaction what finance asks for.
        .expand(vec!["latest_charge".to_owned()]);
    let request = set(request, map(metadata), CreatePaymentIntent::metadata);
    let request = set(request, description.clone(), CreatePaymentIntent::description);
    let request = set(request, receipt_email.clone(), CreatePaymentIntent::receipt_email);
    if let Some(url) = return_url {
        return Ok(request.return_url(url.as_str()));
    }
    let mut methods = CreatePaymentIntentAutomaticPaymentMethods::new(true);
    methods.allow_redirects = Some(CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects::Never);
    Ok(request.automatic_payment_methods(methods))
}

fn new_customer(customer: &NewCustomer) -> CreateCustomer {
    let NewCustomer { email, name, metadata } = customer;
    let request = set(CreateCustomer::new(), map(metadata), CreateCustomer::metadata);
    let request = set(request, email.clone(), CreateCustomer::email);
    set(request, name.clone(), CreateCustomer::name)
}

fn checkout(session: &Checkout) -> Result<CreateCheckoutSession, WriteError> {
    let Checkout { purpose, buyer, success_url, cancel_url, client_reference_id, expires_at, metadata } = session;
    let request = CreateCheckoutSession::new().success_url(success_url.as_str());
    let request = set(request, map(metadata), CreateCheckoutSession::metadata);
    let request = set(request, cancel_url.clone(), CreateCheckoutSession::cancel_url);
    let request = set(request, client_reference_id.clone(), CreateCheckoutSession::client_reference_id);
    let request = set(request, expires_at.map(Timestamp::as_second), CreateCheckoutSession::expires_at);
    // Only a payment leaves its buyer without a customer unless it is told otherwise; the other modes make one.
    let is_payment = matches!(purpose, Purpose::Payment { .. });
    let request = match buyer {
        Buyer::Customer(id) => request.customer(id.as_str()),
        Buyer::New { email } => {
            let request = set(request, email.clone(), CreateCheckoutSession::customer_email);
            let always = is_payment.then_some(CreateCheckoutSessionCustomerCreation::Always);
            set(request, always, CreateCheckoutSession::customer_creation)
        }
    };
    Ok(match purpose {
        Purpose::Payment { lines, save_card } => {
            count("lines of a checkout", lines.len(), SESSION_LINES_MAX)?;
            let lines = lines.iter().map(checkout_line).collect::<Result<Vec<_>, _>>()?;
            let mut intent = CreateCheckoutSessionPaymentIntentData::new();
            intent.metadata = map(metadata);
            intent.setup_future_usage =
                save_card.then_some(CreateCheckoutSessionPaymentIntentDataSetupFutureUsage::OffSession);
            request.mode(CheckoutSessionMode::Payment).line_items(lines).payment_intent_data(intent)
        }
        Purpose::Subscription { lines, trial_days } => {
            count("lines of a subscription", lines.len(), ITEMS_MAX)?;
            let lines: Vec<_> = lines.iter().map(session_line).collect();
            let mut subscription = CreateCheckoutSessionSubscriptionData::new();
            subscription.metadata = map(metadata);
            subscription.trial_period_days = *trial_days;
            request.mode(CheckoutSessionMode::Subscription).line_items(lines).subscription_data(subscription)
        }
        Purpose::Setup { currency: later } => {
            let mut setup = CreateCheckoutSessionSetupIntentData::new();
            setup.metadata = map(metadata);
            request.mode(CheckoutSessionMode::Setup).currency(currency(*later)).setup_intent_data(setup)
        }
    })
}

fn session_line(line: &PriceLine) -> CreateCheckoutSessionLineItems {
    let mut item = CreateCheckoutSessionLineItems::new();
    item.price = Some(line.price.to_string());
    item.quantity = Some(line.quantity);
    item
}

fn checkout_line(line: &CheckoutLine) -> Result<CreateCheckoutSessionLineItems, WriteError> {
    Ok(match line {
        CheckoutLine::Price(line) => session_line(line),
        CheckoutLine::Amount { product, amount } => {
            let mut price = CreateCheckoutSessionLineItemsPriceData::new(currency(amount.currency()));
            price.product = Some(product.to_string());
            once(price, *amount)?
        }
        CheckoutLine::Named { name, amount } => {
            let mut price = CreateCheckoutSessionLineItemsPriceData::new(currency(amount.currency()));
            price.product_data = Some(ProductData::new(name.clone()));
            once(price, *amount)?
        }
    })
}

/// One of an amount that has no price.
fn once(
    mut price: CreateCheckoutSessionLineItemsPriceData,
    amount: Money,
) -> Result<CreateCheckoutSessionLineItems, WriteError> {
    price.unit_amount = Some(positive(amount, "a line of a checkout")?);
    let mut item = CreateCheckoutSessionLineItems::new();
    item.price_data = Some(price);
    item.quantity = Some(1);
    Ok(item)
}

fn new_invoice(invoice: &NewInvoice) -> CreateInvoice {
    let NewInvoice { customer, currency: of, payment_method, automatic_tax, description, metadata } = invoice;
    let request = CreateInvoice::new()
        .customer(customer.as_str())
        .currency(currency(*of))
        .pending_invoice_items_behavior(CreateInvoicePendingInvoiceItemsBehavior::Exclude)
        // Otherwise Stripe finalizes, charges and retries behind our back.
        .auto_advance(false);
    let request = set(request, map(metadata), CreateInvoice::metadata);
    let request = set(request, payment_method.as_ref().map(StripeId::to_string), CreateInvoice::default_payment_method);
    let request = set(request, description.clone(), CreateInvoice::description);
    let tax = automatic_tax.then(|| CreateInvoiceAutomaticTax::new(true));
    set(request, tax, CreateInvoice::automatic_tax)
}

fn invoice_item(item: &InvoiceItem) -> Result<CreateInvoiceItem, WriteError> {
    let InvoiceItem { customer, invoice, charge, description, metadata } = item;
    let request = CreateInvoiceItem::new().customer(customer.as_str()).invoice(invoice.as_str());
    let request = set(request, map(metadata), CreateInvoiceItem::metadata);
    let request = set(request, description.clone(), CreateInvoiceItem::description);
    Ok(match charge {
        ItemCharge::Amount(amount) => {
            let negative_or_positive = amount.minor();
            if negative_or_positive == 0 {
                return Err(WriteError::NotPositive { what: "an invoice item that is no credit" });
            }
            request.amount(negative_or_positive).currency(currency(amount.currency()))
        }
        ItemCharge::Price(line) => {
            let mut pricing = PricingParam::new();
            pricing.price = Some(line.price.to_string());
            request.pricing(pricing).quantity(line.quantity)
        }
    })
}

fn new_subscription(new: &NewSubscription) -> Result<CreateSubscription, WriteError> {
    let NewSubscription { customer, lines, payment_method, trial_days, payment, metadata } = new;
    count("lines of a subscription", lines.len(), ITEMS_MAX)?;
    let items = lines.iter().map(|line| {
        let mut item = CreateSubscriptionItems::new();
        item.price = Some(line.price.to_string());
        item.quantity = Some(line.quantity);
        item
    });
    let request = CreateSubscription::new()
        .customer(customer.as_str())
        .items(items.collect::<Vec<_>>())
        .default_payment_method(payment_method.as_str())
        .payment_behavior(match payment {
            PaymentBehavior::PendingIfIncomplete => CreateSubscriptionPaymentBehavior::PendingIfIncomplete,
            PaymentBehavior::AllowIncomplete => CreateSubscriptionPaymentBehavior::AllowIncomplete,
            PaymentBehavior::ErrorIfIncomplete => CreateSubscriptionPaymentBehavior::ErrorIfIncomplete,
        });
    let request = set(request, map(metadata), CreateSubscription::metadata);
    Ok(set(request, *trial_days, CreateSubscription::trial_period_days))
}

fn change_subscription(change: &SubscriptionChange) -> Result<UpdateSubscription, WriteError> {
    let SubscriptionChange { subscription, items, proration, payment, proration_date } = change;
    count("changes of a subscription", items.len(), ITEMS_MAX)?;
    let items: Vec<_> = items.iter().map(item_change).collect();
    let request = UpdateSubscription::new(subscription.as_str())
        .items(items)
        .proration_behavior(match proration {
            Proration::None => UpdateSubscriptionProrationBehavior::None,
            Proration::NextInvoice => UpdateSubscriptionProrationBehavior::CreateProrations,
            Proration::InvoiceNow => UpdateSubscriptionProrationBehavior::AlwaysInvoice,
        })
        .payment_behavior(match payment {
            PaymentBehavior::PendingIfIncomplete => UpdateSubscriptionPaymentBehavior::PendingIfIncomplete,
            PaymentBehavior::AllowIncomplete => UpdateSubscriptionPaymentBehavior::AllowIncomplete,
            PaymentBehavior::ErrorIfIncomplete => UpdateSubscriptionPaymentBehavior::ErrorIfIncomplete,
        });
    Ok(set(request, proration_date.map(Timestamp::as_second), UpdateSubscription::proration_date))
}

fn item_change(change: &ItemChange) -> UpdateSubscriptionItems {
    let mut item = UpdateSubscriptionItems::new();
    match change {
        ItemChange::Set { item: id, price, quantity } => {
            item.id = Some(id.to_string());
            item.price = price.as_ref().map(StripeId::to_string);
            item.quantity = *quantity;
        }
        ItemChange::Add(line) => {
            item.price = Some(line.price.to_string());
            item.quantity = Some(line.quantity);
        }
        ItemChange::Remove { item: id } => {
            item.id = Some(id.to_string());
            item.deleted = Some(true);
        }
    }
    item
}

fn refund(back: &Refund) -> Result<CreateRefund, WriteError> {
    let Refund { payment_intent, amount, reason, metadata } = back;
    let request = CreateRefund::new().payment_intent(payment_intent.as_str());
    let request = set(request, map(metadata), CreateRefund::metadata);
    let amount = amount.map(|amount| positive(amount, "a refund")).transpose()?;
    let request = set(request, amount, CreateRefund::amount);
    let reason = reason.map(|reason| match reason {
        RefundReason::Duplicate => CreateRefundReason::Duplicate,
        RefundReason::Fraudulent => CreateRefundReason::Fraudulent,
        RefundReason::RequestedByCustomer => CreateRefundReason::RequestedByCustomer,
    });
    Ok(set(request, reason, CreateRefund::reason))
}

fn set_phases(
    schedule: &StripeId,
    phases: &[Phase],
    after: AfterLast,
) -> Result<UpdateSubscriptionSchedule, WriteError> {
    count("phases of a schedule", phases.len(), PHASES_MAX)?;
    let phases = phases.iter().map(phase).collect::<Result<Vec<_>, _>>()?;
    Ok(UpdateSubscriptionSchedule::new(schedule.as_str()).phases(phases).end_behavior(match after {
        AfterLast::GoOn => SubscriptionScheduleEndBehavior::Release,
        AfterLast::Cancel => SubscriptionScheduleEndBehavior::Cancel,
    }))
}

fn phase(phase: &Phase) -> Result<UpdateSubscriptionSchedulePhases, WriteError> {
    let Phase { lines, starts_at, ends_at, proration, metadata } = phase;
    count("items of a phase", lines.len(), ITEMS_MAX)?;
    let items: Vec<_> = lines
        .iter()
        .map(|line| {
            let mut item = UpdateSubscriptionSchedulePhasesItems::new();
            item.price = Some(line.price.to_string());
            item.quantity = Some(line.quantity);
            item
        })
        .collect();
    let mut made = UpdateSubscriptionSchedulePhases::new(items);
    made.start_date = starts_at.map(|at| UpdateSubscriptionSchedulePhasesStartDate::Timestamp(at.as_second()));
    made.end_date = ends_at.map(|at| UpdateSubscriptionSchedulePhasesEndDate::Timestamp(at.as_second()));
    made.metadata = map(metadata);
    made.proration_behavior = Some(match proration {
        Proration::None => UpdateSubscriptionSchedulePhasesProrationBehavior::None,
        Proration::NextInvoice => UpdateSubscriptionSchedulePhasesProrationBehavior::CreateProrations,
        Proration::InvoiceNow => UpdateSubscriptionSchedulePhasesProrationBehavior::AlwaysInvoice,
    });
    Ok(made)
}

fn cancel_reason(reason: CancelReason) -> CancelPaymentIntentCancellationReason {
    match reason {
        CancelReason::Abandoned => CancelPaymentIntentCancellationReason::Abandoned,
        CancelReason::Duplicate => CancelPaymentIntentCancellationReason::Duplicate,
        CancelReason::RequestedByCustomer => CancelPaymentIntentCancellationReason::RequestedByCustomer,
    }
}

/// Stripe's word for a currency. One its list lacks goes out as it is written, for Stripe to judge.
fn currency(currency: Currency) -> CurrencyParam {
    match currency.code().parse() {
        Ok(known) => known,
        Err(never) => match never {},
    }
}

/// Absent without pairs, for an empty map is sent as a clearing of what is there.
fn map(metadata: &Metadata) -> Option<HashMap<String, String>> {
    let pairs = metadata.pairs().map(|(key, value)| (key.to_owned(), value.to_owned()));
    (!metadata.is_empty()).then(|| pairs.collect())
}

fn positive(amount: Money, what: &'static str) -> Result<i64, WriteError> {
    if amount.minor() > 0 { Ok(amount.minor()) } else { Err(WriteError::NotPositive { what }) }
}

fn count(what: &'static str, found: usize, max: usize) -> Result<(), WriteError> {
    if (1..=max).contains(&found) { Ok(()) } else { Err(WriteError::Count { what, max, found }) }
}

/// Sets a parameter, if there is one.
fn set<R, V>(request: R, value: Option<V>, set: fn(R, V) -> R) -> R {
    match value {
        Some(value) => set(request, value),
        None => request,
    }
}

/// Path and query of a question, as async-stripe builds it. Equal to [`Fetch::path`], which a test holds.
pub fn request_path(what: &Fetch) -> String {
    let RequestBuilder { path, query, .. } = build(what);
    match query.filter(|text| !text.is_empty()) {
        Some(query) => format!("/v1{path}?{query}"),
        None => format!("/v1{path}"),
    }
}

fn build(what: &Fetch) -> RequestBuilder {
    match what {
        Fetch::SessionLineItems { session, starting_after } => {
            let request = ListLineItemsCheckoutSession::new(session.as_str()).limit(PAGE_LIMIT);
            page(request, starting_after.as_ref(), ListLineItemsCheckoutSession::starting_after).build()
        }
        Fetch::Session { id } => RetrieveCheckoutSession::new(id.as_str()).build(),
        Fetch::SessionsByIntent { payment_intent } => {
            ListCheckoutSession::new().limit(PAGE_LIMIT).payment_intent(payment_intent.as_str()).build()
        }
        Fetch::PaymentIntent { id } => RetrievePaymentIntent::new(id.as_str()).build(),
        Fetch::Charge { id } => RetrieveCharge::new(id.as_str()).build(),
        Fetch::Invoice { id } => RetrieveInvoice::new(id.as_str()).build(),
        Fetch::InvoiceLines { invoice, starting_after } => {
            let request = ListInvoiceInvoiceLineItem::new(invoice.as_str()).limit(PAGE_LIMIT);
            page(request, starting_after.as_ref(), ListInvoiceInvoiceLineItem::starting_after).build()
        }
        Fetch::InvoicesOf { customer, created_gte, starting_after } => {
            let created = RangeQueryTs::gte(created_gte.as_second());
            let request = ListInvoice::new().created(created).customer(customer.as_str()).limit(PAGE_LIMIT);
            page(request, starting_after.as_ref(), ListInvoice::starting_after).build()
        }
        Fetch::InvoicePayments { invoice, starting_after } => {
            let request = ListInvoicePayment::new().invoice(invoice.as_str()).limit(PAGE_LIMIT);
            page(request, starting_after.as_ref(), ListInvoicePayment::starting_after).build()
        }
        Fetch::InvoicePaymentsByIntent { payment_intent } => {
            let mut payment = ListInvoicePaymentPayment::new(ListInvoicePaymentPaymentType::PaymentIntent);
            payment.payment_intent = Some(payment_intent.as_str().to_owned());
            ListInvoicePayment::new().limit(PAGE_LIMIT).payment(payment).build()
        }
        Fetch::Subscription { id } => RetrieveSubscription::new(id.as_str()).build(),
        Fetch::SubscriptionsOf { customer, starting_after } => {
            let request = ListSubscription::new().customer(customer.as_str()).limit(PAGE_LIMIT);
            let request = request.status(ListSubscriptionStatus::All);
            page(request, starting_after.as_ref(), ListSubscription::starting_after).build()
        }
        Fetch::Schedule { id } => RetrieveSubscriptionSchedule::new(id.as_str()).build(),
        Fetch::Customer { id } => RetrieveCustomer::new(id.as_str()).build(),
        Fetch::CardsOf { customer } => {
            let request = ListPaymentMethodsCustomer::new(customer.as_str()).limit(PAGE_LIMIT);
            request.type_(ListPaymentMethodsCustomerType::Card).build()
        }
        Fetch::IntentsOf { customer, created_gte, starting_after } => {
            let request = ListPaymentIntent::new().created(RangeQueryTs::gte(created_gte.as_second()));
            let request = request.customer(customer.as_str()).limit(PAGE_LIMIT);
            page(request, starting_after.as_ref(), ListPaymentIntent::starting_after).build()
        }
        Fetch::SetupIntent { id } => RetrieveSetupIntent::new(id.as_str()).build(),
        Fetch::RefundsOf { charge, starting_after } => {
            let request = ListRefund::new().charge(charge.as_str()).limit(PAGE_LIMIT);
            page(request, starting_after.as_ref(), ListRefund::starting_after).build()
        }
        Fetch::Refund { id } => RetrieveRefund::new(id.as_str()).build(),
        Fetch::CreditNote { id } => RetrieveCreditNote::new(id.as_str()).build(),
        Fetch::CreditNoteLines { note, starting_after } => {
            let request = ListCreditNoteCreditNoteLineItem::new(note.as_str()).limit(PAGE_LIMIT);
            page(request, starting_after.as_ref(), ListCreditNoteCreditNoteLineItem::starting_after).build()
        }
        Fetch::DisputesOf { charge, starting_after } => {
            let request = ListDispute::new().charge(charge.as_str()).limit(PAGE_LIMIT);
            page(request, starting_after.as_ref(), ListDispute::starting_after).build()
        }
        Fetch::Events { created_gte, only_undelivered, types, starting_after } => {
            events(*created_gte, *only_undelivered, types, starting_after.as_ref())
        }
        Fetch::Listed { what, created_gte, starting_after } => listed(*what, *created_gte, starting_after.as_ref()),
    }
}

fn events(since: Timestamp, only_undelivered: bool, types: &[&str], after: Option<&StripeId>) -> RequestBuilder {
    let request = ListEvent::new().created(RangeQueryTs::gte(since.as_second())).limit(PAGE_LIMIT);
    let request = if only_undelivered { request.delivery_success(false) } else { request };
    let types: Vec<String> = types.iter().map(|kind| (*kind).to_owned()).collect();
    let request = if types.is_empty() { request } else { request.types(types) };
    page(request, after, ListEvent::starting_after).build()
}

fn listed(what: Listing, created_gte: Timestamp, after: Option<&StripeId>) -> RequestBuilder {
    let created = RangeQueryTs::gte(created_gte.as_second());
    match what {
        Listing::Sessions => {
            let request = ListCheckoutSession::new().created(created).limit(PAGE_LIMIT);
            let request = request.status(CheckoutSessionStatus::Complete);
            page(request, after, ListCheckoutSession::starting_after).build()
        }
        Listing::Invoices => {
            let request = ListInvoice::new().created(created).limit(PAGE_LIMIT).status(InvoiceStatus::Paid);
            page(request, after, ListInvoice::starting_after).build()
        }
        Listing::PaymentIntents => {
            let request = ListPaymentIntent::new().created(created).limit(PAGE_LIMIT);
            page(request, after, ListPaymentIntent::starting_after).build()
        }
        Listing::Subscriptions => {
            let request = ListSubscription::new().created(created).limit(PAGE_LIMIT);
            let request = request.status(ListSubscriptionStatus::All);
            page(request, after, ListSubscription::starting_after).build()
        }
        Listing::Refunds => {
            let request = ListRefund::new().created(created).limit(PAGE_LIMIT);
            page(request, after, ListRefund::starting_after).build()
        }
        Listing::Disputes => {
            let request = ListDispute::new().created(created).limit(PAGE_LIMIT);
            page(request, after, ListDispute::starting_after).build()
        }
    }
}

/// Sets the cursor of a list, if there is one.
fn page<R>(request: R, cursor: Option<&StripeId>, set: fn(R, String) -> R) -> R {
    match cursor {
        Some(id) => set(request, id.as_str().to_owned()),
        None => request,
    }
}
