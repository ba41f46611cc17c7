//! The load generator: `make load`. Thousands of agents in one process, each with the agent's own
//! link and its own outbox, beside one hub of this machine; it prints what the hub took, a table and,
//! with `--json FILE`, the same for programs. It ends with 1 where a target is missed.
//!
//! `--agents N` (10000), `--seconds S` of full load (600), `--detections R` a second (100),
//! `--commands R` a second (20), `--heartbeat S` (10). The agents' outboxes are in memory
//! (`/dev/shm`): a disk that is shared by ten thousand machines is none of theirs.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measuring program that is surprised has nothing to report"
)]

mod commands;
mod member;
#[path = "../it/postgres.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod postgres;
mod process;
mod table;
#[path = "../it/volume.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod volume;
#[path = "../it/world.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod world;

use std::{
    collections::HashSet,
    process::ExitCode,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use cloudcore_agent::logs::LogRing;
use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    commands::Trips,
    member::{Common, Member},
    process::Process,
    table::Table,
    world::World,
};

/// Nodes that join at once.
const JOINING: usize = 64;
/// How long the hub is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(10);
/// How long its idle time is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// Commands to an otherwise idle hub.
const ALONE: usize = 300;
/// A burst's commands that are under way at once.
const BURST: usize = 256;
/// The longest that all may need to come back.
const STORM: Duration = Duration::from_secs(120);

/// How much of all there is to be.
struct Load {
    agents: usize,
    seconds: u64,
    detections: u64,
    commands: u64,
    heartbeat: Duration,
    json: Option<String>,
}

impl Load {
    fn from_arguments() -> Self {
        let mut load = Self {
            agents: 10_000,
            seconds: 600,
            detections: 100,
            commands: 20,
            heartbeat: Duration::from_secs(10),
            json: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
            let number = || value.parse().unwrap_or_else(|_| panic!("{name} needs a number"));
            match name.as_str() {
                "--agents" => load.agents = usize::try_from(number()).expect("a count"),
                "--seconds" => load.seconds = number(),
                "--detections" => load.detections = number(),
                "--commands" => load.commands = number(),
                "--heartbeat" => load.heartbeat = Duration::from_secs(number()),
                "--json" => load.json = Some(value),
                _ => panic!("what is {name}?"),
            }
        }
        load
    }
}

