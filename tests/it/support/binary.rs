//! The real binary: its commands run to their end, and daemons that can be killed.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::app::WEBHOOK_SECRET;
use super::database::fresh_url;

/// The key every daemon here imports.
pub const ADMIN: &str = "it-admin-0123456789abcdef";
/// The sample catalogue, as a file.
pub const CATALOG_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/catalog.toml");
/// The test server has fsync off and its role is a superuser.
const CONFIG: &str = "[stripe]\nmode = \"test\"\n[database]\nallow_unsafe = true\n";
/// Longest wait for a process to do what it was told, in steps of 20 ms: a minute.
const STEPS: u32 = 3_000;
const STEP: Duration = Duration::from_millis(20);

/// A database and a configuration that processes share.
pub struct Site {
    pub url: String,
    pub folder: TempDir,
}

impl Site {
    pub async fn new() -> Self {
        Self::on(fresh_url().await)
    }

    /// On a database that is there.
    pub fn on(url: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("creditd.toml"), CONFIG).unwrap();
        Self { url, folder }
    }

    /// The binary with the site's configuration and nothing else of this process's environment that concerns it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command
            .env("DATABASE_URL", &self.url)
            .env("CREDITD_CONFIG", self.folder.path().join("creditd.toml"))
            .env("CREDITD_API_KEYS", format!("admin:{ADMIN}"))
            .env("CREDITD_CATALOG", CATALOG_FILE)
            .env("STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRET)
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments)).await
    }

    /// Starts a daemon and waits until it answers.
    pub async fn serve(&self, listen: SocketAddr) -> Running {
        let mut command = self.command(&["serve"]);
        command.env("CREDITD_LISTEN", listen.to_string());
        let running = Running::start(command, &self.folder.path().join(format!("log-{}", listen.port())));
        running.until_it_answers(listen).await
    }
}

/// The binary without any configuration.
pub fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_creditd"));
    command.env_clear();
    for kept in ["PATH", "HOME", "CREDITD_PG_BIN", "CREDITD_PG_CACHE"] {
        if let Some(value) = creditd::config::process_environment(kept) {
            command.env(kept, value);
        }
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub async fn of(mut command: Command) -> Self {
        let limit = Duration::from_secs(90);
        let Output { status, stdout, stderr } =
            tokio::time::timeout(limit, command.output()).await.expect("the command ends").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// What a success printed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }

    /// What bad usage was told on standard error.
    pub fn usage(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(2), ""), "{self:#?}");
        self.err
    }
}

/// A process that goes on until it is told otherwise; what it says goes to a file.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(mut command: Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log: log.to_owned() }
    }

    pub async fn until_it_answers(mut self, listen: SocketAddr) -> Self {
        let client = client();
        for _ in 0..STEPS {
            if is_up(&client, listen).await {
                return self;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}", self.said());
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("it does not answer on {listen}: {}", self.said());
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal and waits for the end; its exit code, none when a signal ended it.
    pub async fn end(mut self, signal: Signal) -> Option<i32> {
        let pid = i32::try_from(self.child.id().expect("it runs")).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        let ended = tokio::time::timeout(STEP * STEPS, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {}", self.said())).unwrap().code()
    }

    /// `kill -9`: no goodbye.
    pub async fn kill(self) {
        assert_eq!(self.end(Signal::SIGKILL).await, None, "only the kill ends it");
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A client that gives up rather than hang.
pub fn client() -> reqwest::Client {
    // Whoever comes first installs it; the others find it there.
    let _: Result<(), _> = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
}

pub async fn is_up(client: &reqwest::Client, listen: SocketAddr) -> bool {
    let answer = client.get(format!("http://{listen}/healthz")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// One request with the admin key: status and body, or an error that leaves the outcome unknown.
pub async fn call(
    client: &reqwest::Client,
    listen: SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
) -> reqwest::Result<(u16, Value)> {
    let url = format!("http://{listen}{path}");
    let answer = client.request(method.parse().unwrap(), url).bearer_auth(ADMIN).json(body).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}
