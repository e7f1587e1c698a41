//! The creditd binary: parse arguments, load the configuration, start the log, hand over to `commands`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use creditd::commands::verify::{Verdict, VerifyArgs};
use creditd::commands::{self, Exit, Usage};
use creditd::config::{Config, ConfigError, LogFormat, process_environment};

/// A request is some hundred small allocations, made by one thread and freed by another: the system's allocator spent a
/// sixth of the daemon's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Credits between Stripe and your app.
#[derive(Parser)]
#[command(name = "creditd", version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The whole job on this machine: embedded Postgres, simulated Stripe, sample catalogue, a tour. The default.
    Dev(commands::dev::DevArgs),
    /// The daemon, on `DATABASE_URL`.
    Serve,
    /// Brings the schema of `DATABASE_URL` up to date.
    Migrate,
    /// Shows or applies a catalogue file.
    #[command(subcommand)]
    Catalog(commands::catalog::CatalogCommand),
    /// Makes, lists and revokes API keys.
    #[command(subcommand)]
    Keys(commands::keys::KeysCommand),
    /// Gives goodwill credits, with a reason.
    Grant(commands::grant::GrantArgs),
    /// Writes ledger or grants as CSV or JSON Lines, from one snapshot.
    Export(commands::export::ExportArgs),
    /// Checks the laws on the whole database; exit code 3 on a difference.
    Verify(VerifyArgs),
    /// Compares Stripe's events and objects with the books; exit code 1 when something is missing and --repair is not given.
    Reconcile(commands::reconcile::ReconcileArgs),
    /// Shows what a stored event means and what is booked of it; with --apply works on it once more.
    Replay(commands::replay::ReplayArgs),
    /// Asks the daemon on this machine (`CREDITD_LISTEN`) how it is; exit code 1 when it is not well.
    Health(commands::health::HealthArgs),
    /// Measures this machine side by side with what creditd replaces; exit code 3 when a count does not agree.
    Bench(commands::bench::BenchArgs),
    /// Tells for each top-up rule of a customer what holds a charge back now.
    Why(commands::why::WhyArgs),
    /// Prints the API as `OpenAPI` 3.1.
    Openapi,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(&process_environment) {
        Ok(config) => config,
        Err(error) => return failed(&error.into()),
    };
    let command = cli.command.unwrap_or(Command::Dev(commands::dev::DevArgs::default()));
    if let Err(error) = start_log(&config, &command) {
        return failed(&error.into());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(command, config)) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Differences) => ExitCode::from(3),
        Ok(Exit::Missing) => ExitCode::from(1),
        Err(error) => failed(&error),
    }
}

/// Says what went wrong, in one place, and which kind it is.
fn failed(error: &anyhow::Error) -> ExitCode {
    let usage = error.is::<Usage>() || error.is::<ConfigError>() || error.is::<commands::export::ExportUsageError>();
    eprintln!("creditd: {error:#}");
    ExitCode::from(if usage { 2 } else { 1 })
}

/// The daemon tells what it does, and so does a comparison with Stripe, which may take an hour; the other commands say it themselves and log only what goes wrong.
fn start_log(config: &Config, command: &Command) -> Result<(), ConfigError> {
    let tells = matches!(command, Command::Serve | Command::Reconcile(_));
    let own = if tells { "info,sqlx=warn" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_new(config.log_filter.as_deref().unwrap_or(own))
        .map_err(|error| ConfigError { name: "RUST_LOG".to_owned(), why: error.to_string() })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A file or a pipe is read later, and searched: no colours in it.
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}

async fn run(command: Command, config: Config) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout();
    match command {
        Command::Dev(args) => commands::dev::run(config, args, &mut out).await?,
        Command::Serve => commands::serve::run(config).await?,
        Command::Migrate => {
            let store = commands::serve::connect(&config).await?;
            let pending = store.pending_migrations().await?;
            store.migrate().await?;
            writeln!(out, "{pending} migrations applied; the schema is up to date")?;
        }
        Command::Catalog(command) => {
            commands::catalog::run(&commands::serve::connect(&config).await?, command, &mut out).await?;
        }
        Command::Keys(command) => {
            let store = commands::serve::connect(&config).await?;
            let instance = store.instance().await?;
            let livemode = match instance {
                Some(instance) => instance.livemode,
                None => config.livemode()?.unwrap_or(false),
            };
            commands::keys::run(&store, command, livemode, &mut out).await?;
        }
        Command::Grant(args) => {
            commands::grant::run(&commands::serve::connect(&config).await?, &args, &mut out).await?;
        }
        Command::Export(args) => {
            commands::export::run(&commands::serve::connect(&config).await?, &args, &mut out).await?;
        }
        Command::Verify(args) => {
            let store = commands::serve::connect(&config).await?;
            let verdict = commands::verify::run(&store, &args, &mut out).await?;
            return Ok(if matches!(verdict, Verdict::Holds) { Exit::Done } else { Exit::Differences });
        }
        Command::Reconcile(args) => {
            return commands::reconcile::run(&commands::serve::connect(&config).await?, &config, &args, &mut out).await;
        }
        Command::Replay(args) => {
            commands::replay::run(&commands::serve::connect(&config).await?, &config, &args, &mut out).await?;
        }
        Command::Health(args) => commands::health::run(config.listen, args, &mut out)?,
        Command::Bench(args) => return commands::bench::run(config, args, &mut out).await,
        Command::Why(args) => {
            commands::why::run(&commands::serve::connect(&config).await?, &args, &mut out).await?;
        }
        Command::Openapi => commands::openapi::run(&mut out)?,
    }
    Ok(Exit::Done)
}
