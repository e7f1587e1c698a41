//! Every metric: its name, what it is, what it says, and the values its labels may have. Other programs rely on these:
//! a name or a value is added, and not changed.

use std::collections::BTreeMap;

/// What kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A histogram of seconds.
    Seconds,
    /// A histogram of counts.
    Sizes,
}

impl Kind {
    /// As the `# TYPE` line says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Seconds | Self::Sizes => "histogram",
        }
    }
}

/// A label and the values it may have, besides `other`. None listed: the routes, or the one version of this binary.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
}

/// One metric.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
}

macro_rules! families {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $kind:ident, $help:literal, [$($label:literal: $values:expr),*];)+) => {
        $($(#[$doc])* pub static $constant: Family = Family {
            name: $name,
            kind: Kind::$kind,
            help: $help,
            labels: &[$(Label { name: $label, values: $values }),*],
        };)+

        /// Every metric.
        pub static ALL: &[&Family] = &[$(&$constant),+];
    };
}

/// Methods that a route takes.
const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];
/// The first digit of a status; `gone`: the client hung up before it was answered.
const STATUSES: &[&str] = &["2xx", "4xx", "5xx", "gone"];
/// Types of events that creditd knows what to do with.
pub const EVENT_TYPES: &[&str] = &[
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "invoice.paid",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.pending_update_applied",
    "customer.subscription.deleted",
    "charge.refunded",
    "charge.refund.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
    "credit_note.created",
    "credit_note.updated",
    "credit_note.voided",
    "invoice_payment.paid",
    "payment_intent.succeeded",
    "customer.created",
    "customer.updated",
    "invoice.created",
    "invoice.deleted",
    "customer.deleted",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.canceled",
    "payment_method.attached",
    "payment_method.updated",
    "payment_method.automatically_updated",
    "payment_method.card_automatically_updated",
    "setup_intent.succeeded",
];

/// Those types by what they begin with, the text before the first point, such as invoice: each family is listed from
/// Stripe on its own.
pub fn event_families() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in EVENT_TYPES {
        families.entry(kind.split('.').next().unwrap_or(kind)).or_default().push(kind);
    }
    families
}