fn main() -> ExitCode {
    let most = process::raise_limits();
    let load = Load::from_arguments();
    assert!(
        load.agents as u64 <= most,
        "this process may open files for {most} agents: raise the limit (ulimit -Hn), or ask for \
         fewer (--agents)"
    );
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let table = runtime.block_on(run(&load));
    if let Some(path) = &load.json {
        std::fs::write(path, table.json().to_string()).expect("a file");
    }
    // Ten thousand outboxes are not closed one by one.
    runtime.shutdown_background();
    if table.all_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(load: &Load) -> Table {
    let mut table = Table::new(format!(
        "{} agents, a heartbeat every {} s, {} detections and {} commands a second for {} s",
        load.agents,
        load.heartbeat.as_secs(),
        load.detections,
        load.commands,
        load.seconds
    ));
    let mut world = World::start().await;
    let hub = Process(world.hub_pid());
    let folder = TempDir::with_prefix_in("cloudcore-load-", "/dev/shm").expect("memory");
    let (heartbeat_in, heartbeat) = watch::channel(Duration::ZERO);
    let common = Common {
        hub: world.quic.parse().expect("an address"),
        cancel: CancellationToken::new(),
        heartbeat,
        beats: Arc::new(AtomicU64::new(0)),
        logs: LogRing::default(),
    };

    // One device, for what a command needs where nothing else goes on.
    let mut fleet = vec![join(&world, &folder, 0, load, &common).await];
    everybody(&fleet, SETTLE * 3).await;
    let trips = Trips::watch(&world).await;
    trips.one_by_one(&world, &fleet[0].name, ALONE).await;
    let alone = trips.taken();
    tokio::time::sleep(SETTLE).await;
    let base = hub.memory();

    let begun = Instant::now();
    let joined: Vec<Member> = stream::iter(1..load.agents)
        .map(|n| join(&world, &folder, n, load, &common))
        .buffer_unordered(JOINING)
        .collect()
        .await;
    fleet.extend(joined);
    everybody(&fleet, STORM).await;
    let took = begun.elapsed().as_secs_f64();
    table.figure("joins", "a second", load.agents as f64 / took, None);

    tokio::time::sleep(SETTLE).await;
    let each = |bytes: f64| (bytes - base) / load.agents as f64 / 1024.0;
    table.figure("memory an agent, idle", "KB", each(hub.memory()), Some(32.0));
    let before = hub.used();
    tokio::time::sleep(WATCHED).await;
    let idle = hub.part_since(before);
    table.figure("idle, of a core", "%", idle, Some(6.0));

    let sessions = generations(&fleet);
    heartbeat_in.send_replace(load.heartbeat);
    tokio::time::sleep(load.heartbeat).await;
    let before = hub.used();
    tokio::time::sleep(WATCHED.max(load.heartbeat * 2)).await;
    let beating = hub.part_since(before);
    table.figure("storing heartbeats, of a core", "%", beating - idle, Some(3.0));

    let before = hub.used();
    let seen = at_full_load(&world, &fleet, load, &trips).await;
    let busy = hub.part_since(before);
    table.figure("full load, of a core", "%", busy, None);
    let loaded = trips.taken();
    table.figure("command alone, 50 %", "ms", alone.at(0.5), None);
    table.figure("command alone, 99 %", "ms", alone.at(0.99), None);
    table.figure("command under load, 50 %", "ms", loaded.at(0.5), None);
    table.figure("command under load, 99 %", "ms", loaded.at(0.99), None);
    table.figure("  of alone, 99 %", "x", loaded.at(0.99) / alone.at(0.99), Some(3.0));
    table.figure("commands without an end", "", loaded.lost as f64, Some(0.0));
    let dropped = sessions.symmetric_difference(&generations(&fleet)).count();
    table.figure("sessions lost", "", dropped as f64, Some(0.0));
    arrived(&fleet).await;
    let stored: u64 = world.sql("SELECT count(*) FROM detections").trim().parse().expect("a count");
    let missing = seen.abs_diff(stored);
    table.figure("detections missing or twice", "", missing as f64, Some(0.0));

    heartbeat_in.send_replace(Duration::ZERO);
    let begun = Instant::now();
    trips.burst(&world, fleet.iter().map(|member| member.name.as_str()), BURST).await;
    let burst = trips.taken();
    let rate = fleet.len() as f64 / begun.elapsed().as_secs_f64();
    table.figure("burst of a command each", "a second", rate, None);
    table.figure("burst's commands without an end", "", burst.lost as f64, Some(0.0));
    tokio::time::sleep(SETTLE).await;
    table.figure("memory an agent, after that", "KB", each(hub.memory()), Some(60.0));

    drop(trips);
    let before = generations(&fleet);
    world.kill_hub().await;
    let begun = Instant::now();
    world.start_hub().await;
    let up = begun.elapsed();
    let (back, refused) = back(&world, &fleet, &before).await;
    table.figure("hub killed, ready again", "s", up.as_secs_f64(), None);
    table.figure("  all back after that", "s", back.as_secs_f64(), Some(15.0));
    table.figure("  of them a second", "", fleet.len() as f64 / back.as_secs_f64(), None);
    table.figure("  API calls refused meanwhile", "", refused as f64, Some(0.0));
    common.cancel.cancel();
    table
}

async fn join(
    world: &World,
    folder: &TempDir,
    number: usize,
    load: &Load,
    common: &Common,
) -> Member {
    let name = format!("edge-{number:05}");
    let token = world.join_token(&name).await.parse().expect("a token");
    let phase = number as f64 / load.agents as f64;
    Member::join(&folder.path().join(&name), &name, token, phase, common)
        .await
        .unwrap_or_else(|why| panic!("{name} can't join: {why}"))
}

/// Waits until all have a session; how long that took.
async fn everybody(fleet: &[Member], patience: Duration) -> Duration {
    let begun = Instant::now();
    let all = async {
        for member in fleet {
            member.link.online().await;
        }
    };
    if tokio::time::timeout(patience, all).await.is_err() {
        let away = fleet.iter().filter(|member| member.generation().is_none()).count();
        panic!("{away} of {} have no session after {patience:?}", fleet.len());
    }
    begun.elapsed()
}

fn generations(fleet: &[Member]) -> HashSet<u64> {
    fleet.iter().filter_map(Member::generation).collect()
}

/// Heartbeats go on; detections and commands come beside them. How many detections were made.
async fn at_full_load(world: &World, fleet: &[Member], load: &Load, trips: &Trips) -> u64 {
    let end = Instant::now() + Duration::from_secs(load.seconds);
    let seeing = async {
        let mut seen = 0_u64;
        let mut tick = tokio::time::interval(
            Duration::from_secs(1)
                / u32::try_from(load.detections.div_ceil(2).max(1)).expect("few"),
        );
        let mut at = 0_usize;
        while Instant::now() < end && load.detections > 0 {
            tick.tick().await;
            // Far from the one before, so that all of them have their turn.
            at = (at + 7919) % fleet.len();
            seen += if fleet[at].see().await { 2 } else { 0 };
        }
        seen
    };
    let names: Vec<&str> = fleet.iter().map(|member| member.name.as_str()).collect();
    let commanding = trips.steadily(world, &names, load.commands, end);
    let (seen, ()) = tokio::join!(seeing, commanding);
    seen
}

/// Waits until nothing waits in any outbox.
async fn arrived(fleet: &[Member]) {
    let all = async {
        for member in fleet {
            let mut counts = member.outbox.subscribe();
            counts.wait_for(|counts| counts.waiting < 2).await.expect("it is open");
        }
    };
    tokio::time::timeout(STORM, all).await.expect("the hub takes all that was made");
}

/// Calls the API until all have another session than before: how long that took, and how many calls
/// were not answered as they should be.
async fn back(world: &World, fleet: &[Member], before: &HashSet<u64>) -> (Duration, usize) {
    let (begun, mut refused) = (Instant::now(), 0);
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let is_back = |member: &Member| member.generation().is_some_and(|now| !before.contains(&now));
    let mut away: Vec<&Member> = fleet.iter().collect();
    while !away.is_empty() {
        assert!(begun.elapsed() < STORM, "{} are not back after {STORM:?}", away.len());
        tick.tick().await;
        let path = "/api/kubeedge/devices?limit=1";
        let (status, _) = world.call(reqwest::Method::GET, path, None).await;
        refused += usize::from(!status.is_success());
        away.retain(|member| !is_back(member));
    }
    (begun.elapsed(), refused)
}
