//! What each check asks. All answer alike: rows examined, rows that differ, the first of those.

use super::charger::{CEILINGS, CHARGE_WORK, TOP_UPS};

/// Wraps the rows that differ (`row`, `found`) and what was examined into the one answer of a check.
macro_rules! check {
    ($name:literal, $examined:literal, $differing:literal) => {
        concat!(
            "-- verify_",
            $name,
            "\nWITH differing (row, found) AS (",
            $differing,
            ")\nSELECT (",
            $examined,
            ")::bigint, (SELECT count(*) FROM differing),\n    (SELECT jsonb_agg(jsonb_build_object('row', row, 'found', found)) FROM ",
            "(SELECT row, found FROM differing ORDER BY row, found LIMIT 20) AS first)"
        )
    };
}

pub(super) use check;

/// A line's place, for people.
macro_rules! line {
    () => {
        "'account_' || replace(e.account_id::text, '-', '') || ' line ' || e.seq"
    };
}

const GRANT_BALANCES: &str = check!(
    "grant_balances",
    "SELECT count(*) FROM grants",
    "SELECT 'grant_' || replace(g.grant_id::text, '-', ''),
        'remaining ' || trim_scale(g.remaining) || ', entries ' || trim_scale(coalesce(s.remaining, 0))
            || '; held ' || trim_scale(g.held) || ', entries ' || trim_scale(coalesce(s.held, 0))
            || '; original ' || trim_scale(g.original) || ', entries ' || trim_scale(coalesce(s.original, 0))
    FROM grants g
    LEFT JOIN (
        SELECT account_id, grant_id, sum(amount) FILTER (WHERE kind NOT IN ('hold', 'release', 'debt')) AS remaining,
            sum(amount) FILTER (WHERE kind IN ('hold', 'release')) AS held,
            sum(amount) FILTER (WHERE kind IN ('grant', 'rollover_in')) AS original
        FROM entries WHERE grant_id IS NOT NULL GROUP BY account_id, grant_id
    ) s ON s.account_id = g.account_id AND s.grant_id = g.grant_id
    WHERE g.held <> coalesce(s.held, 0)
        OR NOT g.unlimited AND (g.remaining <> coalesce(s.remaining, 0) OR g.original <> coalesce(s.original, 0))
        OR g.unlimited AND (g.remaining <> 0 OR coalesce(s.remaining, 0) <> 0 OR coalesce(s.original, 0) <> 0)"
);

const DEBT_BALANCES: &str = check!(
    "debt_balances",
    "SELECT count(*) FROM debts",
    "SELECT 'debt_' || replace(d.debt_id::text, '-', ''),
        'outstanding ' || trim_scale(d.outstanding) || ', entries ' || trim_scale(coalesce(s.outstanding, 0))
    FROM debts d
    LEFT JOIN (
        SELECT account_id, debt_id, sum(amount) AS outstanding
        FROM entries WHERE kind IN ('debt', 'repay') GROUP BY account_id, debt_id
    ) s ON s.account_id = d.account_id AND s.debt_id = d.debt_id
    WHERE d.outstanding <> coalesce(s.outstanding, 0)"
);

/// What reversals took of a grant is its claw-backs; what they left owing is the debts of the payment in that wallet.
const REVERSALS: &str = check!(
    "reversals",
    "SELECT count(*) FROM reversed_grants",
    "SELECT 'grant_' || replace(coalesce(r.grant_id, s.grant_id)::text, '-', ''),
        'taken ' || trim_scale(coalesce(r.taken, 0)) || ', entries ' || trim_scale(coalesce(s.taken, 0))
    FROM reversed_grants r
    FULL JOIN (
        SELECT account_id, grant_id, -sum(amount) AS taken
        FROM entries WHERE kind IN ('claw_back', 'reinstate') GROUP BY account_id, grant_id
    ) s ON s.account_id = r.account_id AND s.grant_id = r.grant_id
    WHERE coalesce(r.taken, 0) <> coalesce(s.taken, 0)
    UNION ALL
    SELECT 'payment_' || replace(o.payment_id::text, '-', ''),
        'owed ' || trim_scale(o.owed) || ', debt entries ' || trim_scale(coalesce(d.owed, 0))
    FROM (
        SELECT r.account_id, r.payment_id, g.wallet_id, sum(r.owed) AS owed
        FROM reversed_grants r JOIN grants g ON g.account_id = r.account_id AND g.grant_id = r.grant_id
        GROUP BY r.account_id, r.payment_id, g.wallet_id
    ) o
    LEFT JOIN (
        SELECT d.account_id, d.payment_id, d.wallet_id, sum(e.amount) AS owed
        FROM debts d JOIN entries e ON e.account_id = d.account_id AND e.debt_id = d.debt_id AND e.kind = 'debt'
        WHERE d.cause = 'claw_back' GROUP BY d.account_id, d.payment_id, d.wallet_id
    ) d ON d.account_id = o.account_id AND d.payment_id = o.payment_id AND d.wallet_id = o.wallet_id
    WHERE o.owed <> coalesce(d.owed, 0)"
);

