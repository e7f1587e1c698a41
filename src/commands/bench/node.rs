//! What webhooks are compared with: a Node server with Stripe's own library, storing into the same Postgres.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::process::Serving;

const SERVER: &str = include_str!("../../../benches/webhook_server.js");
/// The packages that are installed when none are named; pinned, so that runs compare.
const PACKAGES: [&str; 2] = ["stripe@23.1.0", "pg@8.23.1"];
/// Longest that an installation may take.
const INSTALL_BOUND: Duration = Duration::from_mins(2);

/// A Node with both packages.
pub(super) struct Node {
    modules: PathBuf,
    /// As it says itself.
    pub(super) version: String,
}

impl Node {
    /// Uses the packages of a folder, or installs them into the temporary one; the error says why there is no Node server.
    pub(super) async fn find(named: Option<&Path>, may_install: bool, folder: &Path) -> Result<Self, String> {
        let version = said(Command::new("node").arg("--version")).await.map_err(|why| format!("node: {why}"))?;
        let modules = match named {
            Some(named) => std::path::absolute(named).map_err(|error| error.to_string())?,
            None if may_install => install(folder).await?,
            None => return Err("nothing is installed for a quick run; --node-modules names the packages".to_owned()),
        };
        for package in ["stripe", "pg"] {
            if !modules.join(package).is_dir() {
                return Err(format!("{} has no package {package}", modules.display()));
            }
        }
        Ok(Self { modules, version })
    }

    /// Starts the server.
    pub(super) async fn start(&self, folder: &Path, database_url: &str, secret: &str) -> anyhow::Result<Serving> {
        let file = folder.join("webhook_server.js");
        std::fs::write(&file, SERVER)?;
        let mut command = Command::new("node");
        command.arg(file).env("NODE_PATH", &self.modules).env("NODE_ENV", "production");
        command.env("DATABASE_URL", database_url).env("WEBHOOK_SECRET", secret);
        Serving::node(folder, command).await
    }
}

async fn install(folder: &Path) -> Result<PathBuf, String> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"])
        .args(PACKAGES)
        .arg("--prefix")
        .arg(folder);
    said(&mut npm).await.map_err(|why| format!("npm could not install {}: {why}", PACKAGES.join(" and ")))?;
    Ok(folder.join("node_modules"))
}

/// What a program printed, or why it failed.
async fn said(command: &mut Command) -> Result<String, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(INSTALL_BOUND, command.output()).await {
        Err(_) => Err(format!("it did not end within {} s", INSTALL_BOUND.as_secs())),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Err("it is not here".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(ended)) if ended.status.success() => Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned()),
        Ok(Ok(ended)) => Err(format!("{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim())),
    }
}
