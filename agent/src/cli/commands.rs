//! What each subcommand does.
#![allow(clippy::print_stdout, reason = "a program's answers go to standard output")]

use std::{
    env, fs,
    future::Future,
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use cloudcore_protocol::{
    JoinToken, NodeName, Timestamp,
    command::{PictureFormat, Quality},
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

#[cfg(feature = "detection")]
use super::args::DetectArgs;
use super::{
    Failure,
    args::{CaptureArgs, CheckArgs, DataDir, InferArgs, JoinArgs, ResetArgs, RunArgs},
    launch,
};
#[cfg(feature = "detection")]
use crate::detect::Detector;
use crate::{
    agent::{Agent, Options},
    apps,
    camera::{self, CameraSource},
    config::{Config, Settings},
    detect,
    identity::Identity,
    join::{self, Join, ServiceManager, Systemd},
    lock::DataDirLock,
    logs::LogRing,
    machine, notify,
    outbox::{self, Outbox},
};

type Done = Result<ExitCode, Failure>;

fn runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // It waits, and hardly ever computes; each thread costs memory of its own.
        .worker_threads(2)
        // The camera and the detector block; so do keys and files, shortly.
        .max_blocking_threads(16)
        .build()
        .context("starting")?;
    let done = runtime.block_on(work);
    // A camera that hangs must not keep the program from ending.
    runtime.shutdown_background();
    done
}

pub(super) fn run(args: RunArgs, logs: LogRing) -> Done {
    if let Some(code) = launch::launch(&args.data_dir.data_dir)? {
        return Ok(code);
    }
    let restart = runtime(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut options = Options::new(&args.data_dir.data_dir);
        options.hub = args.cloudcore_ipport;
        options.logs = logs;
        let mut agent = Agent::start(options).await?;
        let ready = json!({
            "event": "ready",
            "device_id": agent.device_id(),
            "node_name": agent.node_name(),
        });
        // Nobody who reads the line must wait for the next one, and nobody has to read it.
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{ready}").and_then(|()| stdout.flush()).ok();
        notify::ready();
        let restart = agent.restart_wanted();
        let outbox = agent.outbox().clone();
        let broken = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            () = restart => {
                agent.shutdown().await;
                return Ok(true);
            }
            () = say_alive(&outbox) => None,
            broken = agent.broken() => Some(broken),
        };
        tracing::info!("stopping");
        notify::stopping();
        agent.shutdown().await;
        match broken {
            None => Ok(false),
            Some(what) => Err(anyhow!("{what} ended, which is an error of the agent").into()),
        }
    })?;
    if restart { launch::again() } else { Ok(ExitCode::SUCCESS) }
}

/// Tells the service manager that the agent works, as long as its timers and its disk do.
async fn say_alive(outbox: &Outbox) {
    let Some(interval) = notify::interval() else { return std::future::pending().await };
    let mut tick = tokio::time::interval(interval);
    loop {
        tick.tick().await;
        match outbox.id().await {
            Ok(_) => notify::alive(),
            Err(error) => tracing::error!(%error, "the outbox does not answer"),
        }
    }
}

pub(super) fn join(args: JoinArgs) -> Done {
    let unused = args.kubeedge.given();
    if !unused.is_empty() {
        let names = unused.join(", ");
        writeln!(std::io::stderr(), "note: unused, they only mean something to KubeEdge: {names}")
            .ok();
    }
    let token: JoinToken =
        args.token.parse().map_err(|e| Failure::Usage(format!("--token: {e}")))?;
    let labels = args.labels();
    let node_name = match args.edgenode_name {
        Some(name) => name,
        None => own_name()?,
    };
    let data_dir = absolute(&args.data_dir.data_dir)?;
    let join = Join {
        data_dir: data_dir.clone(),
        hub: args.cloudcore_ipport,
        token,
        node_name,
        device_id: args.device_id,
        labels,
        camera: args.camera.as_deref().map(camera_source).transpose()?,
        model: args.model.map(|path| absolute(&path)).transpose()?,
        heartbeat_interval: args.heartbeat_interval,
        update_key: args.update_key,
        allow_reboot: args.allow_reboot,
    };
    let member = runtime(async { Ok(join::join(join).await?) })?;
    println!("joined as node {}, device {}", member.node_name, member.device_id);
    start(&Systemd, args.no_service, &data_dir, args.allow_reboot);
    Ok(ExitCode::SUCCESS)
}

