//! `cloudcore-hub`: arguments, settings, signals.
#![allow(clippy::print_stdout, reason = "standard output is this program's interface")]

use std::{
    fs::File,
    io::{IsTerminal as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use cloudcore_hub::{
    BackupOrder, Include, Role,
    app::{self, Hub, Place},
    config::{self, Options},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub
    Serve(Box<Serve>),
    /// Write a backup into a file, whether the hub runs or not
    Backup(BackupArgs),
    /// Put a backup back, with the hub's keys where they are in it; the hub must be stopped
    Restore(RestoreArgs),
    /// Ask the hub of this machine how it is: the exit code is 0 where it takes requests
    Health(HealthArgs),
    /// Print the OpenAPI document of this release
    Openapi,
    /// Manage users, whether the hub runs or not
    #[command(subcommand)]
    Admin(Admin),
}

#[derive(Subcommand)]
enum Admin {
    /// Make a user; its password is read from standard input
    CreateUser(UserArgs),
    /// Give a user another password, read from standard input
    SetPassword(UserArgs),
}

/// Which hub.
#[derive(clap::Args)]
struct PlaceArgs {
    /// The hub's data directory
    #[arg(long, env = "CLOUDCORE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// Its database, where that is not in the data directory
    #[arg(long, env = "CLOUDCORE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<SecretString>,
}

#[derive(clap::Args)]
struct BackupArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Where to write it; - is standard output
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// What it holds: config, tokens, devices, users, commands, detections, webhooks,
    /// apps, certificates
    /// [default: all of it]
    #[arg(long, value_delimiter = ',')]
    include: Vec<Include>,
    /// A file whose first line opens the backup on any hub [default: this hub's own key opens it]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct RestoreArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The backup; - is standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// A file whose first line opens it, where it was made with one
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct HealthArgs {
    /// The hub's settings, for where it listens
    #[arg(long, env = "CLOUDCORE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where it listens [default: 0.0.0.0:5000]
    #[arg(long, env = "CLOUDCORE_HTTP", value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Whether it answers at all, which it does while its database is away
    #[arg(long)]
    alive: bool,
}

#[derive(clap::Args)]
struct UserArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Name of the user
    #[arg(long)]
    username: String,
    /// What a new user may do: viewer, operator or admin
    #[arg(long, default_value = "viewer")]
    role: Role,
}

impl PlaceArgs {
    fn place(&self) -> anyhow::Result<Place<'_>> {
        let database = self.database_url.as_ref().map(config::database).transpose()?;
        Ok(Place { data_dir: &self.data_dir, database })
    }
}

