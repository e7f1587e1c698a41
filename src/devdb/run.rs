//! Runs a client to its end within a bounded time and says in one line why it failed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::place::Identity;

/// Long enough to fetch 40 MB over a slow line; a client that hangs must not hang us.
pub(super) const FETCH_BOUND: Duration = Duration::from_mins(5);

/// Long enough for anything that only reads the disk, on a busy machine.
pub(super) const LOCAL_BOUND: Duration = Duration::from_mins(1);

/// What the server and `initdb` see of the environment is only this: no secrets of ours, no `PG*` of the user's.
pub(super) const SERVER_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of a failing client's last words is repeated.
const LAST_LINES: usize = 6;

/// A program with its arguments, in the user's own environment.
pub(super) fn client<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// A program of the server's, run as the server's user in an environment of our own.
pub(super) fn as_server(program: &Path, identity: Option<&Identity>, library_dirs: &[PathBuf]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", SERVER_PATH).env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
    if let Ok(library_path) = std::env::join_paths(library_dirs)
        && !library_path.is_empty()
    {
        command.env("LD_LIBRARY_PATH", library_path);
    }
    if let Some(identity) = identity {
        // As root this also clears the supplementary groups.
        command.uid(identity.uid).gid(identity.gid);
    }
    command
}

/// What the program wrote to its output, or one line that names it and says why it failed.
pub(super) async fn output(mut command: Command, bound: Duration) -> Result<String, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = match tokio::time::timeout(bound, command.output()).await {
        Err(_) => return Err(format!("{name} did not end within {} s", bound.as_secs())),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Err(format!("{name} is not here")),
        Ok(Err(error)) => return Err(format!("{name} cannot be run: {error}")),
        Ok(Ok(ended)) => ended,
    };
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let said = [ended.stdout, ended.stderr].concat();
    Err(format!("{name}: {}: {}", ended.status, last_lines(&String::from_utf8_lossy(&said), LAST_LINES, " / ")))
}

/// The last lines of a text that say something.
pub(super) fn last_lines(text: &str, count: usize, between: &str) -> String {
    let mut lines: Vec<&str> = text.lines().rev().map(str::trim).filter(|line| !line.is_empty()).take(count).collect();
    lines.reverse();
    lines.join(between)
}
