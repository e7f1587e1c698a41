//! The tour's auto top-up: a card is left once, a rule is set, and the next balance that is low is topped up by itself.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::{Guide, PATIENCE};
use crate::clock::{fresh_uuid, instant};

impl Guide<'_> {
    /// Of another customer, whose balance is that of the Free plan.
    pub(super) async fn auto_top_up(&mut self, first: &str) -> anyhow::Result<()> {
        self.title("Auto top-up: a customer leaves a card and agrees once; from then on a low balance fills itself")?;
        let customer = format!("{first}_auto");
        let path = format!("/api/v1/customers/{customer}");
        let url = format!("{}{path}", self.places.creditd);
        self.client.put(url).bearer_auth(self.places.api_key).json(&json!({})).send().await?;
        let order = json!({ "customer": customer, "success_url": "https://example.com/thanks" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/setup", Some(order)).await?;
        self.show(status, &answer)?;
        let page = answer["checkout_url"].as_str().with_context(|| format!("no page to leave a card on: {answer}"))?;
        let id = page.rsplit('/').next().unwrap_or_default();
        let url = format!("{}/control/pay/{id}", self.places.stripe);
        writeln!(
            self.out,
            "   $ curl -s -X POST {url} -H 'Content-Type: application/json' -d '{{\"outcome\":\"paid\"}}'\n     (or open the url above and leave the card)"
        )?;
        let left = self.client.post(url).json(&json!({ "outcome": "paid" })).send().await?;
        ensure!(left.status().is_success(), "the simulated Stripe refused: {}", left.text().await?);
        let rule = json!({ "enabled": true, "feature": "usd_credits", "threshold": "2", "quantity": "20",
            "max_per_month": { "count": 3, "money": { "amount": "100.00", "currency": "usd" } },
            "consent": { "by": customer, "at": "2026-01-01T00:00:00Z", "text_version": "2026-01" } });
        let rules = format!("{path}/topup-rules/main");
        let (status, answer) = self.ask(reqwest::Method::PUT, &rules, Some(rule)).await?;
        self.show(
            status,
            &json!({ "name": answer["name"], "state": answer["state"], "threshold": answer["threshold"] }),
        )?;
        ensure!(status < 300, "the rule was refused: {answer}");
        let (status, answer) = self.ask(reqwest::Method::GET, &format!("{rules}/why"), None).await?;
        self.show(status, &answer)?;
        let usage =
            json!({ "key": fresh_uuid(), "customer": customer, "feature": "premium_messages", "quantity": "40" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/track", Some(usage)).await?;
        self.show(status, &answer)?;
        ensure!(answer["available"] == "1", "expected 1 left: {answer}");
        self.wait_for(&customer, "21").await?;
        let (status, answer) = self.ask(reqwest::Method::GET, &format!("{path}/topups"), None).await?;
        let made = self.paid(&path, answer).await?;
        let picked = json!({ "id": made["id"], "state": made["state"], "amount": made["amount"], "quantity": made["quantity"],
            "grant": made["grant"] });
        self.show(status, &picked)?;
        writeln!(
            self.out,
            "   balance: 1 + 20 = 21 credits; decided with the track, charged once, granted when it was paid"
        )?;
        Ok(())
    }

    /// The customer's one top-up, once it says that it is paid.
    async fn paid(&mut self, path: &str, first: Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}/topups", self.places.creditd);
        let (started, mut answer) = (instant(), first);
        loop {
            let made = answer["data"][0].clone();
            if made["state"] == "succeeded" {
                return Ok(made);
            }
            if started.elapsed() > PATIENCE {
                bail!("the top-up is {made} after {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = self.client.get(&url).bearer_auth(self.places.api_key).send().await?.json().await?;
        }
    }
}
