//! `creditd grant`: goodwill credits, with a reason.

use std::io::Write;

use anyhow::Context;
use clap::Args;

use super::Usage;
use crate::clock::fresh_uuid;
use crate::domain::catalog::FeatureId;
use crate::domain::command::{Command, Decision, IdempotencyKey, NewGrant, Outcome, WalletRef};
use crate::domain::credits::Credits;
use crate::domain::entry::Source;
use crate::domain::grant::{Category, GrantMoney};
use crate::posting::Posting;
use crate::store::Store;

/// Whom to give what, and why.
#[derive(Clone, Debug, Args)]
pub struct GrantArgs {
    /// The app's customer id; it has to exist.
    #[arg(long)]
    pub customer: String,
    /// The feature whose credits are given.
    #[arg(long)]
    pub feature: String,
    /// How many credits, such as 5 or 0.25.
    #[arg(long)]
    pub quantity: String,
    /// Why; kept beside the ledger entry.
    #[arg(long)]
    pub reason: String,
    /// When they end, such as 2027-01-01T00:00:00Z; never, when absent.
    #[arg(long)]
    pub expires_at: Option<String>,
    /// A key that makes a repeat harmless; a random one when absent.
    #[arg(long)]
    pub key: Option<String>,
}

/// Gives promotional credits.
pub async fn run(store: &Store, args: &GrantArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let usage = |text: String| Usage(text);
    let quantity = Credits::parse_non_negative(&args.quantity).map_err(|e| usage(format!("--quantity {e}")))?;
    if quantity.is_zero() {
        return Err(usage("--quantity has to be more than zero".to_owned()).into());
    }
    if args.reason.trim().is_empty() {
        return Err(usage("--reason has to say why".to_owned()).into());
    }
    let feature =
        FeatureId::new(&args.feature).ok_or_else(|| usage(format!("--feature {}: no feature's name", args.feature)))?;
    let expires_at = args.expires_at.as_deref().map(|text| {
        text.parse::<jiff::Timestamp>()
            .ok()
            .ok_or_else(|| usage(format!("--expires-at {text}: has to be a time such as 2027-01-01T00:00:00Z")))
    });
    let account = store.find_customer(&args.customer).await?;
    let account = account.ok_or_else(|| usage(format!("there is no customer {}", args.customer)))?;
    let new = NewGrant {
        wallet: WalletRef::Default,
        feature,
        entity: String::new(),
        quantity,
        category: Category::Promotional,
        priority: None,
        starts_at: None,
        expires_at: expires_at.transpose()?,
        reason: args.reason.clone(),
        money: GrantMoney::default(),
        contract: None,
        terms: None,
        metadata: std::collections::BTreeMap::new(),
        source: Source::Cli,
        actor: Some("creditd grant".to_owned()),
    };
    let key = args.key.clone().unwrap_or_else(|| fresh_uuid().to_string());
    let key = IdempotencyKey::new("grant", &key, &new);
    let posting = Posting::start(store);
    let decision = posting.post(account, Some(key), Command::Grant(new)).await;
    posting.shut_down().await;
    let decision = decision.context("nothing was given")?;
    let verb = if matches!(decision, Decision::Applied(_)) { "gave" } else { "had already given" };
    if let Outcome::Granted { grants } = decision.outcome() {
        for grant in grants {
            writeln!(out, "{verb} {quantity} {} to {}: {grant}", args.feature, args.customer)?;
        }
    }
    Ok(())
}
