//! The official SDKs read what the simulator emits.

use std::path::Path;
use std::process::Command;

use creditd::clock::Clock;
use creditd::simulator::Options;

use super::Account;

/// Both official SDKs read what is emitted. `CREDITD_TEST_PYTHON` names an interpreter with `stripe` 16.1.0 and
/// `CREDITD_TEST_NODE_MODULES` a folder with `stripe` 23.1.0; without them the test says that it skipped.
#[tokio::test]
async fn sdk_reads_what_the_simulator_emits() {
    let account = Account::start({
        let mut options = Options::new(Clock::system());
        options.webhook_secrets = vec!["whsec_sdk".to_owned()];
        options
    })
    .await;
    let base = account.simulator.base_url().to_owned();
    for (program, script, variable, version) in [
        (setting("CREDITD_TEST_PYTHON"), "simulator_objects.py", "CREDITD_TEST_PYTHON", "16.1.0"),
        (
            setting("CREDITD_TEST_NODE_MODULES").map(|_| "node".to_owned()),
            "simulator_objects.mjs",
            "CREDITD_TEST_NODE_MODULES",
            "23.1.0",
        ),
    ] {
        let Some(program) = program else {
            println!("skipped {script}: {variable} is not set (stripe {version} wanted)");
            continue;
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script);
        let base = base.clone();
        let output = tokio::task::spawn_blocking(move || Command::new(program).arg(path).arg(base).output().unwrap());
        let output = output.await.unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{stdout}\n{stderr}");
        print!("{script}: {stdout}");
        assert!(stdout.contains("read by stripe"), "{script} checked nothing: {stdout}");
    }
}

#[expect(clippy::disallowed_methods, reason = "where the official SDKs are is a fact of the machine that tests")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
