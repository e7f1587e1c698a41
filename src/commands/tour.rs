//! The tour of `creditd dev`: each step is a real request, shown as the curl a reader can type, with its real answer.

mod top_up;

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::export::{ExportArgs, ExportFormat, ExportKind};
use super::verify::{Verdict, VerifyArgs};
use crate::clock::{fresh_uuid, instant};
use crate::simulator::Simulator;
use crate::store::Store;

/// Longest wait for a webhook to become credits.
const PATIENCE: Duration = Duration::from_secs(20);
/// Rows of the export that are shown.
const ROWS_SHOWN: usize = 8;
/// Deliveries of one event sent at once, to show that it grants once.
const REPEATS: usize = 20;

/// Where everything is.
pub struct Places<'a> {
    /// The daemon.
    pub creditd: &'a str,
    /// The simulated Stripe.
    pub stripe: &'a str,
    /// An admin key of the daemon.
    pub api_key: &'a str,
    /// The simulated Stripe's key.
    pub stripe_key: &'a str,
    /// The embedded database, for commands beside the daemon; `None`: `DATABASE_URL` names it, and is not shown.
    pub database_url: Option<&'a str>,
}

struct Guide<'a> {
    places: &'a Places<'a>,
    client: reqwest::Client,
    step: usize,
    out: &'a mut dyn Write,
}

/// Shows the whole job; any answer that is not what it should be ends it with an error.
pub async fn run(places: &Places<'_>, store: &Store, simulator: &Simulator, out: &mut dyn Write) -> anyhow::Result<()> {
    let catalog = store.catalog().await?;
    let sample = ["basic_messages", "premium_messages", "usd_credits"];
    let has = |name: &&str| catalog.catalog.features.keys().any(|id| id.as_str() == *name);
    if !sample.iter().all(has) {
        writeln!(out, "\nThe tour speaks of the sample catalogue; this one is another, so there is no tour.")?;
        return Ok(());
    }
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let mut guide = Guide { places, client, step: 0, out };
    let customer = format!("user_{}", &fresh_uuid().simple().to_string()[20..]);
    guide.new_customer(&customer).await?;
    let session = guide.buy(&customer).await?;
    guide.pay(&customer, &session, simulator).await?;
    guide.messages(&customer).await?;
    guide.long_job(&customer).await?;
    guide.runs_dry(&customer).await?;
    guide.same_webhook_again(&customer, simulator).await?;
    guide.subscription(&customer, store).await?;
    guide.auto_top_up(&customer).await?;
    guide.export(store).await?;
    writeln!(guide.out, "\nThat was the whole job. Try the curls above with your own numbers.")?;
    Ok(())
}