/// What came into a rollover grant went out of the one it carries on, and all of what went out came in somewhere.
const ROLLOVERS: &str = check!(
    "rollovers",
    "SELECT count(*) FROM grants WHERE rolled_from IS NOT NULL",
    "SELECT 'grant_' || replace(coalesce(g.grant_id, m.grant_id, s.grant_id)::text, '-', ''),
        CASE WHEN s.grant_id IS NOT NULL AND g.grant_id IS NULL THEN 'rolled over ' || trim_scale(s.went) || ' that no grant carries'
        WHEN g.grant_id IS NULL THEN 'carries ' || trim_scale(m.came) || ' of no grant'
        ELSE 'carries ' || trim_scale(coalesce(m.came, 0)) || ', its grant rolled over ' || trim_scale(coalesce(s.went, 0)) END
    FROM (SELECT account_id, grant_id, sum(amount) AS came FROM entries
        WHERE kind = 'rollover_in' GROUP BY account_id, grant_id) AS m
    FULL JOIN (SELECT account_id, grant_id, rolled_from FROM grants WHERE rolled_from IS NOT NULL) AS g
        ON g.account_id = m.account_id AND g.grant_id = m.grant_id
    FULL JOIN (SELECT account_id, grant_id, -sum(amount) AS went FROM entries
        WHERE kind = 'rollover_out' GROUP BY account_id, grant_id) AS s
        ON s.account_id = g.account_id AND s.grant_id = g.rolled_from
    WHERE g.grant_id IS NULL OR m.grant_id IS NULL OR m.came <> coalesce(s.went, 0)"
);

/// The key makes numbers unique, so count, least and greatest say that none is missing.
const ENTRY_NUMBERS: &str = check!(
    "entry_numbers",
    "SELECT count(*) FROM accounts",
    "SELECT 'account_' || replace(coalesce(a.account_id, s.account_id)::text, '-', ''),
        CASE WHEN a.account_id IS NULL THEN 'has ' || s.lines || ' lines and no account'
        ELSE 'counts ' || a.entry_seq || ' lines, has ' || coalesce(s.lines, 0) || ', numbered ' || coalesce(s.least, 0)
            || ' to ' || coalesce(s.greatest, 0) END
    FROM accounts a
    FULL JOIN (
        SELECT account_id, count(*) AS lines, min(seq) AS least, max(seq) AS greatest FROM entries GROUP BY account_id
    ) s ON s.account_id = a.account_id
    WHERE a.account_id IS NULL OR a.entry_seq <> coalesce(s.greatest, 0) OR a.entry_seq <> coalesce(s.lines, 0)"
);

const LEDGER_TIME: &str = concat!(
    "-- verify_ledger_time
WITH lines AS (
    SELECT e.account_id, e.seq, e.at, lag(e.at) OVER (PARTITION BY e.account_id ORDER BY e.seq) AS before,
        lead(e.seq) OVER (PARTITION BY e.account_id ORDER BY e.seq) IS NULL AS is_last
    FROM entries e
), differing (row, found) AS (
    SELECT ",
    line!(),
    ", 'is of ' || e.at || ', the line before it of ' || e.before FROM lines e WHERE e.at < e.before
    UNION ALL
    SELECT ",
    line!(),
    ", 'is the last, of ' || e.at || '; the account says ' || a.last_entry_at
    FROM lines e JOIN accounts a ON a.account_id = e.account_id WHERE e.is_last AND e.at <> a.last_entry_at
)
SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM differing),
    (SELECT jsonb_agg(jsonb_build_object('row', row, 'found', found))
        FROM (SELECT row, found FROM differing ORDER BY row, found LIMIT 20) AS first)"
);

