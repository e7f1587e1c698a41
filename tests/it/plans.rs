//! How Postgres finds rows: by key, also when the tables were empty at the time the plan was made.

use sqlx::Executor;

use crate::support::database::fresh_url;

/// A plan that was made on empty tables must not walk them once they are full: it stays with its connection.
#[tokio::test]
async fn no_statement_of_the_hot_path_walks_a_table() {
    let store = crate::support::database::store_at(&fresh_url().await).await;
    store.ensure_instance(false, None).await.unwrap();
    let mut connection = store.lane_connection().await.unwrap();
    let statements = creditd::store::ledger::STATEMENTS
        .into_iter()
        .chain(creditd::store::ledger::WRITE_STATEMENTS)
        .chain(creditd::store::accounts::STATEMENTS);
    let mut seen = 0;
    for statement in statements {
        let parameters = statement.matches('$').count();
        let most = (1..=parameters.max(1)).rev().find(|n| statement.contains(&format!("${n}"))).unwrap_or(0);
        let name = format!("plan_{seen}");
        let nulls = vec!["NULL"; most].join(", ");
        let execute = if most == 0 { format!("EXECUTE {name}") } else { format!("EXECUTE {name} ({nulls})") };
        let prepare = format!("PREPARE {name} AS {statement}");
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(prepare))).await.unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) {execute}");
        let lines: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
        let plan = lines.join("\n");
        for walk in ["Seq Scan", "Hash Join", "Merge Join"] {
            let single = ["instance", "catalog_head"];
            let walked = plan.lines().filter(|line| line.contains(walk) && !single.iter().any(|t| line.contains(t)));
            assert_eq!(walked.count(), 0, "{statement}\n{plan}");
        }
        seen += 1;
    }
    assert!(seen > 25, "{seen}");
}