impl Guide<'_> {
    fn title(&mut self, text: &str) -> anyhow::Result<()> {
        self.step += 1;
        writeln!(self.out, "\n{}. {text}", self.step)?;
        Ok(())
    }

    /// One request to the daemon, shown as curl with its answer.
    async fn ask(&mut self, method: reqwest::Method, path: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}{path}", self.places.creditd);
        let mut curl = format!("   $ curl -s -H 'Authorization: Bearer {}'", self.places.api_key);
        if method != reqwest::Method::GET && method != reqwest::Method::POST {
            write!(curl, " -X {method}")?;
        }
        let mut request = self.client.request(method, &url).bearer_auth(self.places.api_key);
        if let Some(body) = body {
            write!(curl, " \\\n       -H 'Content-Type: application/json' -d '{body}'")?;
            request = request.json(&body);
        }
        writeln!(self.out, "{curl} \\\n       {url}")?;
        let answer = request.send().await.context("the daemon does not answer")?;
        let (status, text) = (answer.status().as_u16(), answer.text().await?);
        let value: Value = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
        Ok((status, value))
    }

    fn show(&mut self, status: u16, value: &Value) -> anyhow::Result<()> {
        let text = value.to_string();
        let shown: String = text.chars().take(400).collect();
        let more = if shown.len() < text.len() { " …" } else { "" };
        writeln!(self.out, "   {status} {shown}{more}")?;
        Ok(())
    }

    async fn balance(&mut self, customer: &str) -> anyhow::Result<String> {
        let url = format!("{}/api/v1/customers/{customer}", self.places.creditd);
        let answer: Value = self.client.get(url).bearer_auth(self.places.api_key).send().await?.json().await?;
        let available = &pool(&answer)["available"];
        available.as_str().map(str::to_owned).with_context(|| format!("no balance in {answer}"))
    }

    async fn new_customer(&mut self, customer: &str) -> anyhow::Result<()> {
        self.title("A new customer gets the Free plan, and with it 5 USD of credits a month")?;
        let path = format!("/api/v1/customers/{customer}");
        let (status, answer) = self.ask(reqwest::Method::PUT, &path, Some(json!({ "name": "Ada" }))).await?;
        self.show(status, &json!({ "plans": answer["plans"][0]["plan"], "available": pool(&answer)["available"] }))?;
        ensure!(status == 201 && pool(&answer)["available"] == "5", "expected 5 credits: {answer}");
        Ok(())
    }

    async fn buy(&mut self, customer: &str) -> anyhow::Result<String> {
        self.title("Your app opens a Stripe Checkout for 20 USD of credits")?;
        let form = [
            ("mode", "payment"),
            ("success_url", "https://example.com/thanks"),
            ("line_items[0][price]", "price_usd_credit"),
            ("line_items[0][quantity]", "20"),
            ("metadata[creditd_customer_id]", customer),
        ];
        let session = self.stripe("/v1/checkout/sessions", &form, &["id", "amount_total", "url"]).await?;
        session["id"].as_str().map(str::to_owned).with_context(|| format!("no session: {session}"))
    }

    /// One request to the simulated Stripe, shown as curl with some members of its answer.
    async fn stripe(&mut self, path: &str, form: &[(&str, &str)], members: &[&str]) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.places.stripe);
        let shown: Vec<String> = form.iter().map(|(name, value)| format!("-d '{name}={value}'")).collect();
        writeln!(
            self.out,
            "   $ curl -s -u {}: {} \\\n       {url}",
            self.places.stripe_key,
            shown.join(" \\\n       ")
        )?;
        let answer = self.client.post(url).basic_auth(self.places.stripe_key, Some("")).form(form).send().await?;
        let (status, object): (u16, Value) = (answer.status().as_u16(), answer.json().await?);
        let picked: serde_json::Map<String, Value> =
            members.iter().map(|name| ((*name).to_owned(), object[*name].clone())).collect();
        self.show(status, &Value::Object(picked))?;
        ensure!(status == 200, "the simulated Stripe refused: {object}");
        Ok(object)
    }

    /// Pro from its first day to its last. Time goes forward once for a data folder: what else is in it would age by two
    /// months with every start.
    async fn subscription(&mut self, customer: &str, store: &Store) -> anyhow::Result<()> {
        let moved = store.instance().await?.is_some_and(|instance| instance.test_offset_seconds > 0);
        if moved {
            self.title("Pro, its renewals and its end were shown when this data folder was new")?;
            let clock = format!("{}/api/v1/test-clock/advance", self.places.creditd);
            writeln!(self.out, "   Move time yourself, Stripe goes along: POST {clock} {{\"seconds\": 3600}}")?;
            return Ok(());
        }
        self.subscribe(customer).await?;
        self.a_month_passes(customer).await?;
        self.cancel(customer).await
    }

    async fn subscribe(&mut self, customer: &str) -> anyhow::Result<()> {
        self.title("The customer takes Pro for 10 USD a month: 10 credits beside what was bought")?;
        let order = json!({ "customer": customer, "plan": "pro", "success_url": "https://example.com/thanks" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/attach", Some(order)).await?;
        let picked =
            json!({ "action": answer["action"], "total": answer["total"], "checkout_url": answer["checkout_url"] });
        self.show(status, &picked)?;
        let page = answer["checkout_url"].as_str().with_context(|| format!("no page to pay on: {answer}"))?;
        let id = page.rsplit('/').next().unwrap_or_default();
        let url = format!("{}/control/pay/{id}", self.places.stripe);
        let curl = format!("curl -s -X POST {url} -H 'Content-Type: application/json' -d '{{\"outcome\":\"paid\"}}'");
        writeln!(self.out, "   $ {curl}\n     (or open the url above and press Pay)")?;
        let paid = self.client.post(url).json(&json!({ "outcome": "paid" })).send().await?;
        ensure!(paid.status().is_success(), "the simulated Stripe refused: {}", paid.text().await?);
        self.wait_for(customer, "10.08").await?;
        self.plan(customer).await?;
        let usage =
            json!({ "key": fresh_uuid(), "customer": customer, "feature": "premium_messages", "quantity": "20" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/track", Some(usage)).await?;
        self.show(status, &answer)?;
        ensure!(answer["available"] == "8.08", "expected 8.08: {answer}");
        Ok(())
    }

    /// Shows the plan in force and when what is paid for ends.
    async fn plan(&mut self, customer: &str) -> anyhow::Result<jiff::Timestamp> {
        let (status, answer) = self.ask(reqwest::Method::GET, &format!("/api/v1/customers/{customer}"), None).await?;
        let plan = &answer["plans"][0];
        let picked = json!({ "plan": plan["plan"], "state": plan["state"], "paid_through": plan["paid_through"],
            "cancel_at": plan["cancel_at"], "available": pool(&answer)["available"] });
        self.show(status, &picked)?;
        let end = plan["paid_through"].as_str().or(plan["started_at"].as_str());
        end.and_then(|end| end.parse().ok()).with_context(|| format!("no plan in {answer}"))
    }

    async fn advance(&mut self, to: jiff::Timestamp) -> anyhow::Result<()> {
        let order = json!({ "to": to.to_string() });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/test-clock/advance", Some(order)).await?;
        self.show(status, &answer)?;
        ensure!(status == 200, "the test clock stands still: {answer}");
        Ok(())
    }

    async fn a_month_passes(&mut self, customer: &str) -> anyhow::Result<()> {
        self.title("A month passes: Stripe drafts the renewal for an hour, and nobody runs dry meanwhile")?;
        let end = self.plan(customer).await?;
        self.advance(end.checked_add(jiff::SignedDuration::from_mins(30))?).await?;
        let balance = self.balance(customer).await?;
        ensure!(balance == "8.08", "expected 8.08 in the hour of the draft, not {balance}");
        writeln!(self.out, "   balance while the invoice is a draft: {balance}")?;
        self.advance(end.checked_add(jiff::SignedDuration::from_hours(2))?).await?;
        self.wait_for(customer, "10.08").await?;
        writeln!(self.out, "   balance once it is paid: 10 anew + 0.08 bought = 10.08 credits")?;
        Ok(())
    }

    async fn cancel(&mut self, customer: &str) -> anyhow::Result<()> {
        self.title("Cancelled: Pro stays until the end of what is paid, then Free is back; bought credits stay")?;
        let wish = json!({ "customer": customer, "plan": "pro" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/cancel", Some(wish)).await?;
        self.show(status, &json!({ "plan": answer["plan"], "ends_at": answer["ends_at"] }))?;
        ensure!(status == 200, "Pro was not cancelled: {answer}");
        self.wait_for_end(customer).await?;
        let end = self.plan(customer).await?;
        self.advance(end.checked_add(jiff::SignedDuration::from_mins(5))?).await?;
        self.wait_for(customer, "5.08").await?;
        self.plan(customer).await?;
        Ok(())
    }

    async fn pay(&mut self, customer: &str, session: &str, simulator: &Simulator) -> anyhow::Result<()> {
        self.title("The customer pays; Stripe signs a webhook, creditd verifies and stores it and grants the credits")?;
        let url = format!("{}/control/pay/{session}", self.places.stripe);
        writeln!(
            self.out,
            "   $ curl -s -X POST {url} -H 'Content-Type: application/json' -d '{{\"outcome\":\"paid\"}}'\n     (or open the url above and press Pay)"
        )?;
        let paid = self.client.post(url).json(&json!({ "outcome": "paid" })).send().await?;
        ensure!(paid.status().is_success(), "the simulated Stripe refused: {}", paid.text().await?);
        self.wait_for(customer, "25").await?;
        let delivered = simulator.event_ids("checkout.session.completed");
        let event = delivered.last().context("no event was made")?;
        let (status, answer) = self.ask(reqwest::Method::GET, &format!("/api/v1/stripe-events/{event}"), None).await?;
        self.show(status, &json!({ "id": answer["id"], "type": answer["type"], "state": answer["state"] }))?;
        let balance = self.balance(customer).await?;
        writeln!(self.out, "   balance: 5 + 20 = {balance} credits")?;
        Ok(())
    }

    async fn wait_for(&mut self, customer: &str, wanted: &str) -> anyhow::Result<()> {
        let started = instant();
        loop {
            let found = self.balance(customer).await?;
            if found == wanted {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("the balance is {found}, not {wanted}, after {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until Stripe has told that the subscription is set to end.
    async fn wait_for_end(&mut self, customer: &str) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/customers/{customer}", self.places.creditd);
        let started = instant();
        while started.elapsed() < PATIENCE {
            let answer = self.client.get(&url).bearer_auth(self.places.api_key).send().await?;
            let answer: Value = answer.json().await?;
            if answer["plans"][0]["cancel_at"].is_string() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the plan is not set to end after {} s", PATIENCE.as_secs())
    }

    async fn messages(&mut self, customer: &str) -> anyhow::Result<()> {
        self.title("Messages draw on one pool at different costs: basic 0.01, premium 0.10")?;
        let question = json!({ "customer": customer, "feature": "basic_messages", "quantity": "2" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/check", Some(question)).await?;
        self.show(status, &answer)?;
        ensure!(answer["allowed"] == true && answer["required"] == "0.02", "expected 0.02: {answer}");
        let usage = json!({ "key": fresh_uuid(), "customer": customer, "feature": "basic_messages", "quantity": "2" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/track", Some(usage)).await?;
        self.show(status, &answer)?;
        ensure!(answer["available"] == "24.98", "expected 24.98: {answer}");
        let usage =
            json!({ "key": fresh_uuid(), "customer": customer, "feature": "premium_messages", "quantity": "100" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/track", Some(usage)).await?;
        self.show(status, &answer)?;
        ensure!(answer["available"] == "14.98", "expected 14.98: {answer}");
        writeln!(self.out, "   the Free plan's credits went first: they expire, the bought ones do not")?;
        Ok(())
    }

    async fn long_job(&mut self, customer: &str) -> anyhow::Result<()> {
        self.title("A long job sets credits aside first, so that nobody else spends them; check explains, lot by lot")?;
        let hold = json!({ "key": fresh_uuid(), "ttl_seconds": 600, "when_more": "reject" });
        let question = json!({ "customer": customer, "feature": "premium_messages", "quantity": "100", "hold": hold });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/check", Some(question)).await?;
        self.show(status, &answer)?;
        ensure!(answer["allowed"] == true && answer["hold"]["held"] == "10", "expected 10 held: {answer}");
        let id = answer["hold"]["id"].as_str().context("a hold without an id")?.to_owned();
        let question =
            json!({ "customer": customer, "feature": "premium_messages", "quantity": "60", "explain": true });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/check", Some(question)).await?;
        self.show(status, &answer)?;
        ensure!(answer["allowed"] == false && answer["available"] == "4.98", "expected 4.98 left: {answer}");
        writeln!(self.out, "   14.98 less 10 held: another job of 6 credits has to wait. A heartbeat keeps the hold:")?;
        let longer = json!({ "ttl_seconds": 900 });
        let path = format!("/api/v1/holds/{id}/extend");
        let (status, answer) = self.ask(reqwest::Method::POST, &path, Some(longer)).await?;
        self.show(status, &answer)?;
        ensure!(status == 200, "the hold was not extended: {answer}");
        let usage = json!({ "key": fresh_uuid(), "customer": customer, "feature": "premium_messages", "quantity": "40",
            "hold": id, "final": true });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/track", Some(usage)).await?;
        self.show(status, &answer)?;
        ensure!(answer["drawn"] == "4" && answer["available"] == "10.98", "expected 4 drawn, 10.98 left: {answer}");
        writeln!(self.out, "   the job cost 4 of the 10 held; the rest is free again")?;
        Ok(())
    }

    async fn runs_dry(&mut self, customer: &str) -> anyhow::Result<()> {
        self.title("The balance runs dry: check says no, and a track with when_short=reject is refused")?;
        let usage =
            json!({ "key": fresh_uuid(), "customer": customer, "feature": "premium_messages", "quantity": "109" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/track", Some(usage)).await?;
        self.show(status, &answer)?;
        ensure!(answer["available"] == "0.08", "expected 0.08: {answer}");
        let question = json!({ "customer": customer, "feature": "premium_messages" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/check", Some(question)).await?;
        self.show(status, &answer)?;
        ensure!(answer["allowed"] == false && answer["reason"] == "insufficient", "expected a no: {answer}");
        let usage =
            json!({ "key": fresh_uuid(), "customer": customer, "feature": "premium_messages", "when_short": "reject" });
        let (status, answer) = self.ask(reqwest::Method::POST, "/api/v1/track", Some(usage)).await?;
        self.show(status, &answer)?;
        ensure!(status == 402 && answer["code"] == "insufficient_credits", "expected 402: {answer}");
        Ok(())
    }

    async fn same_webhook_again(&mut self, customer: &str, simulator: &Simulator) -> anyhow::Result<()> {
        self.title("The same webhook again, 20 times at once: the payment grants once")?;
        let event = simulator.event_ids("checkout.session.completed").pop().context("no event was made")?;
        let before = self.balance(customer).await?;
        let mut answered = Vec::new();
        for answer in futures_util::future::join_all((0..REPEATS).map(|_| simulator.deliver(&event))).await {
            answered.push(answer?);
        }
        writeln!(self.out, "   {} deliveries of {event} answered {}", answered.len(), answered.first().unwrap_or(&0))?;
        ensure!(answered.iter().all(|status| *status == 200), "expected 200 for each: {answered:?}");
        let path = format!("/api/v1/customers/{customer}/grants?feature=usd_credits");
        let (status, answer) = self.ask(reqwest::Method::GET, &path, None).await?;
        let grants = answer["data"].as_array().context("no grants")?;
        for grant in grants {
            let picked = json!({ "category": grant["category"], "quantity": grant["quantity"], "remaining": grant["remaining"], "paid": grant["paid"], "payment": grant["payment"] });
            self.show(status, &picked)?;
        }
        // This customer paid once.
        let bought = grants.iter().filter(|grant| grant["payment"].is_string()).count();
        let after = self.balance(customer).await?;
        ensure!(bought == 1 && before == after, "granted {bought} times; {before} became {after}");
        writeln!(self.out, "   balance before and after: {before}")?;
        Ok(())
    }

    async fn export(&mut self, store: &Store) -> anyhow::Result<()> {
        self.title("Finance exports the ledger; verify recomputes every balance and hash from it")?;
        let url = self.places.database_url.map(|url| format!("DATABASE_URL='{url}' ")).unwrap_or_default();
        let creditd = format!("{url}creditd");
        writeln!(self.out, "   $ {creditd} export ledger --format csv")?;
        let args = ExportArgs {
            kind: ExportKind::Ledger,
            format: ExportFormat::Csv,
            from: None,
            to: None,
            names: false,
            out: None,
        };
        let mut file = Vec::new();
        super::export::run(store, &args, &mut file).await?;
        let text = String::from_utf8(file).context("the export is not text")?;
        let rows: Vec<&str> = text.lines().collect();
        for row in rows.iter().take(1).chain(rows.iter().skip(1).rev().take(ROWS_SHOWN).rev()) {
            writeln!(self.out, "   {}", shorten(row))?;
        }
        writeln!(self.out, "   ({} lines)\n   $ {creditd} verify", rows.len().saturating_sub(1))?;
        let mut report = Vec::new();
        let verdict = super::verify::run(store, &VerifyArgs { json: false }, &mut report).await?;
        for line in String::from_utf8_lossy(&report).lines() {
            writeln!(self.out, "   {line}")?;
        }
        ensure!(matches!(verdict, Verdict::Holds), "verify found differences");
        Ok(())
    }
}

/// The balance of the sample's pool in a customer's state.
fn pool(customer: &Value) -> &Value {
    let balances = customer["balances"].as_array().map(Vec::as_slice).unwrap_or_default();
    balances.iter().find(|balance| balance["feature"] == "usd_credits").unwrap_or(&Value::Null)
}

/// A row as it fits a terminal: long ids are cut, columns stay.
fn shorten(row: &str) -> String {
    let cell = |cell: &str| {
        if cell.len() > 20 { format!("{}…", cell.chars().take(17).collect::<String>()) } else { cell.to_owned() }
    };
    row.split(',').map(cell).collect::<Vec<String>>().join(",")
}