const ENTRY_REFERENCES: &str = concat!(
    "-- verify_entry_references
WITH differing (row, found) AS (
    SELECT ",
    line!(),
    ",
        CASE WHEN e.grant_id IS NOT NULL AND g.grant_id IS NULL THEN 'names grant_' || replace(e.grant_id::text, '-', '') || ', which is not there'
            WHEN g.feature <> e.feature THEN 'is of ' || e.feature || ', its grant of ' || g.feature
            WHEN g.wallet_id IS DISTINCT FROM e.wallet_id AND g.grant_id IS NOT NULL THEN 'names another wallet than its grant'
            WHEN e.wallet_id IS NOT NULL AND w.wallet_id IS NULL THEN 'names wallet_' || replace(e.wallet_id::text, '-', '') || ', which is not there'
            WHEN w.feature <> e.feature THEN 'is of ' || e.feature || ', its wallet of ' || w.feature
            WHEN e.debt_id IS NOT NULL AND d.debt_id IS NULL THEN 'names debt_' || replace(e.debt_id::text, '-', '') || ', which is not there'
            WHEN d.feature <> e.feature THEN 'is of ' || e.feature || ', its debt of ' || d.feature
            WHEN e.hold_id IS NOT NULL AND h.hold_id IS NULL THEN 'names hold_' || replace(e.hold_id::text, '-', '') || ', which is not there'
            ELSE 'belongs to the command of line ' || e.command || ', which is none' END
    FROM entries e
    LEFT JOIN grants g ON g.account_id = e.account_id AND g.grant_id = e.grant_id
    LEFT JOIN wallets w ON w.account_id = e.account_id AND w.wallet_id = e.wallet_id
    LEFT JOIN debts d ON d.account_id = e.account_id AND d.debt_id = e.debt_id
    LEFT JOIN holds h ON h.account_id = e.account_id AND h.hold_id = e.hold_id
    LEFT JOIN entries c ON c.account_id = e.account_id AND c.seq = e.command AND c.command = c.seq
    WHERE e.grant_id IS NOT NULL AND g.grant_id IS NULL
        OR g.grant_id IS NOT NULL AND (g.feature <> e.feature OR g.wallet_id IS DISTINCT FROM e.wallet_id)
        OR e.wallet_id IS NOT NULL AND w.wallet_id IS NULL OR w.feature <> e.feature
        OR e.debt_id IS NOT NULL AND d.debt_id IS NULL OR d.feature <> e.feature
        OR e.hold_id IS NOT NULL AND h.hold_id IS NULL
        OR c.seq IS NULL
)
SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM differing),
    (SELECT jsonb_agg(jsonb_build_object('row', row, 'found', found))
        FROM (SELECT row, found FROM differing ORDER BY row, found LIMIT 20) AS first)"
);

/// Laws 1 and 6 at every point of the ledger's order, not only at its end.
const NEVER_BELOW_ZERO: &str = concat!(
    "-- verify_never_below_zero
WITH running AS (
    SELECT e.account_id, e.seq, e.grant_id, e.debt_id,
        sum(CASE WHEN e.kind IN ('hold', 'release', 'debt') THEN 0 ELSE e.amount END) OVER by_grant AS remaining,
        sum(CASE WHEN e.kind IN ('hold', 'release') THEN e.amount ELSE 0 END) OVER by_grant AS held,
        sum(CASE WHEN e.kind IN ('debt', 'repay') THEN e.amount ELSE 0 END) OVER by_debt AS outstanding
    FROM entries e
    WINDOW by_grant AS (PARTITION BY e.account_id, e.grant_id ORDER BY e.seq),
        by_debt AS (PARTITION BY e.account_id, e.debt_id ORDER BY e.seq)
), differing (row, found) AS (
    SELECT ",
    line!(),
    ", 'leaves grant_' || replace(e.grant_id::text, '-', '') || ' at ' || trim_scale(e.remaining) || ' with ' || trim_scale(e.held) || ' held'
    FROM running e LEFT JOIN grants g ON g.account_id = e.account_id AND g.grant_id = e.grant_id
    WHERE e.grant_id IS NOT NULL AND g.unlimited IS NOT TRUE
        AND (e.remaining < 0 OR e.held < 0 OR e.held > e.remaining)
    UNION ALL
    SELECT ",
    line!(),
    ", 'leaves debt_' || replace(e.debt_id::text, '-', '') || ' at ' || trim_scale(e.outstanding)
    FROM running e WHERE e.debt_id IS NOT NULL AND e.outstanding < 0
)
SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM differing),
    (SELECT jsonb_agg(jsonb_build_object('row', row, 'found', found))
        FROM (SELECT row, found FROM differing ORDER BY row, found LIMIT 20) AS first)"
);

