use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cloudcore_protocol::{Event, EventBody, Frame, Lane, decode};
use image::RgbImage;
use tokio::sync::watch;

use super::*;
use crate::{config::Config, heartbeat::Pulse, link::Link, machine::VitalsProbe, watch::Watch};

/// Counts how often it is restarted.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Machine for Counter {
    fn reboot(&self, _: Vec<String>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

struct World {
    outbox: Outbox,
    settings: Settings,
    orders: mpsc::Sender<Order>,
    reboots: Counter,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    /// An executor without a hub, on the journal that is there.
    fn start(dir: &Path) -> Self {
        let config = Config::load(dir).unwrap_or_else(|_| {
            let mut config = Config::new(
                "127.0.0.1:1".parse().unwrap(),
                "edge-1".parse().unwrap(),
                "cam-1".parse().unwrap(),
            );
            config.allow_reboot = true;
            // Not the engine of the machine that this runs on.
            config.container_engine = Some(dir.join("no-engine"));
            config
        });
        let settings = Settings::new(dir, config);
        let outbox = Outbox::open(dir).unwrap();
        let eye = Eye::open(settings.get().camera.clone()).unwrap();
        let (orders, queue) = mpsc::channel(64);
        let logs = LogRing::default();
        let (_, link) = Link::new(
            settings.clone(),
            None,
            outbox.clone(),
            Pulse::default(),
            logs.clone(),
            orders.clone(),
        );
        let (watching, handle) = Watch::new(settings.clone(), eye.clone(), outbox.clone());
        let detecting: watch::Receiver<bool> = handle.detecting();
        let reboots = Counter::default();
        let (keeper, apps) = crate::apps::open(&settings, &outbox).unwrap();
        let exec = Exec::new(Rooms {
            settings: settings.clone(),
            outbox: outbox.clone(),
            eye: eye.clone(),
            models: crate::models::Models::new(settings.clone(), link.clone(), outbox.clone()),
            link,
            reporter: Reporter::new(
                VitalsProbe::new(dir),
                eye,
                outbox.clone(),
                detecting,
                apps.states(),
            ),
            apps,
            watch: handle,
            machine: Box::new(reboots.clone()),
            logs,
            uploading: tokio::sync::Mutex::default(),
            restart: CancellationToken::new(),
        });
        let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(exec.run(queue, cancel.clone()));
        tasks.spawn(watching.run(cancel.clone()));
        tasks.spawn(keeper.run(cancel.clone()));
        Self { outbox, settings, orders, reboots, cancel, tasks }
    }

    async fn send(&self, command: &Command) {
        self.orders.send(Order::Run(command.clone())).await.unwrap();
    }

    /// How the command ended.
    async fn end(&self, id: &CommandId) -> CommandOutcome {
        let mut counts = self.outbox.subscribe();
        loop {
            for event in self.events().await {
                if let EventBody::CommandFinished(finished) = event.body
                    && finished.id == *id
                {
                    return finished.outcome;
                }
            }
            timeout(Duration::from_secs(20), counts.changed()).await.unwrap().unwrap();
        }
    }

    async fn obey(&self, name: &str, parameters: &str) -> CommandOutcome {
        let command = command(name, parameters);
        self.send(&command).await;
        self.end(&command.id).await
    }

    async fn events(&self) -> Vec<Event> {
        let pending = self.outbox.read(Lane::Commands, 0, 1000).await.unwrap();
        pending
            .iter()
            .map(|pending| match decode(&pending.frame) {
                Ok(Frame::Event(event)) => event,
                other => panic!("not an event: {other:?}"),
            })
            .collect()
    }

    async fn stop(mut self) {
        self.cancel.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn command(name: &str, parameters: &str) -> Command {
    Command {
        id: CommandId::generate(),
        name: name.into(),
        parameters: parameters.into(),
        time_left_ms: 15_000,
    }
}

fn term(outcome: &CommandOutcome) -> &str {
    match outcome {
        CommandOutcome::Completed(_) => "completed",
        CommandOutcome::Failed(term, _) => term,
        CommandOutcome::TimedOut => "timed out",
        CommandOutcome::Cancelled => "cancelled",
    }
}

fn result(outcome: &CommandOutcome) -> serde_json::Value {
    match outcome {
        CommandOutcome::Completed(json) => serde_json::from_str(json).unwrap(),
        other => panic!("not completed: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_command_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    for (name, parameters, expected) in [
        ("fly", "{}", "unknown_command"),
        ("get_status", "{\"x\":1}", "invalid_parameters"),
        ("get_status", "[", "invalid_parameters"),
        ("capture_image", "{\"quality\":0}", "invalid_parameters"),
        ("capture_image", "", "camera_unavailable"),
        ("start_detection", "{}", "model_unavailable"),
        ("set_config", "{\"camera\":\"gopher://x\"}", "invalid_parameters"),
        ("port_check", "{\"ports\":[]}", "invalid_parameters"),
        ("port_check", "{\"host\":\"192.0.2.1\"}", "not_allowed"),
        ("camera_test", "", "camera_unavailable"),
        ("deploy_app", "{\"name\":\"a\"}", "invalid_parameters"),
        ("deploy_app", "{\"name\":\"a\",\"image\":\"a\"}", "no_container_engine"),
        ("remove_app", "{\"name\":\"a\"}", "no_container_engine"),
    ] {
        assert_eq!(term(&world.obey(name, parameters).await), expected, "{name} {parameters}");
    }
    world.stop().await;
}

#[tokio::test]
async fn status_settings_and_diagnostics() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    RgbImage::new(64, 48).save(pictures.join("1.png")).unwrap();
    let world = World::start(dir.path());
    let set = format!("{{\"camera\":\"file://{}\",\"heartbeat_interval\":5}}", pictures.display());
    let set = result(&world.obey("set_config", &set).await);
    assert_eq!(set["config"]["heartbeat_interval"], 5.0);
    assert_eq!(Config::load(dir.path()).unwrap(), *world.settings.get(), "it is on the disk");

    let tested = result(&world.obey("camera_test", "{}").await);
    assert_eq!((&tested["resolution"], &tested["width"]), (&"64x48".into(), &64.into()));
    assert!(tested["source"].as_str().unwrap().starts_with("file://"), "{tested}");
    assert!(tested["milliseconds"].as_f64().unwrap() > 0.0);
    let status = result(&world.obey("get_status", "").await);
    assert_eq!(
        (&status["device_id"], &status["camera"]["state"]),
        (&"cam-1".into(), &"ready".into())
    );
    let health = result(&world.obey("run_diagnostics", "{}").await);
    assert_eq!(health["checks"]["camera"]["detail"], "gives pictures of 64x48");
    assert_eq!(
        (&health["checks"]["link"]["ok"], &health["healthy"]),
        (&false.into(), &false.into())
    );
    world.stop().await;
}

#[tokio::test]
async fn ports_are_checked_on_this_machine_and_where_its_owner_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    // Bound and not listened to: nobody else gets it, and who connects is refused.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = bound.local_addr().unwrap().port();
    let ports = format!("{{\"ports\":[{open},{closed}]}}");
    let checked = result(&world.obey("port_check", &ports).await);
    assert_eq!((&checked["host"], &checked["open"]), (&"127.0.0.1".into(), &1.into()));
    assert_eq!(checked["ports"][0]["state"], "open", "{checked}");
    assert_eq!(checked["ports"][1]["state"], "closed", "{checked}");
    assert!(checked["ports"][1]["milliseconds"].as_f64().unwrap() > 0.0);
    assert!(result(&world.obey("ping", "").await)["round_trip_ms"].is_null(), "there is no link");

    // TEST-NET-1: nobody is there, and nothing is sent before the owner says so.
    let away = "{\"host\":\"192.0.2.1\",\"ports\":[9]}";
    assert_eq!(term(&world.obey("port_check", away).await), "not_allowed");
    let allow = |config: &mut Config| config.port_check_hosts = vec!["192.0.2.1".parse().unwrap()];
    world.settings.change(allow).await.unwrap();
    // What becomes of it is the network's affair.
    let checked = result(&world.obey("port_check", away).await);
    assert_eq!(checked["ports"].as_array().unwrap().len(), 1, "{checked}");
    world.stop().await;
}

#[tokio::test]
async fn a_repeat_is_run_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let reboot = command("reboot", "{}");
    for _ in 0..5 {
        world.send(&reboot).await;
    }
    assert_eq!(term(&world.end(&reboot.id).await), "completed");
    // The end is on the disk before the machine goes down, and waits for the hub at most so long.
    assert_eq!(world.reboots.0.load(Ordering::SeqCst), 0);
    world.outbox.ack(cloudcore_protocol::EventAck { lane: Lane::Commands, seq: 2 }).await.unwrap();
    while world.reboots.0.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.send(&reboot).await;
    assert_eq!(term(&world.end(&reboot.id).await), "completed", "said again after the ack");
    let reboots = world.reboots.clone();
    world.stop().await;
    assert_eq!(reboots.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_reboot_that_is_not_allowed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    world.settings.change(|config| config.allow_reboot = false).await.unwrap();
    assert_eq!(term(&world.obey("reboot", "").await), "not_allowed");
    assert_eq!(world.reboots.0.load(Ordering::SeqCst), 0);
    world.stop().await;
}

/// As a kill leaves it: kept, begun or not, and not ended.
async fn left_behind(outbox: &Outbox, name: &str, begun: bool, time_left_ms: u64) -> CommandId {
    let command = Command { time_left_ms, ..command(name, "{}") };
    outbox.receive(&command, begun).await.unwrap();
    command.id
}

#[tokio::test]
async fn what_a_kill_left_is_taken_up_or_ended() {
    let dir = tempfile::tempdir().unwrap();
    let before = Outbox::open(dir.path()).unwrap();
    let received = left_behind(&before, "get_status", false, 60_000).await;
    let repeatable = left_behind(&before, "get_status", true, 60_000).await;
    let reboot = left_behind(&before, "reboot", true, 60_000).await;
    let late = left_behind(&before, "get_status", false, 0).await;
    before.close().await;

    let world = World::start(dir.path());
    for (id, expected) in [
        (received, "completed"),
        (repeatable, "completed"),
        (reboot, "interrupted"),
        (late, "timed out"),
    ] {
        assert_eq!(term(&world.end(&id).await), expected);
    }
    assert_eq!(world.reboots.0.load(Ordering::SeqCst), 0);
    world.stop().await;
}

#[tokio::test]
async fn time_runs_out_and_cancelling_works_while_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("one.png");
    RgbImage::new(64, 48).save(&pictures).unwrap();
    let world = World::start(dir.path());
    let camera = format!("{{\"camera\":\"file://{}\"}}", pictures.display());
    result(&world.obey("set_config", &camera).await);
    // Without a hub an upload waits: until its time is over, or until it is cancelled.
    let short = Command { time_left_ms: 300, ..command("capture_image", "{}") };
    let long = command("capture_image", "{}");
    world.send(&short).await;
    world.send(&long).await;
    assert_eq!(term(&world.obey("get_status", "{}").await), "completed");
    assert_eq!(term(&world.end(&short.id).await), "timed out");
    world.orders.send(Order::Cancel(long.id.clone())).await.unwrap();
    assert_eq!(term(&world.end(&long.id).await), "cancelled");
    world.stop().await;
}
