use std::time::Duration;

use cloudcore_protocol::{BoundingBox, Command, CommandId, CommandOutcome, CommandStarted, Event};

use super::*;

fn started() -> EventBody {
    EventBody::CommandStarted(CommandStarted { id: CommandId::generate() })
}

fn detection(track_id: u64, phase: DetectionPhase) -> Detection {
    Detection {
        track_id,
        phase,
        object: "person".into(),
        confidence: 0.9,
        bounding_box: BoundingBox { x: 0.0, y: 0.0, width: 1.0, height: 1.0 },
        frame_width: 10,
        frame_height: 10,
        model: "m".into(),
        captured_at: Timestamp::now(),
        latency_micros: 1,
        zones: None,
        id: None,
        snapshot: None,
    }
}

fn command() -> Command {
    Command {
        id: CommandId::generate(),
        name: "get_status".into(),
        parameters: "{}".into(),
        time_left_ms: 30_000,
    }
}

fn event(pending: &Pending) -> Event {
    match decode(&pending.frame) {
        Ok(Frame::Event(event)) => event,
        other => panic!("not an event: {other:?}"),
    }
}

async fn seqs(outbox: &Outbox, lane: Lane) -> Vec<u64> {
    outbox.read(lane, 0, 1000).await.unwrap().iter().map(|pending| pending.seq).collect()
}

#[tokio::test]
async fn what_was_appended_survives_and_keeps_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let id = outbox.id().await.unwrap();
    let appends = (0..300).map(|_| outbox.append(started()));
    let mut given: Vec<u64> =
        futures_util::future::join_all(appends).await.into_iter().map(Result::unwrap).collect();
    // Who was asked first among many at once is the scheduler's business.
    given.sort_unstable();
    assert_eq!(given, (1..=300).collect::<Vec<_>>());
    outbox.ack(EventAck { lane: Lane::Commands, seq: 290 }).await.unwrap();

    // Nobody closes it: as after a kill, a second connection reads what was committed.
    let again = Outbox::open(dir.path()).unwrap();
    assert_eq!(again.id().await.unwrap(), id);
    assert_eq!(seqs(&again, Lane::Commands).await, (291..=300).collect::<Vec<_>>());
    assert_eq!((again.counts().waiting, again.counts().dropped), (10, 0));
    again.ack(EventAck { lane: Lane::Commands, seq: 300 }).await.unwrap();
    assert_eq!(again.append(started()).await.unwrap(), 301, "a number is never given twice");
}