const PAYMENTS: &str = check!(
    "payments",
    "SELECT count(*) FROM payments",
    "SELECT 'alias ' || a.alias, CASE WHEN p.payment_id IS NULL
            THEN 'names payment ' || a.payment_id || ', which its account does not have'
            ELSE 'is no id of its payment' END
    FROM payment_aliases a LEFT JOIN payments p ON p.account_id = a.account_id AND p.payment_id = a.payment_id
    WHERE p.payment_id IS NULL
    UNION ALL
    SELECT 'payment_' || replace(p.payment_id::text, '-', ''), 'its Stripe id ' || named.id || ' leads to '
            || coalesce('payment ' || a.payment_id, 'nothing')
    FROM payments p
    CROSS JOIN LATERAL (SELECT id FROM unnest(ARRAY[p.payment_key, p.stripe_session, p.stripe_payment_intent,
        p.stripe_charge, p.stripe_invoice]) AS ids (id) WHERE id IS NOT NULL GROUP BY id) AS named
    LEFT JOIN payment_aliases a ON a.alias = named.id
    WHERE a.payment_id IS DISTINCT FROM p.payment_id OR a.account_id IS DISTINCT FROM p.account_id
    UNION ALL
    SELECT 'grant_' || replace(g.grant_id::text, '-', ''),
        'was bought by payment ' || g.payment_id || ', which says no basis'
    FROM grants g JOIN payments p ON p.account_id = g.account_id AND p.payment_id = g.payment_id
    WHERE g.item_key IS NOT NULL AND p.basis IS NULL
    UNION ALL
    SELECT 'payment_' || replace(g.payment_id::text, '-', ''), 'gave item ' || g.item_key || ' ' || count(*) || ' times'
    FROM grants g WHERE g.item_key IS NOT NULL GROUP BY g.payment_id, g.item_key HAVING count(*) > 1"
);

const PERIODS: &str = check!(
    "periods",
    "SELECT count(*) FROM grants WHERE period_start IS NOT NULL",
    "SELECT 'grant_' || replace(g.grant_id::text, '-', ''),
        'its period starts at ' || g.period_start || ', paid is up to ' || a.paid_through
    FROM grants g JOIN attachments a ON a.account_id = g.account_id AND a.attachment_id = g.attachment_id
    WHERE g.period_start >= a.paid_through
    UNION ALL
    SELECT 'attachment_' || replace(g.attachment_id::text, '-', ''),
        'gave item ' || g.item || ' ' || count(*) || ' times for the period from ' || g.period_start
    FROM grants g WHERE g.period_start IS NOT NULL
    GROUP BY g.account_id, g.attachment_id, g.item, g.period_start, g.changed_at,
        CASE WHEN g.changed_at IS NOT NULL THEN g.level_to END HAVING count(*) > 1"
);

