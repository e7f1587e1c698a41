//! `creditd why`: for each top-up rule of a customer, what holds a charge back now. Read from the database alone.

use std::io::Write;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use super::Usage;
use crate::domain::top_up::Rule;
use crate::domain::top_up::why::{HeldBack, Standing, balance_of, standing};
use crate::http::native::held_back::{CIRCUIT_OPEN, sentence};
use crate::http::native::top_up_rules::{is_shown, state_of};
use crate::posting::{Posting, Reading};
use crate::store::Store;
use crate::store::circuits::OpenCircuit;

/// Whose rules, and which.
#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// The app's customer id.
    pub customer: String,
    /// One rule, by its name; all of them, when absent.
    pub rule: Option<String>,
}

/// Prints a line for each rule.
pub async fn run(store: &Store, args: &WhyArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let account = store.find_customer(&args.customer).await?;
    let account = account.ok_or_else(|| Usage(format!("there is no customer {}", args.customer)))?;
    let posting = Posting::start(store);
    let reading = posting.read_complete(account).await;
    posting.shut_down().await;
    let (reading, circuit) = (reading?, store.open_circuit().await?);
    let wanted = |rule: &&Rule| is_shown(rule) && args.rule.as_ref().is_none_or(|name| *name == rule.name);
    let mut rules: Vec<&Rule> = reading.state.rules.iter().filter(wanted).collect();
    rules.sort_by(|left, right| left.name.cmp(&right.name));
    match (&args.rule, rules.is_empty()) {
        (Some(rule), true) => return Err(Usage(format!("{} has no top-up rule {rule}", args.customer)).into()),
        (None, true) => writeln!(out, "{} has no top-up rules", args.customer)?,
        (_, false) => writeln!(out, "{}", table(&reading, circuit.as_ref(), &rules))?,
    }
    out.flush()?;
    Ok(())
}

fn table(reading: &Reading, circuit: Option<&OpenCircuit>, rules: &[&Rule]) -> Table {
    let mut table = Table::new();
    // Fixed width: the output of two runs compares line by line, whatever terminal it went to.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["rule", "feature", "state", "balance", "threshold", "held back by", "until", "says"]);
    for rule in rules {
        table.add_row(row(reading, circuit, rule));
    }
    table
}

fn row(reading: &Reading, circuit: Option<&OpenCircuit>, rule: &Rule) -> [String; 8] {
    let now = reading.now.max(reading.state.last_entry_at);
    let standing = standing(&reading.state, &reading.catalog, rule, now);
    let (state, _) = state_of(rule, &standing);
    let (held_back, until, says) = match (circuit, &standing) {
        (Some(OpenCircuit { until, reason }), _) => (CIRCUIT_OPEN, Some(*until), reason.clone()),
        (None, Standing::HeldBack(held_back)) => (held_back.code(), held_back.until(), sentence(held_back)),
        (None, Standing::WouldCharge { quote, .. }) => {
            ("nothing", None, format!("would buy {} credits for {}", quote.credits, quote.amount))
        }
    };
    let balance: Result<_, HeldBack> = balance_of(&reading.state, &rule.terms, now);
    let dash = || "-".to_owned();
    [
        rule.name.clone(),
        rule.terms.feature.to_string(),
        state.to_owned(),
        balance.map_or_else(|_| dash(), |balance| balance.to_string()),
        rule.terms.threshold.to_string(),
        held_back.to_owned(),
        until.map_or_else(dash, |until| until.to_string()),
        says,
    ]
}