#[tokio::test]
async fn lanes_are_numbered_apart_and_frames_carry_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    outbox.append(started()).await.unwrap();
    outbox.detections(vec![detection(1, DetectionPhase::Started)]).await.unwrap();
    outbox.detections(vec![detection(1, DetectionPhase::Ended)]).await.unwrap();
    for (lane, numbers) in
        [(Lane::Commands, vec![1]), (Lane::Status, vec![]), (Lane::Detections, vec![1, 2])]
    {
        let pending = outbox.read(lane, 0, 10).await.unwrap();
        assert_eq!(pending.iter().map(|p| p.seq).collect::<Vec<_>>(), numbers);
        for pending in &pending {
            assert_eq!((event(pending).lane, event(pending).seq), (lane, pending.seq));
        }
    }
    assert_eq!(outbox.read(Lane::Detections, 1, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_hub_that_knows_more_than_this_disk_gets_a_new_outbox() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    outbox.append(started()).await.unwrap();
    outbox.append(started()).await.unwrap();
    let id = outbox.id().await.unwrap();
    let acked = |seq| vec![EventAck { lane: Lane::Commands, seq }];
    assert!(outbox.reconcile(acked(1)).await.unwrap());
    assert_eq!(seqs(&outbox, Lane::Commands).await, [2]);
    assert!(!outbox.reconcile(acked(3)).await.unwrap());
    assert_ne!(outbox.id().await.unwrap(), id);
    assert_eq!(seqs(&outbox, Lane::Commands).await, [2], "what was not delivered stays");
}

#[tokio::test]
async fn a_command_is_new_once() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let command = command();
    assert_eq!(outbox.receive(&command, false).await.unwrap(), Received::New);
    assert_eq!(
        outbox.receive(&command, true).await.unwrap(),
        Received::Known(Stage::Received),
        "a repeat does not begin it"
    );
    assert_eq!(seqs(&outbox, Lane::Commands).await, [0; 0]);
    outbox.begin(&command.id).await.unwrap();
    outbox.begin(&command.id).await.unwrap();
    assert_eq!(seqs(&outbox, Lane::Commands).await, [1], "begun once");

    let again = Outbox::open(dir.path()).unwrap();
    let unfinished = again.unfinished().await.unwrap();
    assert_eq!(
        (unfinished[0].id.clone(), unfinished[0].stage),
        (command.id.clone(), Stage::Running)
    );

    let done = CommandOutcome::Completed("{}".into());
    let took = Duration::from_millis(5);
    assert_eq!(again.finish(&command.id, done, took).await.unwrap(), Some(2));
    assert_eq!(again.finish(&command.id, CommandOutcome::Cancelled, took).await.unwrap(), None);
    assert_eq!(again.receive(&command, true).await.unwrap(), Received::Known(Stage::Done));
    assert_eq!(seqs(&again, Lane::Commands).await, [1, 2], "its end waits already");
    assert!(again.command_event_waits(2).await.unwrap());

    again.ack(EventAck { lane: Lane::Commands, seq: 2 }).await.unwrap();
    assert!(!again.command_event_waits(2).await.unwrap());
    again.receive(&command, true).await.unwrap();
    let pending = again.read(Lane::Commands, 0, 10).await.unwrap();
    assert_eq!(pending.len(), 1, "a hub that asks again after its ack has lost the end");
    assert!(matches!(
        event(&pending[0]).body,
        EventBody::CommandFinished(CommandFinished { outcome: CommandOutcome::Completed(_), .. })
    ));
    assert_eq!(again.forget_old_commands().await.unwrap(), 0);
}

use cloudcore_protocol::CommandFinished;

/// Whether a file of the database holds these bytes.
fn holds(dir: &Path, secret: &str) -> bool {
    let mut files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.any(|file| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(secret.len()).any(|part| part == secret.as_bytes())
    })
}

#[tokio::test]
async fn secrets_are_kept_until_their_command_has_ended_and_then_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    // On a page with others, and on pages of its own.
    for length in [0, 20_000] {
        let mut set = command();
        set.name = "set_config".into();
        let camera = format!("rtsp://eve:s3cret@cam/{}", "x".repeat(length));
        set.parameters = format!("{{\"camera\":\"{camera}\"}}");
        let others = [command(), command()];
        outbox.receive(&others[0], true).await.unwrap();
        outbox.receive(&set, true).await.unwrap();
        outbox.receive(&others[1], true).await.unwrap();
        // A repeat, and an agent that dies: it is known whole.
        assert_eq!(outbox.receive(&set, true).await.unwrap(), Received::Known(Stage::Running));
        assert!(holds(dir.path(), "s3cret"));
        let unfinished = Outbox::open(dir.path()).unwrap().unfinished().await.unwrap();
        assert!(unfinished.iter().any(|left| left.parameters == set.parameters));

        let done = CommandOutcome::Completed("{}".into());
        outbox.finish(&set.id, done.clone(), Duration::ZERO).await.unwrap().unwrap();
        assert!(!holds(dir.path(), "s3cret"), "{length}");
        assert!(!holds(dir.path(), "xxxxxxxx"), "{length}");
        for other in others {
            outbox.finish(&other.id, done.clone(), Duration::ZERO).await.unwrap().unwrap();
        }
        assert!(outbox.unfinished().await.unwrap().is_empty());
        assert_eq!(outbox.receive(&set, true).await.unwrap(), Received::Known(Stage::Done));
        outbox.finish(&set.id, done, Duration::ZERO).await.unwrap();
        // The repeat is told of, and not kept.
        assert!(!holds(dir.path(), "s3cret"));
    }
}