const LOOK_UPS: &str = check!(
    "look_ups",
    "SELECT (SELECT count(*) FROM customer_ids) + (SELECT count(*) FROM stripe_customer_ids)
        + (SELECT count(*) FROM wallet_ids) + (SELECT count(*) FROM grant_ids) + (SELECT count(*) FROM hold_ids)",
    "SELECT 'account_' || replace(coalesce(i.account_id, c.account_id)::text, '-', ''),
        CASE WHEN c.account_id IS NULL THEN 'is found by a customer id that its customer does not have'
        ELSE 'is not found by its customer id' END
    FROM customer_ids i FULL JOIN customers c ON c.account_id = i.account_id AND c.customer_id = i.customer_id
    WHERE i.account_id IS NULL OR c.account_id IS NULL
    UNION ALL
    SELECT 'grant_' || replace(coalesce(i.grant_id, g.grant_id)::text, '-', ''),
        CASE WHEN g.grant_id IS NULL THEN 'is looked up and not there' ELSE 'is not found by its id' END
    FROM grant_ids i FULL JOIN grants g ON g.account_id = i.account_id AND g.grant_id = i.grant_id
    WHERE i.grant_id IS NULL OR g.grant_id IS NULL
    UNION ALL
    SELECT 'hold_' || replace(coalesce(i.hold_id, h.hold_id)::text, '-', ''),
        CASE WHEN h.hold_id IS NULL THEN 'is looked up and not there' ELSE 'is not found by its id' END
    FROM hold_ids i FULL JOIN holds h ON h.account_id = i.account_id AND h.hold_id = i.hold_id
        AND i.hold_key = 'hold_' || replace(h.hold_id::text, '-', '')
    WHERE i.hold_id IS NULL OR h.hold_id IS NULL
    UNION ALL
    SELECT 'wallet_' || replace(w.wallet_id::text, '-', ''), 'is not found by its id'
    FROM wallets w LEFT JOIN wallet_ids i
        ON i.wallet_key = coalesce(w.wallet_key, 'wallet_' || replace(w.wallet_id::text, '-', ''))
        AND i.account_id = w.account_id AND i.wallet_id = w.wallet_id
    WHERE i.wallet_id IS NULL
    UNION ALL
    SELECT 'wallet_' || replace(i.wallet_id::text, '-', ''), 'is claimed for an account that is not there'
    FROM wallet_ids i LEFT JOIN accounts a ON a.account_id = i.account_id WHERE a.account_id IS NULL
    UNION ALL
    SELECT 'Stripe customer ' || i.stripe_customer_id, 'is linked to an account that is not there'
    FROM stripe_customer_ids i LEFT JOIN accounts a ON a.account_id = i.account_id WHERE a.account_id IS NULL"
);

const DUE_TIMES: &str = check!(
    "due_times",
    "SELECT count(*) FROM accounts WHERE next_due_at IS NOT NULL",
    "SELECT 'account_' || replace(coalesce(a.account_id, w.account_id)::text, '-', ''),
        'is due ' || coalesce(a.next_due_at::text, 'never') || ', queued for ' || coalesce(w.due_at::text, 'never')
            || coalesce(' in bucket ' || w.bucket, '')
    FROM (SELECT account_id, next_due_at FROM accounts WHERE next_due_at IS NOT NULL) AS a
    FULL JOIN account_work w ON w.account_id = a.account_id
    CROSS JOIN (SELECT clock_timestamp() + make_interval(secs => test_offset_seconds) AS now FROM instance) AS i
    WHERE (a.next_due_at IS DISTINCT FROM w.due_at
            AND (a.next_due_at < w.due_at AND a.next_due_at <= i.now AND w.due_at <= i.now + interval '1 hour') IS NOT TRUE)
        OR w.bucket <> get_byte(uuid_send(w.account_id), 15) % 16"
);

/// What is held is what open holds have pinned.
const HOLDS: &str = check!(
    "holds",
    "SELECT count(*) FROM holds",
    "SELECT 'grant_' || replace(g.grant_id::text, '-', ''),
        'held ' || trim_scale(g.held) || ', slices of open holds ' || trim_scale(coalesce(s.pinned, 0))
    FROM grants g
    LEFT JOIN (
        SELECT s.account_id, s.grant_id, sum(s.amount) AS pinned
        FROM hold_slices s JOIN holds h ON h.account_id = s.account_id AND h.hold_id = s.hold_id AND h.state = 'open'
        GROUP BY s.account_id, s.grant_id
    ) s ON s.account_id = g.account_id AND s.grant_id = g.grant_id
    WHERE g.held <> coalesce(s.pinned, 0)
    UNION ALL
    SELECT 'hold_' || replace(h.hold_id::text, '-', ''), 'is ' || h.state || ' and still has ' || count(*) || ' slices'
    FROM holds h JOIN hold_slices s ON s.account_id = h.account_id AND s.hold_id = h.hold_id
    WHERE h.state <> 'open' GROUP BY h.hold_id, h.state"
);

