//! What is typed: `cloudcore-agent`, and `keadm` as its front.

mod args;
mod commands;
mod launch;

use std::{ffi::OsString, io::Write as _, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

#[cfg(feature = "detection")]
use args::DetectArgs;
use args::{CaptureArgs, DataDir, InferArgs, RunArgs};
pub use args::{CheckArgs, JoinArgs, ResetArgs};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    confine::{Confinement, NOT_BEGUN},
    logs::LogRing,
};

/// The CloudCore edge agent.
#[derive(Debug, Parser)]
#[command(name = "cloudcore-agent", version, about, long_about = None)]
struct AgentCli {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Run the agent of a node that has joined.
    Run(RunArgs),
    /// Make this machine a member of a hub.
    Join(Box<JoinArgs>),
    /// Forget the membership, its settings, and what was not delivered.
    Reset(ResetArgs),
    /// Try what this machine needs to be a member.
    Check(CheckArgs),
    /// Show membership, certificate and outbox.
    Status(DataDir),
    /// Have systemd run the agent.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Take a picture.
    Capture(CaptureArgs),
    /// Find objects in pictures; one JSON line each.
    #[cfg(feature = "detection")]
    Detect(DetectArgs),
    /// Run a model for the agent, in a process of its own.
    #[command(hide = true)]
    Infer(InferArgs),
    /// Become another program, with fewer rights.
    #[command(hide = true)]
    Confine(Confinement),
}

/// What can be done with the service.
#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Install or renew it, and start it anew, as root.
    Install,
}

/// Join, reset and check an edge node, with the flags of KubeEdge's keadm.
///
/// This is the front of `cloudcore-agent` and not KubeEdge's program.
#[derive(Debug, Parser)]
#[command(name = "keadm", version, long_about = None)]
struct KeadmCli {
    #[command(subcommand)]
    command: KeadmCommand,
}

#[derive(Debug, Subcommand)]
enum KeadmCommand {
    /// Make this machine a member of a hub.
    Join(Box<JoinArgs>),
    /// Forget the membership, its settings, and what was not delivered.
    Reset(ResetArgs),
    /// Try what this machine needs to be a member.
    Check(CheckArgs),
    /// Run a model for `check`, in a process of its own.
    #[command(hide = true)]
    Infer(InferArgs),
}

/// Why a program ends without success.
#[derive(Debug)]
pub enum Failure {
    /// What was typed makes no sense: exit code 2.
    Usage(String),
    /// It did not work: exit code 1.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// `cloudcore-agent` with these arguments, from the program's name on; `keadm` under that name.
pub fn agent(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == "keadm") {
        return keadm(arguments);
    }
    let cli = match parse::<AgentCli>(arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let AgentCommand::Confine(confinement) = &cli.command {
        // Without a log of its own: its output is the program's.
        complain(&confinement.become_it().to_string());
        return ExitCode::from(NOT_BEGUN);
    }
    main(|logs| match cli.command {
        AgentCommand::Run(args) => commands::run(args, logs),
        AgentCommand::Join(args) => commands::join(*args),
        AgentCommand::Reset(args) => commands::reset(&args),
        AgentCommand::Check(args) => commands::check(&args),
        AgentCommand::Status(args) => commands::status(&args),
        AgentCommand::Service(ServiceCommand::Install) => commands::install_service(),
        AgentCommand::Capture(args) => commands::capture(&args),
        #[cfg(feature = "detection")]
        AgentCommand::Detect(args) => commands::detect(&args),
        AgentCommand::Infer(args) => commands::infer(&args),
        AgentCommand::Confine(_) => Ok(ExitCode::from(NOT_BEGUN)),
    })
}

/// `keadm` with these arguments, from the program's name on.
pub fn keadm(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse::<KeadmCli>(arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    main(|_| match cli.command {
        KeadmCommand::Join(args) => commands::join(*args),
        KeadmCommand::Reset(args) => commands::reset(&args),
        KeadmCommand::Check(args) => commands::check(&args),
        KeadmCommand::Infer(args) => commands::infer(&args),
    })
}

fn parse<T: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    T::try_parse_from(arguments).map_err(|error| {
        // Help and version are errors to clap, and no errors to anybody else.
        error.print().ok();
        if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
    })
}

fn main(run: impl FnOnce(LogRing) -> Result<ExitCode, Failure>) -> ExitCode {
    if let Err(_other) = rustls::crypto::ring::default_provider().install_default() {
        // Somebody was first, with the same provider: there is only one in this program.
    }
    let logs = LogRing::default();
    tracing_subscriber::registry()
        .with(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,tract=warn")),
        )
        .with(
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())),
        )
        .with(logs.clone())
        .init();
    match run(logs) {
        Ok(code) => code,
        Err(Failure::Usage(problem)) => {
            complain(&problem);
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// One line, whatever the error holds.
fn complain(problem: &str) {
    let line: Vec<&str> = problem.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // A closed stderr leaves only the exit code to tell.
    writeln!(std::io::stderr(), "error: {}", line.join(" ")).ok();
}

#[cfg(test)]
mod tests;