fn camera_source(url: &str) -> Result<CameraSource, Failure> {
    url.parse().map_err(|e| Failure::Usage(format!("--camera: {e}")))
}

/// Has the agent run, or says how to. A machine that is a member is one either way.
fn start(manager: &impl ServiceManager, no_service: bool, data_dir: &Path, allow_reboot: bool) {
    let program = program();
    let by_hand =
        format!("start it with: {} run --data-dir {}", program.display(), data_dir.display());
    if no_service || !manager.available() {
        println!("{by_hand}");
        return;
    }
    match install(manager, &program, data_dir, allow_reboot) {
        Ok(()) => {
            println!("the agent runs, and starts with this machine (cloudcore-agent.service)");
        }
        Err(error) => {
            println!("{by_hand}");
            writeln!(
                std::io::stderr(),
                "note: the agent is not started with the machine: {error:#}"
            )
            .ok();
        }
    }
}

/// Installs the service, and has a restart of the machine go the way that it leaves open.
fn install(
    manager: &impl ServiceManager,
    program: &Path,
    data_dir: &Path,
    allow_reboot: bool,
) -> anyhow::Result<()> {
    if allow_reboot {
        let mut config = Config::load(data_dir)?;
        config.reboot_command = vec!["touch".into(), join::REBOOT_WANTED.into()];
        config.save(data_dir)?;
    }
    Ok(manager.install(program, data_dir, allow_reboot)?)
}

pub(super) fn install_service() -> Done {
    let data_dir = Path::new(crate::config::DEFAULT_DATA_DIR);
    let config = Config::load(data_dir)?;
    if !Systemd.available() {
        return Err(anyhow!("this needs systemd, and root").into());
    }
    install(&Systemd, &program(), data_dir, config.allow_reboot)?;
    println!("the agent runs, and starts with this machine (cloudcore-agent.service)");
    Ok(ExitCode::SUCCESS)
}

/// `cloudcore-agent`, also when this is its front.
fn program() -> PathBuf {
    let own = env::current_exe().unwrap_or_else(|_| "cloudcore-agent".into());
    let agent = own.with_file_name("cloudcore-agent");
    if agent.is_file() { agent } else { own }
}