/// Usage that is listed is what the ledger says, and all of it: feature, units, what each grant paid or got back, what was
/// owed and what nobody paid. Units that tracks have returned are those that were taken back: what is set and freed has none.
/// Usage that a change of plan carried over was listed when it was used; its draw is not a track's.
const USAGE: &str = check!(
    "usage",
    "SELECT count(*) FROM usage_records",
    "SELECT 'account_' || replace(coalesce(u.account_id, e.account_id)::text, '-', '') || ' line ' || coalesce(u.seq, e.command),
        CASE WHEN e.command IS NULL THEN 'is listed as usage, and no such command is in the ledger'
            WHEN u.seq IS NULL THEN 'is usage, and not listed'
            ELSE 'is listed as ' || trim_scale(u.quantity) || ' of ' || u.feature || ', the ledger says '
                || trim_scale(e.quantity) || ' of ' || e.used_feature END
    FROM usage_records u
    FULL JOIN (
        SELECT account_id, command, min(used_feature) AS used_feature, min(quantity) AS quantity
        FROM entries WHERE used_feature IS NOT NULL GROUP BY account_id, command
    ) e ON e.account_id = u.account_id AND e.command = u.seq
    WHERE e.command IS NULL OR u.seq IS NULL OR e.quantity <> u.quantity OR e.used_feature <> u.feature
    UNION ALL
    SELECT 'account_' || replace(coalesce(p.account_id, d.account_id)::text, '-', '') || ' line ' || coalesce(p.seq, d.command),
        'is listed as taking ' || trim_scale(coalesce(p.paid, 0)) || ' of ' || coalesce(p.grant_id, d.grant_id)
            || ', the ledger says ' || trim_scale(coalesce(d.drawn, 0))
    FROM (
        SELECT u.account_id, u.seq, part->>'grant' AS grant_id, sum((part->>'amount')::numeric) AS paid
        FROM usage_records u CROSS JOIN LATERAL jsonb_array_elements(u.paid) AS parts (part)
        WHERE part ? 'grant' GROUP BY u.account_id, u.seq, part->>'grant'
    ) p
    FULL JOIN (
        SELECT account_id, command, 'grant_' || replace(grant_id::text, '-', '') AS grant_id, -sum(amount) AS drawn
        FROM entries WHERE kind IN ('draw', 'return') AND grant_id IS NOT NULL AND source = 'track'
        GROUP BY account_id, command, grant_id
    ) d ON d.account_id = p.account_id AND d.command = p.seq AND d.grant_id = p.grant_id
    WHERE coalesce(p.paid, 0) <> coalesce(d.drawn, 0)
    UNION ALL
    SELECT 'account_' || replace(u.account_id::text, '-', '') || ' line ' || u.seq,
        'is listed as owing ' || trim_scale(u.owed) || ' and lacking ' || trim_scale(u.unpaid) || ', the ledger says '
            || trim_scale(coalesce(e.owed, 0)) || ' and ' || trim_scale(coalesce(e.unpaid, 0))
    FROM (
        SELECT u.account_id, u.seq, coalesce(sum((part->>'amount')::numeric) FILTER (WHERE part ? 'debt'), 0) AS owed,
            coalesce(sum((part->>'amount')::numeric) FILTER (WHERE NOT part ? 'grant' AND NOT part ? 'debt'), 0) AS unpaid
        FROM usage_records u LEFT JOIN LATERAL jsonb_array_elements(u.paid) AS parts (part) ON true
        WHERE u.quantity > 0 AND NOT EXISTS (SELECT FROM levels l
            WHERE l.account_id = u.account_id AND l.feature = u.feature AND l.entity = u.entity)
        GROUP BY u.account_id, u.seq
    ) u
    LEFT JOIN (
        SELECT account_id, command, sum(amount) FILTER (WHERE kind = 'debt') AS owed, sum(shortfall) AS unpaid
        FROM entries WHERE kind IN ('draw', 'debt') GROUP BY account_id, command
    ) e ON e.account_id = u.account_id AND e.command = u.seq
    WHERE u.owed <> coalesce(e.owed, 0) OR u.unpaid <> coalesce(e.unpaid, 0)
    UNION ALL
    SELECT 'account_' || replace(u.account_id::text, '-', '') || ' ' || u.feature || ' ' || u.entity,
        'tracks say that ' || trim_scale(u.returned) || ' were taken back, what took them back says ' || trim_scale(u.took)
    FROM (
        SELECT account_id, feature, entity, sum(returned) AS returned,
            coalesce(-sum(quantity) FILTER (WHERE quantity < 0), 0) AS took
        FROM usage_records GROUP BY account_id, feature, entity
    ) u
    LEFT JOIN levels l ON l.account_id = u.account_id AND l.feature = u.feature AND l.entity = u.entity
    WHERE l.account_id IS NULL AND u.returned <> u.took"
);