families! {
    /// Requests, by route.
    HTTP_REQUESTS = "creditd_http_requests_total", Counter,
        "Requests answered, by the route's template, method and class of status; gone: the client hung up first.",
        ["route": &[], "method": METHODS, "status": STATUSES];
    /// How long they took.
    HTTP_SECONDS = "creditd_http_request_duration_seconds", Seconds,
        "Time from a request's head to its answer.",
        ["route": &[], "method": METHODS, "status": STATUSES];
    /// How many there are.
    REQUESTS_IN_FLIGHT = "creditd_http_requests_in_flight", Gauge, "Requests being worked on.", [];
    /// Connections.
    CONNECTIONS_OPEN = "creditd_http_connections_open", Gauge, "Connections of clients.", [];
    /// How they end.
    CONNECTIONS_ENDED = "creditd_http_connections_ended_total", Counter,
        "Connections that ended: closed by either side, timed_out (idle or too slow), failed (not HTTP, or broken).",
        ["outcome": &["closed", "timed_out", "failed"]];
    /// Deliveries.
    WEBHOOK_DELIVERIES = "creditd_webhook_deliveries_total", Counter,
        "Deliveries at /webhooks/stripe, by what became of them: stored, duplicate, ignored, or the code of the refusal.",
        ["outcome": &["stored", "duplicate", "ignored", "signature_no_secret",
            "signature_header_missing", "signature_timestamp_missing", "signature_timestamp_invalid",
            "signature_v1_missing", "body_not_utf8", "signature_mismatch", "signature_too_old",
            "signature_too_far_ahead", "not_an_event", "body_too_large", "body_unread", "unavailable"]];
    /// Their types.
    STRIPE_EVENTS_RECEIVED = "creditd_stripe_events_received_total", Counter,
        "Deliveries whose signature held, by type of event; other: a type creditd does nothing with.",
        ["type": EVENT_TYPES];
    /// Work on them.
    STRIPE_EVENTS_WORKED = "creditd_stripe_events_worked_total", Counter,
        "Times this daemon worked on a stored event, by how that ended; retry and parked are tried again.",
        ["outcome": &["processed", "ignored", "parked", "retry", "dead"]];
    /// Questions.
    STRIPE_QUESTIONS = "creditd_stripe_questions_total", Counter,
        "Questions asked of Stripe's API while working on events: answered, refused (the key, the request), unavailable.",
        ["outcome": &["answered", "refused", "unavailable"]];
    /// Charges.
    CHARGER_OUTCOMES = "creditd_charger_outcomes_total", Counter,
        "What came of the charger's steps: paid, processing, needs_action, declined, refused, not_done, no_card, unknown (sent again later), stuck (a person has to look).",
        ["outcome": &["paid", "processing", "needs_action", "declined", "refused", "not_done", "no_card", "unknown", "stuck"]];
    /// Queues.
    STRIPE_EVENTS = "creditd_stripe_events", Gauge,
        "Stored events that are not done, and those given up, read from the database; counted to 10000.",
        ["state": &["received", "parked", "dead"]];
    /// Oldest due.
    STRIPE_EVENT_DUE_SECONDS = "creditd_stripe_events_oldest_due_seconds", Gauge,
        "How long the oldest event that is due has been due; 0: none is.", [];
    /// How far catch-up is behind.
    CATCH_UP_LAG_SECONDS = "creditd_catch_up_lag_seconds", Gauge,
        "Time since Stripe's list of events was last read to its end, by any daemon; 0: catch-up has never begun.", [];
    /// What it found.
    CATCH_UP_EVENTS = "creditd_catch_up_events_total", Counter,
        "Events that catch-up listed: known (a delivery had brought them), new (lost until then), refused (no event at all).",
        ["outcome": &["known", "new", "refused"]];
    /// Its rounds.
    CATCH_UP_ROUNDS = "creditd_catch_up_rounds_total", Counter,
        "Rounds of catch-up: finished, continued (more pages than one round reads), elsewhere (another daemon is at it), failed.",
        ["outcome": &["finished", "continued", "elsewhere", "failed"]];
    /// Commands.
    COMMANDS = "creditd_posting_commands_total", Counter,
        "Commands to the ledger, by kind and outcome; code says why one was rejected or failed.",
        ["command": &["open", "track", "grant", "purchase", "plan_paid", "plan_changed", "subscription_seen", "renewal_lost",
            "money_back", "settle", "hold", "extend_hold", "release_hold", "set_limit", "drop_limit",
            "wallet", "terminate", "void", "adjust", "attach", "cancel", "uncancel", "charging",
            "bill_overage", "bill_apart", "bill_placed", "bill_paid", "bill_void"],
            "outcome": &["applied", "already_applied", "rejected", "failed"],
            "code": &["none", "unknown_feature", "not_metered", "unknown_plan", "insufficient_credits",
                "debt_not_allowed", "key_conflict", "wallet_feature", "wallet_closed", "ends_before_start", "amount", "cost",
                "calendar", "erased", "too_many_items", "no_total", "too_many_views", "constraint", "unknown_account", "busy", "unavailable",
                "commit_unknown", "internal", "spend_limit", "nothing_to_return", "wrong_kind", "unknown_hold",
                "hold_of_other", "limit", "unknown_wallet", "unknown_grant", "wallet_exists", "too_many_wallets",
                "wallet_held", "more_than_free", "nothing_to_void", "grant_unlimited", "grant_ended",
                "already_attached", "not_attached", "plan_has_price", "not_carried_over",
                "bill", "charging"]];
    /// Queue.
    COMMANDS_WAITING = "creditd_posting_commands_waiting", Gauge,
        "Commands queued or being carried out, whose callers wait.", [];
    /// Batches.
    BATCH_COMMANDS = "creditd_posting_batch_commands", Sizes, "Commands carried out in one transaction.", [];
    /// Commits.
    COMMIT_SECONDS = "creditd_posting_commit_duration_seconds", Seconds,
        "Time that COMMIT took: the disk's, mostly.", [];
    /// Reads.
    READS = "creditd_reads_total", Counter, "Accounts read for checks and customers, by outcome.",
        ["outcome": &["answered", "unknown_account", "busy", "failed"]];
    /// Waiting.
    READS_WAITING = "creditd_reads_waiting", Gauge, "Reads queued or under way, whose callers wait.", [];
    /// Batches.
    READ_ACCOUNTS = "creditd_read_batch_accounts", Sizes, "Accounts read together.", [];
    /// How long.
    READ_SECONDS = "creditd_read_duration_seconds", Seconds, "Time that reading accounts together took.", [];
    /// Does it answer?
    DATABASE_UP = "creditd_database_up", Gauge,
        "1: the database answered this scrape, or one a few seconds ago; 0: it did not.", [];
    /// The pool.
    DATABASE_CONNECTIONS = "creditd_database_connections", Gauge,
        "This daemon's connections to the database; lanes and readers keep theirs, which count as used.",
        ["state": &["idle", "used"]];
    /// Its bound.
    DATABASE_CONNECTIONS_MAX = "creditd_database_connections_max", Gauge,
        "The most there may be: database.max_connections.", [];
    /// Workers.
    WORKER_AGE_SECONDS = "creditd_worker_last_round_age_seconds", Gauge,
        "Time since a worker finished a round.", ["worker": &["catch_up", "inbox", "renewal", "retention", "overage", "bills", "top_up"]];
    /// Late ones.
    WORKER_LATE = "creditd_worker_late", Gauge,
        "1: the worker has finished no round for longer than it ever should.", ["worker": &["catch_up", "inbox", "renewal", "retention", "overage", "bills", "top_up"]];
    /// The binary.
    BUILD_INFO = "creditd_build_info", Gauge, "1; the label tells the version.", ["version": &[]];
    /// Memory.
    PROCESS_MEMORY = "process_resident_memory_bytes", Gauge, "Memory the process has in RAM.", [];
    /// Processor.
    PROCESS_CPU = "process_cpu_seconds_total", Counter, "Processor time used, by the program and for it.", [];
    /// Files.
    PROCESS_FILES = "process_open_fds", Gauge, "Open files and sockets.", [];
    /// Their bound.
    PROCESS_FILES_MAX = "process_max_fds", Gauge, "The most that may be open.", [];
}
