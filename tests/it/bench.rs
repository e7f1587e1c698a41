//! `creditd bench`: a quick run of the real binary measures, counts and tells; how fast is nobody's business here.

use serde_json::Value;

use crate::support::binary::{Ended, Site, bare};

async fn quick(site: &Site, only: &str) -> (Ended, Value) {
    let json = site.folder.path().join("bench.json");
    let mut command = site.command(&["bench", "--quick", "--database-url", &site.url, "--only", only, "--json"]);
    command.arg(&json);
    let ended = Ended::of(command).await;
    let report = std::fs::read(&json).map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap());
    (ended, report)
}

#[tokio::test]
async fn a_quick_run_measures_and_counts_everything_that_was_acknowledged() {
    let site = Site::new().await;
    let names = [
        "hello",
        "check",
        "check-explain",
        "track-spread-few",
        "track-spread",
        "track-spread-wide",
        "track-hot",
        "webhooks",
        "top-up",
        "top-up-stripe",
    ];
    let (ended, report) = quick(&site, &names.join(",")).await;
    let said = ended.ok();
    assert!(said.contains("the counts agree"), "{said}");
    let figures = report["figures"].as_array().unwrap();
    let found: Vec<&str> = figures.iter().map(|figure| figure["name"].as_str().unwrap()).collect();
    assert_eq!(found, names);
    for figure in figures {
        assert!(figure["answered"].as_u64() > Some(0) && figure["p99_micros"].as_u64() > Some(0), "{figure}");
        assert_eq!((figure["refused"].as_u64(), figure["unanswered"].as_u64()), (Some(0), Some(0)), "{figure}");
    }
    let counts = &report["counts"];
    assert!(counts["tracks_acknowledged"].as_u64() > Some(0));
    for (acknowledged, there) in [
        ("tracks_acknowledged", "track_keys"),
        ("tracks_acknowledged", "tracks_in_ledger"),
        ("webhooks_acknowledged", "webhooks_stored"),
        ("webhooks_acknowledged", "webhooks_granted"),
    ] {
        assert_eq!(counts[acknowledged], counts[there], "{counts}");
    }
    assert_eq!(counts["verify_holds"], true);
    assert_eq!((&report["machine"]["embedded"], &report["quick"]), (&Value::Bool(false), &Value::Bool(true)));

    // The database is full now: whoever names it again may have meant another.
    let told = quick(&site, "hello").await.0.usage();
    assert!(told.starts_with("creditd: this database is in use (41 customers)"), "{told}");
}

/// What it is compared with runs too where it is here; where it is not, the report says so and why.
#[tokio::test]
async fn what_is_not_here_is_skipped_with_its_reason() {
    let site = Site::new().await;
    let (ended, report) = quick(&site, "naive-spread-few,node-webhooks").await;
    ended.ok();
    let skipped = report["skipped"].as_array().unwrap();
    let why = |what: &str| skipped.iter().find(|one| one["what"] == what).map(|one| one["why"].as_str().unwrap());
    assert!(why("the Node server").is_some_and(|why| !why.is_empty()), "a quick run installs nothing: {report}");
    let measured = report["figures"].as_array().unwrap().iter().any(|figure| figure["name"] == "naive-spread-few");
    assert_eq!(why("pgbench").is_none(), measured, "measured or skipped: {report}");
}

#[tokio::test]
async fn mistakes_end_with_2() {
    for arguments in [&["bench", "--only", "speed"][..], &["bench", "--quick", "--check"], &["bench", "--rounds", "0"]]
    {
        let told = Ended::of(bare(arguments)).await.usage();
        assert!(told.starts_with("error: "), "{told}");
    }
}