/// Usage of what is set and freed costs nothing: no part of its rows says who paid, and no grant's line tells it, as one
/// does where an unlimited grant paid before the catalogue made something to be set of the feature.
const LEVELS: &str = check!(
    "levels",
    "SELECT count(*) FROM levels",
    "SELECT 'account_' || replace(l.account_id::text, '-', '') || ' ' || l.feature || ' ' || l.entity,
        'in use ' || trim_scale(l.used) || ', tracks ' || trim_scale(coalesce(u.used, 0))
    FROM levels l
    LEFT JOIN (
        SELECT account_id, feature, entity, sum(quantity) AS used
        FROM usage_records r WHERE paid = '[]' AND NOT EXISTS (SELECT FROM entries e
            WHERE e.account_id = r.account_id AND e.seq = r.seq AND e.grant_id IS NOT NULL)
        GROUP BY account_id, feature, entity
    ) u ON u.account_id = l.account_id AND u.feature = l.feature AND u.entity = l.entity
    WHERE l.used <> coalesce(u.used, 0)"
);

/// What is billed of a debt is on bills that are not over, and what bills were paid for is repaid without a grant.
const OVERAGE_BILLS: &str = check!(
    "overage_bills",
    "SELECT count(*) FROM overage_bill_lines",
    "SELECT 'debt_' || replace(d.debt_id::text, '-', ''),
        'billed ' || trim_scale(d.billed) || ', lines of bills under way ' || trim_scale(coalesce(l.billed, 0))
            || '; paid by invoices ' || trim_scale(coalesce(e.repaid, 0)) || ', lines of paid bills '
            || trim_scale(coalesce(l.paid, 0))
    FROM debts d
    LEFT JOIN (
        SELECT l.account_id, l.debt_id, sum(l.credits) FILTER (WHERE b.state IN ('open', 'invoiced')) AS billed,
            sum(l.credits) FILTER (WHERE b.state = 'paid') AS paid
        FROM overage_bill_lines l JOIN overage_bills b ON b.account_id = l.account_id AND b.bill_id = l.bill_id
        WHERE NOT l.is_released GROUP BY l.account_id, l.debt_id
    ) l ON l.account_id = d.account_id AND l.debt_id = d.debt_id
    LEFT JOIN (
        SELECT account_id, debt_id, -sum(amount) AS repaid FROM entries WHERE kind = 'repay' AND grant_id IS NULL
        GROUP BY account_id, debt_id
    ) e ON e.account_id = d.account_id AND e.debt_id = d.debt_id
    WHERE d.billed <> coalesce(l.billed, 0) OR coalesce(e.repaid, 0) <> coalesce(l.paid, 0)
    UNION ALL
    SELECT 'bill_' || replace(b.bill_id::text, '-', ''), 'is ' || b.state || ' and has ' || count(l.line) FILTER (WHERE NOT
        l.is_released) || ' lines that are not released'
    FROM overage_bills b LEFT JOIN overage_bill_lines l ON l.account_id = b.account_id AND l.bill_id = b.bill_id
    GROUP BY b.account_id, b.bill_id, b.state
    HAVING (b.state = 'void') = (count(l.line) FILTER (WHERE NOT l.is_released) > 0)"
);