#[tokio::test]
async fn a_result_that_no_frame_carries_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let command = command();
    outbox.receive(&command, true).await.unwrap();
    let huge = CommandOutcome::Completed("x".repeat(1 << 20));
    let refused = outbox.finish(&command.id, huge, Duration::ZERO).await;
    assert!(matches!(refused, Err(OutboxError::TooLarge(_))));
    assert_eq!(outbox.unfinished().await.unwrap().len(), 1);
}

#[tokio::test]
async fn alerts_say_changes_only() {
    let dir = tempfile::tempdir().unwrap();
    let alert = |active| Alert { kind: "camera_lost".into(), message: "it is gone".into(), active };
    let outbox = Outbox::open(dir.path()).unwrap();
    assert!(!outbox.alert(alert(false)).await.unwrap());
    assert!(outbox.alert(alert(true)).await.unwrap());
    let again = Outbox::open(dir.path()).unwrap();
    assert!(again.alerted("camera_lost").await.unwrap());
    assert!(!again.alert(alert(true)).await.unwrap(), "also after a restart");
    assert!(again.alert(alert(false)).await.unwrap());
    assert_eq!(seqs(&again, Lane::Commands).await, [1, 2]);
}

#[tokio::test]
async fn tracks_that_a_kill_cut_off_are_ended() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let first = outbox.reserve_track_ids(10).await.unwrap();
    outbox
        .detections(vec![
            detection(first, DetectionPhase::Started),
            detection(first + 1, DetectionPhase::Started),
            detection(first, DetectionPhase::Ended),
        ])
        .await
        .unwrap();
    let again = Outbox::open(dir.path()).unwrap();
    assert_eq!(again.reserve_track_ids(10).await.unwrap(), first + 10);
    assert_eq!(again.end_forgotten_tracks().await.unwrap(), 1);
    assert_eq!(again.end_forgotten_tracks().await.unwrap(), 0);
    let last = again.read(Lane::Detections, 3, 10).await.unwrap();
    let EventBody::Detection(ended) = event(&last[0]).body else { panic!("not a detection") };
    assert_eq!((ended.track_id, ended.phase), (first + 1, DetectionPhase::Ended));
}

#[tokio::test]
async fn a_full_status_lane_drops_its_oldest_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    outbox
        .thread
        .call(|db| {
            // As if the lane were almost full.
            db.execute("UPDATE lane SET count = 19999 WHERE lane = 1", []).map(drop)
        })
        .await
        .unwrap();
    let heartbeat = crate::heartbeat::tests::sample();
    for _ in 0..3 {
        outbox.append(EventBody::Heartbeat(heartbeat.clone())).await.unwrap();
    }
    assert_eq!(outbox.counts().dropped, 2);
    assert_eq!(seqs(&outbox, Lane::Status).await, [3]);
    assert!(outbox.alerted(OUTBOX_FULL).await.unwrap());
    outbox.ack(EventAck { lane: Lane::Status, seq: 3 }).await.unwrap();
    outbox
        .thread
        .call(|db| db.execute("UPDATE lane SET count = 0 WHERE lane = 1", []).map(drop))
        .await
        .unwrap();
    assert!(!outbox.alerted(OUTBOX_FULL).await.unwrap(), "there is room again");
}

/// What an outbox of one MiB holds after 20 kB each of `n` pictures, and as many detections and
/// results as given.
async fn crammed(dir: &Path, pictures: usize, detections: u64, results: usize) -> Outbox {
    let outbox = Outbox::open_within(dir, Limits { bytes: 1 << 20, ..Limits::default() }).unwrap();
    for _ in 0..results {
        let command = command();
        outbox.receive(&command, true).await.unwrap();
        let done = CommandOutcome::Completed("x".repeat(20_000));
        outbox.finish(&command.id, done, Duration::ZERO).await.unwrap();
    }
    for n in 0..detections {
        let mut seen = detection(n, DetectionPhase::Ended);
        seen.object = "x".repeat(20_000);
        outbox.detections(vec![seen]).await.unwrap();
    }
    for n in 0..pictures {
        let bytes = vec![u8::try_from(n % 256).unwrap(); 20_000];
        outbox.keep_picture(Timestamp::now(), "image/jpeg", bytes.into()).await.unwrap();
    }
    outbox
}