fn own_name() -> Result<NodeName, Failure> {
    let hostname = machine::platform().hostname.to_ascii_lowercase();
    hostname.parse().map_err(|e| {
        Failure::Usage(format!(
            "--edgenode-name is missing, and this machine's own does not do: {e}"
        ))
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).with_context(|| path.display().to_string()).map_err(Failure::from)
}

pub(super) fn reset(args: &ResetArgs) -> Done {
    let data_dir = &args.data_dir.data_dir;
    if !args.force {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "reset forgets the membership: say --force, there is no terminal to ask at".into(),
            ));
        }
        print!(
            "Forget the membership in {} and what was not delivered? [y/N] ",
            data_dir.display()
        );
        std::io::stdout().flush().ok();
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            println!("nothing was changed");
            return Ok(ExitCode::FAILURE);
        }
    }
    if Systemd.available() && data_dir == Path::new(crate::config::DEFAULT_DATA_DIR) {
        Systemd.remove()?;
    }
    remove_apps(data_dir)?;
    if join::reset(data_dir)? {
        println!(
            "the membership is forgotten; the hub still lists the device until it is removed there"
        );
    } else {
        println!("there was no membership in {}", data_dir.display());
    }
    if args.programs {
        remove_programs()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The apps that the hub had this machine run. Where that can't be done the rest goes on, and who
/// looks after the machine is told.
fn remove_apps(data_dir: &Path) -> Result<(), Failure> {
    let Ok(config) = Config::load(data_dir) else { return Ok(()) };
    let device = config.device_id.clone();
    // Not under an agent that would start them again.
    let _lock = DataDirLock::create(data_dir)?;
    let settings = Settings::new(data_dir, config);
    match runtime(async { Ok(apps::remove_all(&settings).await) })? {
        Ok(0) => {}
        Ok(1) => println!("one app is removed"),
        Ok(many) => println!("{many} apps are removed"),
        Err(error) => {
            let remedy = format!(
                "docker rm -f $(docker ps -aq --filter label={}={device})",
                apps::LABEL_DEVICE
            );
            let note = format!("note: apps may still run here: {error}; to remove them: {remedy}");
            writeln!(std::io::stderr(), "{note}").ok();
        }
    }
    Ok(())
}

/// The agent, and its front where that is a name of it. A package's are its own to remove.
fn remove_programs() -> Result<(), Failure> {
    let program = program();
    let front = program.with_file_name("keadm");
    if fs::read_link(&front).is_ok_and(|link| link == Path::new("cloudcore-agent")) {
        fs::remove_file(&front).with_context(|| front.display().to_string())?;
    }
    fs::remove_file(&program).with_context(|| program.display().to_string())?;
    println!("{} is removed", program.display());
    Ok(())
}

pub(super) fn check(args: &CheckArgs) -> Done {
    let findings = runtime(async {
        Ok(join::check(&args.data_dir.data_dir, args.cloudcore_ipport.clone()).await)
    })?;
    let mut good = true;
    for finding in findings {
        let (mark, detail) = match finding.result {
            Ok(detail) => ("ok  ", detail),
            Err(problem) => {
                good = false;
                ("FAIL", problem)
            }
        };
        println!("{mark}  {:<10}  {detail}", finding.what);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn status(args: &DataDir) -> Done {
    let config = Config::load(&args.data_dir);
    let identity = Identity::load(&args.data_dir)?;
    let config = config?;
    let hubs: Vec<String> = config.hub.iter().map(ToString::to_string).collect();
    let validity = identity.validity();
    let left = validity.not_after.since(Timestamp::now()).as_secs() / 86_400;
    println!("node         {}", config.node_name);
    println!("device       {}", config.device_id);
    println!("hub          {}", hubs.join(", "));
    println!(
        "certificate  until {} ({left} days), renewed from {}",
        validity.not_after,
        validity.renew_at()
    );
    let camera = config.camera.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    println!("camera       {camera}");
    let model = config.model.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    println!("model        {model}");
    println!("detection    {}", if config.detection.enabled { "on" } else { "off" });
    let running = DataDirLock::create(&args.data_dir).is_err();
    println!("agent        {}", if running { "running" } else { "not running" });
    if args.data_dir.join(outbox::DATABASE_FILE).exists() {
        let summary = outbox::summary(&args.data_dir)?;
        let waiting: Vec<String> = ["commands", "status", "detections"]
            .iter()
            .map(|lane| format!("{} {lane}", summary.waiting.get(lane).unwrap_or(&0)))
            .collect();
        println!(
            "outbox       {}, {} pictures waiting, {} dropped",
            waiting.join(", "),
            summary.pictures,
            summary.dropped
        );
        println!("commands     {} not ended", summary.unfinished_commands);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn capture(args: &CaptureArgs) -> Done {
    let format = match args.out.extension().and_then(|ending| ending.to_str()) {
        Some("jpg" | "jpeg") => PictureFormat::Jpg,
        Some("png") => PictureFormat::Png,
        _ => return Err(Failure::Usage("--out must end in .jpg or .png".into())),
    };
    let quality = Quality::try_from(args.quality).map_err(|e| Failure::Usage(e.into()))?;
    let frame = camera::open(&camera_source(&args.camera)?)?.capture()?;
    let file = camera::encode(&frame.image, format, quality, args.resolution)?;
    fs::write(&args.out, &file).with_context(|| args.out.display().to_string())?;
    let said = json!({
        "file": args.out,
        "size_bytes": file.len(),
        "camera_width": frame.image.width(),
        "camera_height": frame.image.height(),
        "timestamp": frame.captured_at,
    });
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn infer(args: &InferArgs) -> Done {
    detect::serve(&args.model, args.memory_mb.into())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "detection")]
pub(super) fn detect(args: &DetectArgs) -> Done {
    let detector = Detector::load(&args.model)?;
    let description = detector.description();
    let least = args.confidence.map_or(description.confidence, |score| score.get());
    for path in &args.pictures {
        let picture = image::open(path).with_context(|| path.display().to_string())?.into_rgb8();
        if let Some(times) = args.bench {
            let report = detect::bench(&detector, &picture, times)?;
            println!("{}", serde_json::to_string(&report)?);
            continue;
        }
        let begun = std::time::Instant::now();
        let found = detector.detect(&picture, least)?;
        let took = begun.elapsed();
        let objects: Vec<_> = found
            .iter()
            .map(|object| {
                json!({
                    "object": object.label.as_ref(),
                    "confidence": object.confidence,
                    "bounding_box": object.bbox,
                })
            })
            .collect();
        let line = json!({
            "picture": path,
            "width": picture.width(),
            "height": picture.height(),
            "model": description.name,
            "milliseconds": took.as_secs_f64() * 1e3,
            "detections": objects,
        });
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
