//! `creditd why`: the same checks as over HTTP, read from the database alone.

use serde_json::json;

use crate::http_top_up_rules::app;
use crate::support::binary::Site;
use crate::support::database::raw;

#[tokio::test]
async fn why_tells_a_line_for_each_rule_and_refuses_what_is_not_there() {
    let app = app().await;
    let site = Site::on(app.url.clone());
    assert_eq!(site.run(&["why", "ada"]).await.ok(), "ada has no top-up rules\n");
    app.set_rule("main", json!({ "cooldown_seconds": 3600 })).await;
    app.set_rule("other", json!({ "enabled": false })).await;
    let said = site.run(&["why", "ada"]).await.ok();
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["rule", "feature", "state", "balance", "threshold", "held", "back", "by", "until", "says"]);
    assert_eq!(lines[1][..7], ["main", "credits", "active", "100", "20", "balance_above", "-"], "{said}");
    assert_eq!(lines[2][..7], ["other", "credits", "disabled", "100", "20", "disabled", "-"]);
    app.spend("a", "85").await;
    let said = site.run(&["why", "ada", "main"]).await.ok();
    assert!(said.contains("open_top_up") && said.lines().count() == 2, "{said}");
    let pool = raw(&app.url).await;
    sqlx::query("INSERT INTO circuits VALUES ('stripe', 3, now() + interval '1 hour', 'api_key_expired')")
        .execute(&pool)
        .await
        .unwrap();
    let said = site.run(&["why", "ada", "main"]).await.ok();
    assert!(said.contains("circuit_open") && said.contains("api_key_expired"), "{said}");
    assert!(site.run(&["why", "nobody"]).await.usage().contains("there is no customer nobody"));
    assert!(site.run(&["why", "ada", "third"]).await.usage().contains("ada has no top-up rule third"));
    app.done().await;
}