#[tokio::test]
async fn what_is_too_much_goes_in_the_stated_order() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = crammed(dir.path(), 200, 10, 10).await;
    let counts = outbox.counts();
    assert!(counts.bytes <= 1 << 20, "{counts:?}");
    assert!((1..200).contains(&counts.pictures), "{counts:?}");
    assert_eq!(counts.dropped, 200 - counts.pictures, "only pictures");
    let first = outbox.next_picture().await.unwrap().unwrap();
    assert_eq!(u64::from(first.bytes[0]), 200 - counts.pictures, "the oldest of them");
    assert_eq!(seqs(&outbox, Lane::Detections).await, (1..=10).collect::<Vec<_>>());

    // More results: pictures go for them, and no result while there is anything else.
    let outbox = crammed(dir.path(), 0, 0, 25).await;
    let finished = async |outbox: &Outbox| {
        let pending = outbox.read(Lane::Commands, 0, 1000).await.unwrap();
        let ended = |p: &&Pending| matches!(event(p).body, EventBody::CommandFinished(_));
        pending.iter().filter(ended).count()
    };
    assert_eq!(finished(&outbox).await, 35);
    assert!(outbox.counts().pictures < counts.pictures);
    // Nothing else is left: now the oldest results go.
    let outbox = crammed(dir.path(), 0, 0, 40).await;
    assert_eq!(seqs(&outbox, Lane::Detections).await, [0; 0]);
    let kept = finished(&outbox).await;
    assert!((30..75).contains(&kept), "no more than has to go: {kept}");
    assert!(outbox.counts().bytes <= 1 << 20);
    assert!(outbox.alerted(OUTBOX_FULL).await.unwrap());

    // The file itself has not grown beyond either, but for a group's worth.
    outbox.close().await;
    let file = std::fs::metadata(dir.path().join(DATABASE_FILE)).unwrap().len();
    assert!(file < 3 << 19, "{file}");
    assert_eq!(summary(dir.path()).unwrap().dropped, outbox.counts().dropped);
}

#[tokio::test]
async fn what_is_too_old_goes_by_the_time_that_the_agent_ran() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let limits = Limits { age: Duration::from_secs(3600), ..Limits::default() };
    outbox.append(started()).await.unwrap();
    for n in 0..2 {
        outbox.detections(vec![detection(n, DetectionPhase::Ended)]).await.unwrap();
        outbox.append(EventBody::Heartbeat(crate::heartbeat::tests::sample())).await.unwrap();
        outbox.keep_picture(Timestamp::now(), "image/jpeg", vec![1].into()).await.unwrap();
        outbox
            .thread
            .call(move |db| bounds::age(db, Duration::from_secs(3000), limits.age).map(drop))
            .await
            .unwrap();
    }
    assert_eq!(seqs(&outbox, Lane::Detections).await, [2]);
    assert_eq!(seqs(&outbox, Lane::Status).await, [2]);
    assert_eq!(seqs(&outbox, Lane::Commands).await, [1], "results and alerts do not age");
    assert_eq!((outbox.counts().pictures, outbox.counts().dropped), (1, 3));
}