#[derive(clap::Args)]
struct Serve {
    /// Settings as a TOML file; flags and environment come before it
    #[arg(long, env = "CLOUDCORE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let mut filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    // The MQTT crates log each packet, a password among them, and kube's client an answer that it
    // can't read; what matters of it the hub says.
    for quiet in [
        "rmqtt=error",
        "rmqtt_net=error",
        "rmqtt_codec=error",
        "rumqttc=error",
        "kube_client=error",
    ] {
        if let Ok(directive) = quiet.parse() {
            filter = filter.add_directive(directive);
        }
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let done = match command {
        Command::Serve(serve) => run(*serve),
        Command::Backup(backup) => write_backup(backup),
        Command::Restore(restore) => restore_backup(&restore),
        Command::Health(args) => health(&args),
        Command::Openapi => openapi(),
        Command::Admin(admin) => administer(admin),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cloudcore-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn administer(admin: Admin) -> anyhow::Result<()> {
    install_tls()?;
    let mut password = String::new();
    std::io::stdin().read_line(&mut password).context("the password")?;
    let password = password.trim_end_matches(['\r', '\n']);
    match admin {
        Admin::CreateUser(user) => {
            app::create_user(user.place.place()?, &user.username, password, user.role).await?;
        }
        Admin::SetPassword(user) => {
            app::set_password(user.place.place()?, &user.username, password).await?;
        }
    }
    Ok(())
}

/// The first line of a file, or nothing where none was named.
fn passphrase(file: Option<&PathBuf>) -> anyhow::Result<Option<SecretString>> {
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let line = text.lines().next().unwrap_or_default();
    anyhow::ensure!(line.len() >= 8, "{}: a passphrase has at least 8 bytes", file.display());
    Ok(Some(line.to_owned().into()))
}

#[tokio::main]
async fn write_backup(args: BackupArgs) -> anyhow::Result<()> {
    install_tls()?;
    let mut include = args.include;
    if include.is_empty() {
        include = Include::ALL.to_vec();
    }
    include.sort_unstable();
    include.dedup();
    let order = BackupOrder {
        name: "backup".to_owned(),
        description: None,
        include,
        passphrase: passphrase(args.passphrase_file.as_ref())?,
    };
    if order.passphrase.is_none() {
        eprintln!(
            "cloudcore-hub: only this hub's hub.key opens this backup; keep it elsewhere too"
        );
    }
    if !is_stream(&args.output) {
        return Ok(app::write_backup(args.place.place()?, order, &args.output).await?);
    }
    let dir = beside(&args.place.data_dir)?;
    let file = dir.path().join("backup");
    app::write_backup(args.place.place()?, order, &file).await?;
    copy(move || {
        std::io::copy(&mut File::open(file)?, &mut std::io::stdout())?;
        std::io::stdout().flush()
    })
    .await
    .context("standard output")
}

fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// A folder on the disk of the data for what passes through a pipe; a hub removes what a crash
/// leaves of it.
fn beside(data_dir: &Path) -> anyhow::Result<tempfile::TempDir> {
    tempfile::TempDir::with_prefix_in("backup-", data_dir)
        .with_context(|| data_dir.display().to_string())
}

async fn copy(bytes: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    tokio::task::spawn_blocking(bytes).await?
}

#[tokio::main]
async fn restore_backup(args: &RestoreArgs) -> anyhow::Result<()> {
    install_tls()?;
    let passphrase = passphrase(args.passphrase_file.as_ref())?;
    let mut input = args.input.clone();
    let mut dir = None;
    if is_stream(&input) {
        // It is read twice: checked, and then applied.
        let data_dir = &args.place.data_dir;
        std::fs::create_dir_all(data_dir).with_context(|| data_dir.display().to_string())?;
        input = dir.insert(beside(data_dir)?).path().join("backup");
        let mut file = File::create_new(&input).context("a file")?;
        copy(move || std::io::copy(&mut std::io::stdin(), &mut file).map(|_| ()))
            .await
            .context("standard input")?;
    }
    let (include, rows) = app::restore_backup(args.place.place()?, &input, passphrase).await?;
    let restored = serde_json::json!({ "event": "restored", "include": include, "rows": rows });
    println!("{restored}");
    Ok(())
}

/// How long the hub may take to say how it is.
const ASKED: Duration = Duration::from_secs(5);

/// For probes: over loopback, so that it needs no token, no TLS and no share of anybody's requests.
#[tokio::main(flavor = "current_thread")]
async fn health(args: &HealthArgs) -> anyhow::Result<()> {
    install_tls()?;
    let settings = args.config.as_deref().map(Options::from_file).transpose()?;
    let http = args.http.or(settings.and_then(|settings| settings.http));
    let mut address = http.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 5000)));
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    // Nothing is read for `/`, and an answer is all that is wanted of it.
    let path = if args.alive { "/" } else { "/api/health" };
    let client = reqwest::Client::builder().no_proxy().timeout(ASKED).build()?;
    let answer = client.get(format!("http://{address}{path}")).send().await;
    let status = answer.with_context(|| format!("no hub answers at {address}"))?.status();
    // Too many requests from here, as a proxy beside the hub may make: it takes those of others.
    let takes = status.is_success() || status == reqwest::StatusCode::TOO_MANY_REQUESTS;
    anyhow::ensure!(args.alive || takes, "the hub answers {status}");
    Ok(())
}

/// The routes describe themselves as they are put together: a hub that nobody can reach, and that
/// leaves nothing, is the one that knows them all.
#[tokio::main]
async fn openapi() -> anyhow::Result<()> {
    install_tls()?;
    let dir = tempfile::TempDir::with_prefix("cloudcore-openapi-").context("a folder")?;
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Options {
        data_dir: Some(dir.path().to_owned()),
        http: Some(local),
        quic: Some(local),
        mqtt: Some(local),
        ..Options::default()
    }
    .check()?;
    // Nobody logs in: whatever is long enough will do, and nothing is printed.
    config.admin_password = Some("a hub that is never asked".to_owned().into());
    let hub = Hub::start(config).await?;
    println!("{:#}", hub.openapi);
    hub.stop().await;
    dir.close().context("the temporary folder")
}

fn install_tls() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("TLS is set up twice"))
}

#[tokio::main]
async fn run(serve: Serve) -> anyhow::Result<()> {
    install_tls()?;
    let mut options = serve.options;
    if let Some(path) = &serve.config {
        options = options.over(Options::from_file(path)?);
    }
    let mut config = options.check()?;
    config.admin_password = std::env::var("CLOUDCORE_ADMIN_PASSWORD").ok().map(Into::into);

    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals")?;
    let mut hub = Hub::start(config).await?;
    if let Some(password) = &hub.admin_password {
        eprintln!(
            "cloudcore-hub: made the user admin with the password {}",
            password.expose_secret()
        );
        eprintln!("cloudcore-hub: it is not shown again");
    }
    let ready = serde_json::json!({
        "event": "ready",
        "http": hub.http.to_string(),
        "https": hub.https.map(|address| address.to_string()),
        "quic": hub.quic.to_string(),
        "mqtt": hub.mqtt.map(|address| address.to_string()),
        "mqtts": hub.mqtts.map(|address| address.to_string()),
    });
    println!("{ready}");
    std::io::stdout().flush().context("standard output")?;

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => hub.reload(),
            () = hub.failed() => {
                hub.stop().await;
                anyhow::bail!("a part of the hub failed; the log says which");
            }
        }
    }
    tracing::info!("stopping");
    hub.stop().await;
    Ok(())
}