/// Every check that is one statement: stable name, what has to be true, statement.
pub(super) const CHECKS: [(&str, &str, &str); 19] = [
    ("grant_balances", "a grant's remaining, held and original are the sums of its entries", GRANT_BALANCES),
    ("debt_balances", "a debt's outstanding is the sum of its debt and repay entries", DEBT_BALANCES),
    ("reversals", "what money going back took and left owing is what the ledger says", REVERSALS),
    ("never_below_zero", "no line leaves a grant or a debt below zero", NEVER_BELOW_ZERO),
    ("entry_numbers", "an account's lines are numbered 1 to its entry_seq without gaps", ENTRY_NUMBERS),
    ("ledger_time", "an account's lines never go back in time", LEDGER_TIME),
    (
        "entry_references",
        "a line's grant, wallet, debt, hold and command exist and are of its feature",
        ENTRY_REFERENCES,
    ),
    ("payments", "a payment's ids lead to it alone, and each of its items was granted once", PAYMENTS),
    ("periods", "a period's item was granted once, and only when it is paid", PERIODS),
    ("look_ups", "what is looked up by id is there, and the other way round", LOOK_UPS),
    (
        "due_times",
        "the work queue has each account at its own due time, or a little later after a try that failed",
        DUE_TIMES,
    ),
    ("rollovers", "what a rollover grant carries is what went out of the grant before it", ROLLOVERS),
    ("holds", "what is held of a grant is what open holds have pinned, and ended ones pin nothing", HOLDS),
    ("usage", "each track is listed with what the ledger says it used and took", USAGE),
    ("levels", "what is in use is the sum of the tracks that say so", LEVELS),
    ("ceilings", "a rule's counters are the sums of its top-ups of that day and month, in one currency", CEILINGS),
    ("top_ups", "a top-up that is paid gave its credits, once, and one that gave credits is paid", TOP_UPS),
    ("charge_work", "the charger's queue has what is not over, and nothing else", CHARGE_WORK),
    (
        "overage_bills",
        "what is billed of a debt is on bills that are not over, and paid bills repaid theirs",
        OVERAGE_BILLS,
    ),
];

/// Every line with the head its account claims.
pub(super) const CHAIN: &str = "-- verify_chain
SELECT e.account_id, e.seq, e.at, e.event_at, e.kind, e.grant_id, e.wallet_id, e.debt_id, e.hold_id, e.feature, e.amount,
    e.command, e.used_feature, e.quantity, e.shortfall, e.source, e.hash, NULL::text AS customer_id, a.chain_head
FROM entries e LEFT JOIN accounts a ON a.account_id = e.account_id
ORDER BY e.account_id, e.seq";

/// Accounts without a line have the empty head.
pub(super) const EMPTY_HEADS: &str = check!(
    "empty_heads",
    "SELECT 0",
    "SELECT 'account_' || replace(a.account_id::text, '-', ''), 'has a head and no line'
    FROM accounts a WHERE a.chain_head <> decode(repeat('00', 32), 'hex')
        AND NOT EXISTS (SELECT FROM entries e WHERE e.account_id = a.account_id)"
);

pub(super) const TOTALS: &str = "-- verify_totals
SELECT e.feature, e.kind, sum(e.amount)::text
FROM entries e LEFT JOIN grants g ON g.account_id = e.account_id AND g.grant_id = e.grant_id
WHERE e.grant_id IS NOT NULL AND e.kind NOT IN ('hold', 'release', 'debt') AND g.unlimited IS NOT TRUE
GROUP BY e.feature, e.kind ORDER BY e.feature, e.kind";

pub(super) const REMAINING: &str = "-- verify_remaining
SELECT feature, sum(remaining)::text FROM grants GROUP BY feature ORDER BY feature";

/// Every statement of the checks, for the test that prepares each.
pub const STATEMENTS: [&str; 22] = [
    GRANT_BALANCES,
    DEBT_BALANCES,
    NEVER_BELOW_ZERO,
    ENTRY_NUMBERS,
    LEDGER_TIME,
    ENTRY_REFERENCES,
    PAYMENTS,
    PERIODS,
    LOOK_UPS,
    DUE_TIMES,
    ROLLOVERS,
    CHAIN,
    EMPTY_HEADS,
    TOTALS,
    REMAINING,
    HOLDS,
    USAGE,
    LEVELS,
    CEILINGS,
    TOP_UPS,
    CHARGE_WORK,
    OVERAGE_BILLS,
];