#[tokio::test]
async fn an_outbox_of_the_first_version_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE_FILE);
    schema::first_version(&path).unwrap();
    let db = Connection::open(&path).unwrap();
    for (id, stage) in [("a", 2), ("b", 2), ("c", 0)] {
        let secret = if stage == 2 { "s3cret".repeat(2000) } else { "{}".into() };
        let row = params![id, secret, stage];
        db.execute("INSERT INTO journal VALUES (?1, 'set_config', ?2, 1, 1, ?3, 1, NULL, 1)", row)
            .unwrap();
    }
    // Its page is free, and not overwritten.
    db.execute("DELETE FROM journal WHERE command_id = 'b'", []).unwrap();
    drop(db);
    assert!(holds(dir.path(), "s3cret"));
    let outbox = Outbox::open(dir.path()).unwrap();
    assert!(!holds(dir.path(), "s3cret"));
    outbox.append(started()).await.unwrap();
    outbox.keep_picture(Timestamp::now(), "image/jpeg", vec![1].into()).await.unwrap();
    assert_eq!(seqs(&outbox, Lane::Commands).await, [1]);
    assert!(outbox.next_picture().await.unwrap().is_some());
}

#[tokio::test]
async fn a_damaged_database_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(DATABASE_FILE), b"not a database at all".repeat(400)).unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    outbox.append(started()).await.unwrap();
    let kept = std::fs::read_dir(dir.path())
        .unwrap()
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().contains("damaged"));
    assert!(kept);
}

#[tokio::test]
async fn one_failing_job_does_not_spoil_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let bad = outbox.thread.call(|db| db.execute("INSERT INTO nowhere VALUES (1)", []));
    let (first, bad, second) =
        tokio::join!(outbox.append(started()), bad, outbox.append(started()));
    assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
    assert!(matches!(bad, Err(OutboxError::Storage(_))));
}

#[tokio::test]
async fn closed_is_an_error_and_no_hang() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    outbox.append(started()).await.unwrap();
    outbox.close().await;
    assert!(matches!(outbox.append(started()).await, Err(OutboxError::Closed)));
    assert_eq!(summary(dir.path()).unwrap().waiting["commands"], 1);
}

#[tokio::test]
async fn a_snapshot_goes_before_the_schedules_pictures_and_takes_the_place_of_one_that_waits() {
    use cloudcore_protocol::{DetectionId, PictureKind, PictureOf};
    let dir = tempfile::tempdir().unwrap();
    schema::first_version(&dir.path().join(DATABASE_FILE)).unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let id = DetectionId::generate();
    let picture = |kind, byte: u8| ObjectPicture {
        captured_at: Timestamp::from_micros(byte.into()),
        bytes: vec![byte].into(),
        of: PictureOf {
            id: id.clone(),
            kind,
            object: "cat".into(),
            confidence: None,
            bounding_box: None,
        },
    };
    outbox.keep_picture(Timestamp::now(), "image/png", vec![1].into()).await.unwrap();
    let (snapshot, before) = (PictureKind::Snapshot, PictureKind::PreRoll);
    for (kind, byte) in [(before, 2), (before, 3), (snapshot, 4), (snapshot, 5)] {
        outbox.detections_with(Vec::new(), vec![picture(kind, byte)]).await.unwrap();
    }
    outbox.close().await;
    // An agent that knows no snapshots, after a rollback, keeps pictures all the same.
    let db = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
    let old =
        "INSERT INTO picture (captured_at, content_type, bytes, ran) VALUES (6, 'a/b', ?1, 0)";
    db.execute(old, [vec![6_u8]]).unwrap();
    drop(db);
    let outbox = Outbox::open(dir.path()).unwrap();
    let mut order = Vec::new();
    while let Some(next) = outbox.next_picture().await.unwrap() {
        assert_eq!(next.header.hash, cloudcore_protocol::BlobHash::of(&next.bytes));
        assert_eq!(next.header.detection.is_some(), (2..6).contains(&next.bytes[0]));
        order.push((next.bytes[0], next.header.content_type));
        outbox.delivered_picture(next.id).await.unwrap();
    }
    let jpeg = || "image/jpeg".to_owned();
    let wanted =
        [(2, jpeg()), (3, jpeg()), (5, jpeg()), (1, "image/png".into()), (6, "a/b".into())];
    assert_eq!(order, wanted);
}
