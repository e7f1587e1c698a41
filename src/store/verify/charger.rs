//! What the charger has to keep: ceilings that count what was decided, money that became credits once, work for what is
//! not over.

use super::statements::check;

/// A rule's counters are those of its own current windows; what certainly took nothing counts in none.
pub(super) const CEILINGS: &str = check!(
    "ceilings",
    "SELECT count(*) FROM top_up_rules",
    "SELECT 'account_' || replace(r.account_id::text, '-', '') || ' rule ' || r.name,
        'counts ' || w.count || ' top-ups and ' || w.minor || ' minor units in the ' || w.word || ' from '
            || coalesce(w.starts::text, 'no time')
            || ', there are ' || s.count || ' and ' || s.minor
    FROM top_up_rules r
    CROSS JOIN LATERAL (VALUES
        ('day', r.day_start, (r.day_start AT TIME ZONE 'UTC' + interval '1 day') AT TIME ZONE 'UTC', r.day_count, r.day_minor),
        ('month', r.month_start, (r.month_start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC', r.month_count,
            r.month_minor)
    ) AS w (word, starts, ends, count, minor)
    CROSS JOIN LATERAL (
        SELECT count(*) AS count, coalesce(sum(t.amount_minor), 0) AS minor FROM top_ups t
        WHERE t.account_id = r.account_id AND t.rule = r.name AND t.state NOT IN ('failed', 'dropped')
            AND t.created_at >= w.starts AND t.created_at < w.ends
    ) AS s
    WHERE w.starts IS NOT NULL AND (w.count <> s.count OR w.minor <> s.minor)
        OR w.starts IS NULL AND (w.count <> 0 OR w.minor <> 0)
    UNION ALL
    SELECT 'account_' || replace(r.account_id::text, '-', '') || ' rule ' || r.name,
        'decided in ' || t.currency || ' in the month in which it counts ' || (r.terms->>'currency')
    FROM top_up_rules r
    JOIN top_ups t ON t.account_id = r.account_id AND t.rule = r.name AND t.created_at >= r.month_start
        AND t.created_at < (r.month_start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'
        AND t.currency <> r.terms->>'currency'
    GROUP BY r.account_id, r.name, t.currency, r.terms"
);

/// Money and credits of a top-up are each other's, and a card was charged once for it; what came besides goes back.
pub(super) const TOP_UPS: &str = check!(
    "top_ups",
    "SELECT count(*) FROM top_ups",
    "SELECT 'topup_' || replace(t.topup_id::text, '-', ''),
        CASE WHEN g.grant_id IS NULL THEN 'is paid, and its grant is not there'
            WHEN g.item_key IS DISTINCT FROM 'top_up' THEN 'its grant is of item ' || coalesce(g.item_key, 'none')
            WHEN g.payment_id IS DISTINCT FROM t.payment_id
                THEN 'was paid by payment ' || t.payment_id || ', its grant by ' || coalesce(g.payment_id::text, 'none')
            ELSE 'gives ' || trim_scale(t.credits) || ', its grant ' || trim_scale(g.original) END
    FROM top_ups t LEFT JOIN grants g ON g.account_id = t.account_id AND g.grant_id = t.grant_id
    WHERE t.state = 'succeeded' AND (g.grant_id IS NULL OR g.item_key IS DISTINCT FROM 'top_up'
        OR g.payment_id IS DISTINCT FROM t.payment_id OR g.original <> t.credits)
    UNION ALL
    SELECT 'grant_' || replace(g.grant_id::text, '-', ''),
        'was given by a top-up, and ' || coalesce('that is ' || t.state, 'there is none')
    FROM grants g LEFT JOIN top_ups t ON t.account_id = g.account_id AND t.grant_id = g.grant_id
    WHERE g.item_key = 'top_up' AND (t.state = 'succeeded') IS NOT TRUE
    UNION ALL
    SELECT 'topup_' || replace(y.topup_id::text, '-', ''), 'was paid by ' || count(*) || ' tries, and '
        || (SELECT count(*) FROM top_up_excess x WHERE x.account_id = y.account_id AND x.topup_id = y.topup_id)
        || ' payments of it go back'
    FROM top_up_tries y WHERE y.state = 'succeeded' GROUP BY y.account_id, y.topup_id
    HAVING count(*) > 1 + (SELECT count(*) FROM top_up_excess x WHERE x.account_id = y.account_id AND x.topup_id = y.topup_id)
    UNION ALL
    SELECT 'topup_' || replace(x.topup_id::text, '-', ''),
        'payment ' || x.payment_id || ' both paid it and goes back'
    FROM top_up_excess x JOIN top_ups t ON t.account_id = x.account_id AND t.topup_id = x.topup_id
    WHERE t.payment_id = x.payment_id
    UNION ALL
    SELECT 'topup_' || replace(coalesce(i.topup_id, t.topup_id)::text, '-', ''),
        CASE WHEN t.topup_id IS NULL THEN 'is looked up and not there' ELSE 'is not found by its id' END
    FROM top_up_ids i FULL JOIN top_ups t ON t.account_id = i.account_id AND t.topup_id = i.topup_id
    WHERE i.topup_id IS NULL OR t.topup_id IS NULL"
);

/// What is not over is done by somebody.
pub(super) const CHARGE_WORK: &str = check!(
    "charge_work",
    "SELECT (SELECT count(*) FROM charge_work) + (SELECT count(*) FROM top_ups WHERE ended_at IS NULL)
        + (SELECT count(*) FROM top_up_excess WHERE ended_at IS NULL)",
    "SELECT 'topup_' || replace(coalesce(t.topup_id, w.owner_id)::text, '-', ''),
        CASE WHEN w.owner_id IS NULL THEN 'is ' || t.state || ' and in no queue' ELSE 'is queued, and nothing is to be done' END
    FROM (SELECT * FROM top_ups WHERE ended_at IS NULL) AS t
    FULL JOIN (SELECT * FROM charge_work WHERE kind = 'top_up') AS w
        ON w.account_id = t.account_id AND w.owner_id = t.topup_id
    WHERE t.topup_id IS NULL OR w.owner_id IS NULL
    UNION ALL
    SELECT 'topup_' || replace(x.topup_id::text, '-', ''), 'payment ' || x.payment_id || ' is to go back, and in no queue'
    FROM top_up_excess x LEFT JOIN charge_work w
        ON w.account_id = x.account_id AND w.kind = 'refund' AND w.owner_id = x.payment_id
    WHERE x.ended_at IS NULL AND w.owner_id IS NULL
    UNION ALL
    SELECT 'account_' || replace(r.account_id::text, '-', ''),
        'rule ' || r.name || ' is to be looked at again at ' || r.look_at || ', and that is in no queue'
    FROM top_up_rules r LEFT JOIN charge_work w
        ON w.account_id = r.account_id AND w.kind = 'look' AND w.owner_id = r.account_id
    WHERE r.look_at IS NOT NULL AND w.owner_id IS NULL
    UNION ALL
    SELECT 'account_' || replace(w.account_id::text, '-', ''), w.kind || ' is queued in bucket ' || w.bucket
    FROM charge_work w WHERE w.bucket <> get_byte(uuid_send(w.account_id), 15) % 16"
);
