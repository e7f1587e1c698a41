//! Applying a catalogue file: versions, what is refused, what is left alone.

use creditd::commands::catalog::{CatalogCommand, apply_at_start, run};

use crate::support::database::fresh_store;

const PLAIN: &str = "[features.calls]\ntype = \"metered\"\n";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

async fn apply(store: &creditd::store::Store, text: &str) -> Result<String, String> {
    let file = file(text);
    let mut out = Vec::new();
    let done = run(store, CatalogCommand::Apply { file: file.path().to_owned() }, &mut out).await;
    done.map(|()| String::from_utf8(out).unwrap()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn plan_changes_nothing_and_apply_counts_versions() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let planned = file(PLAIN);
    let mut out = Vec::new();
    run(&store, CatalogCommand::Plan { file: planned.path().to_owned() }, &mut out).await.unwrap();
    assert!(String::from_utf8(out).unwrap().contains("+ feature calls"));
    assert_eq!(store.catalog().await.unwrap().version, 0);
    assert!(apply(&store, PLAIN).await.unwrap().ends_with("applied: the catalogue is version 1\n"));
    assert!(apply(&store, PLAIN).await.unwrap().ends_with("nothing to change: the catalogue is version 1\n"));
    let more = format!("{PLAIN}[features.beta]\ntype = \"boolean\"\n");
    assert!(apply(&store, &more).await.unwrap().ends_with("applied: the catalogue is version 2\n"));
    assert!(apply(&store, PLAIN).await.unwrap().contains("- feature beta"));
    assert_eq!(store.catalog().await.unwrap().version, 3);
}

#[tokio::test]
async fn an_old_file_at_a_start_reverts_nothing() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let old = file(PLAIN);
    apply_at_start(&store, old.path()).await.unwrap();
    let new = format!("{PLAIN}[features.beta]\ntype = \"boolean\"\n");
    apply(&store, &new).await.unwrap();
    apply_at_start(&store, old.path()).await.unwrap();
    assert_eq!(store.catalog().await.unwrap().catalog.features.len(), 2);
}

#[tokio::test]
async fn a_changed_plan_is_a_new_version_and_the_old_terms_stay() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let plan = |included: &str| {
        format!(
            "{PLAIN}[plans.free]\nauto_enable = true\n[[plans.free.items]]\nfeature = \"calls\"\nincluded = \"{included}\"\nreset = \"month\"\n"
        )
    };
    apply(&store, &plan("5")).await.unwrap();
    apply(&store, &plan("7")).await.unwrap();
    let catalog = store.catalog().await.unwrap();
    let free = creditd::domain::catalog::PlanId::new("free").unwrap();
    assert_eq!(catalog.plan_versions[&free], 2);
    let included = |version| catalog.terms[&(free.clone(), version)].items[0].included.unwrap().to_string();
    assert_eq!((included(1), included(2)), ("5".to_owned(), "7".to_owned()));
}

#[tokio::test]
async fn what_is_not_carried_out_yet_is_refused_by_key_and_not_ignored() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let text = "[features.seats]\ntype = \"metered\"\nconsumable = false\n[features.calls]\ntype = \"metered\"\n[plans.pro]\ntrial_days = 14\nrevenue = \"credits\"\nprices = [{ amount = \"10.00\", currency = \"usd\", every = \"month\" }]\n[[plans.pro.items]]\nfeature = \"calls\"\nincluded = \"5\"\nreset = \"month\"\nrollover = { max = \"20\", months = 1 }\n";
    let refusal = apply(&store, text).await.unwrap_err();
    for key in ["features.seats.consumable = false", "plans.pro.items.calls.rollover"] {
        assert!(refusal.contains(key), "{refusal}");
    }
    assert_eq!(store.catalog().await.unwrap().version, 0);
}
