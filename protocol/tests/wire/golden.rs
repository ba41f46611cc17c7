//! The wire format, frozen: one example of each kind in hex. A change here is a change of the
//! protocol: an agent in the field reads and writes what stands on this page.

use cloudcore_protocol::{
    Alert, BlobHash, BlobHeader, BlobReply, BoundingBox, CameraState, CancelCommand, Command,
    CommandFinished, CommandId, CommandOutcome, CommandStarted, Detection, DetectionId,
    DetectionPhase, Event, EventAck, EventBody, Frame, Goodbye, GoodbyeReason, Heartbeat, Hello,
    JoinAccepted, JoinRefusal, JoinRefused, JoinReply, JoinRequest, Lane, LogBatch, LogLine,
    LogRequest, ModelFound, ModelRefused, ModelReply, ModelRequest, PictureKind, PictureOf,
    Platform, ReleaseHeader, ReleaseRequest, RenewNow, RenewReply, RenewRequest, Secret, Timestamp,
    Unsupported, Welcome, command::LogLevel, decode, encode,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `frame` is written as `bytes`, and `bytes` are read as `frame`.
#[track_caller]
fn is_written(frame: &Frame, bytes: &str) {
    let written = encode(frame).unwrap();
    assert_eq!(hex(&written), bytes);
    assert_eq!(&decode(&written).unwrap(), frame);
}

#[track_caller]
fn event_is_written(body: EventBody, bytes: &str) {
    let lane = body.lane();
    is_written(
        &Frame::Event(Event {
            lane,
            seq: 7,
            at: Timestamp::from_micros(1_705_314_600_000_000),
            body,
        }),
        bytes,
    );
}

fn command_id() -> CommandId {
    "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
}

fn detection_id() -> DetectionId {
    "det_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
}

fn platform() -> Platform {
    Platform { os: "Debian 12".into(), arch: "aarch64".into(), hostname: "pi".into() }
}

#[test]
fn hello() {
    is_written(
        &Frame::Hello(Hello {
            min_version: 1,
            max_version: 2,
            agent_version: "0.1.0".into(),
            capabilities: vec!["capture_image".into()],
            outbox_id: 0x0102_0304_0506_0708,
            platform: platform(),
            labels: [("floor".to_owned(), "1".to_owned())].into(),
            addresses: vec!["192.168.1.100".into()],
        }),
        "820188010265302e312e30816d636170747572655f696d6167651b0102030405060708836944656269616e2031326761617263683634627069a165666c6f6f726131816d3139322e3136382e312e313030",
    );
}

#[test]
fn welcome() {
    is_written(
        &Frame::Welcome(Welcome {
            version: 1,
            hub_version: "0.1.0".into(),
            capabilities: vec![],
            generation: 300,
            acked: vec![EventAck { lane: Lane::Detections, seq: 1000 }],
            now: Timestamp::from_micros(1_705_314_600_000_000),
            device_id: "edge-device-001".parse().unwrap(),
        }),
        "8202870165302e312e308019012c8182021903e81b00060ef97ef69a006f656467652d6465766963652d303031",
    );
}

#[test]
fn heartbeat() {
    event_is_written(
        EventBody::Heartbeat(Heartbeat {
            cpu_percent: Some(45.5),
            memory_used_bytes: 2_300_000_000,
            memory_total_bytes: 8_000_000_000,
            temperature_celsius: None,
            uptime_seconds: 172_800,
            disk_used_bytes: 1,
            disk_total_bytes: 2,
            agent_version: "0.1.0".into(),
            camera: CameraState::Lost("no such device".into()),
            detecting: true,
            outbox_events: 3,
            apps: None,
        }),
        "82038401071b00060ef97ef69a0082018bfa423600001a891737001b00000001dcd65000f61a0002a300010265302e312e308202816e6e6f207375636820646576696365f503",
    );
}

#[test]
fn detection() {
    event_is_written(
        EventBody::Detection(Detection {
            track_id: 5,
            phase: DetectionPhase::Ended,
            object: "person".into(),
            confidence: 0.875,
            bounding_box: BoundingBox { x: 1.0, y: 2.5, width: 100.0, height: 200.0 },
            frame_width: 640,
            frame_height: 480,
            model: "nanodet".into(),
            captured_at: Timestamp::from_micros(-1),
            latency_micros: 45_000,
            zones: None,
            id: None,
            snapshot: None,
        }),
        "82038402071b00060ef97ef69a0082028a050166706572736f6efa3f60000084fa3f800000fa40200000fa42c80000fa434800001902801901e0676e616e6f6465742019afc8",
    );
}

#[test]
fn detection_with_a_picture() {
    event_is_written(
        EventBody::Detection(Detection {
            track_id: 5,
            phase: DetectionPhase::Started,
            object: "cat".into(),
            confidence: 0.5,
            bounding_box: BoundingBox { x: 1.0, y: 2.0, width: 3.0, height: 4.0 },
            frame_width: 640,
            frame_height: 480,
            model: "nanodet".into(),
            captured_at: Timestamp::from_micros(1),
            latency_micros: 2,
            zones: Some(Vec::new()),
            id: Some(detection_id()),
            snapshot: Some(true),
        }),
        "82038402071b00060ef97ef69a0082028d050063636174fa3f00000084fa3f800000fa40000000fa40400000fa408000001902801901e0676e616e6f646574010280781e6465745f303141525a334e44454b54535634525246465136394735464156f5",
    );
}

#[test]
fn command_started() {
    event_is_written(
        EventBody::CommandStarted(CommandStarted { id: command_id() }),
        "82038400071b00060ef97ef69a00820381781e636d645f303141525a334e44454b54535634525246465136394735464156",
    );
}

#[test]
fn command_completed() {
    event_is_written(
        EventBody::CommandFinished(CommandFinished {
            id: command_id(),
            outcome: CommandOutcome::Completed("{}".into()),
            duration_micros: 1_200_000,
        }),
        "82038400071b00060ef97ef69a00820483781e636d645f303141525a334e44454b54535634525246465136394735464156820081627b7d1a00124f80",
    );
}

#[test]
fn command_failed() {
    event_is_written(
        EventBody::CommandFinished(CommandFinished {
            id: command_id(),
            outcome: CommandOutcome::Failed("interrupted".into(), "the agent died".into()),
            duration_micros: 0,
        }),
        "82038400071b00060ef97ef69a00820483781e636d645f303141525a334e44454b545356345252464651363947354641568201826b696e7465727275707465646e746865206167656e74206469656400",
    );
}

#[test]
fn command_timed_out() {
    event_is_written(
        EventBody::CommandFinished(CommandFinished {
            id: command_id(),
            outcome: CommandOutcome::TimedOut,
            duration_micros: 1,
        }),
        "82038400071b00060ef97ef69a00820483781e636d645f303141525a334e44454b5453563452524646513639473546415682028001",
    );
}

#[test]
fn command_cancelled() {
    event_is_written(
        EventBody::CommandFinished(CommandFinished {
            id: command_id(),
            outcome: CommandOutcome::Cancelled,
            duration_micros: 1,
        }),
        "82038400071b00060ef97ef69a00820483781e636d645f303141525a334e44454b5453563452524646513639473546415682038001",
    );
}

#[test]
fn alert() {
    event_is_written(
        EventBody::Alert(Alert {
            kind: "camera_lost".into(),
            message: "unplugged".into(),
            active: true,
        }),
        "82038400071b00060ef97ef69a008205836b63616d6572615f6c6f737469756e706c7567676564f5",
    );
}

#[test]
fn event_ack() {
    is_written(&Frame::EventAck(EventAck { lane: Lane::Status, seq: 256 }), "82048201190100");
}

#[test]
fn command() {
    is_written(
        &Frame::Command(Command {
            id: command_id(),
            name: "capture_image".into(),
            parameters: r#"{"quality":80}"#.into(),
            time_left_ms: 30_000,
        }),
        "820584781e636d645f303141525a334e44454b545356345252464651363947354641566d636170747572655f696d6167656e7b227175616c697479223a38307d197530",
    );
}

#[test]
fn cancel_command() {
    is_written(
        &Frame::CancelCommand(CancelCommand { id: command_id() }),
        "820681781e636d645f303141525a334e44454b54535634525246465136394735464156",
    );
}

#[test]
fn renew_request() {
    is_written(&Frame::RenewRequest(RenewRequest { csr: vec![0x30, 0x00].into() }), "820781423000");
}

#[test]
fn renew_reply() {
    is_written(
        &Frame::RenewReply(RenewReply::Renewed(vec![0x30, 0x01].into())),
        "8208820081423001",
    );
    is_written(
        &Frame::RenewReply(RenewReply::Refused("revoked".into())),
        "8208820181677265766f6b6564",
    );
}

#[test]
fn unsupported() {
    is_written(&Frame::Unsupported(Unsupported { kind: 4242 }), "820981191092");
}

#[test]
fn goodbye() {
    for (reason, bytes) in [
        (GoodbyeReason::Version, "820a820063627965"),
        (GoodbyeReason::Revoked, "820a820163627965"),
        (GoodbyeReason::Shutdown, "820a820263627965"),
        (GoodbyeReason::Superseded, "820a820363627965"),
        (GoodbyeReason::Protocol, "820a820463627965"),
        (GoodbyeReason::Busy, "820a820563627965"),
    ] {
        is_written(&Frame::Goodbye(Goodbye { reason, message: "bye".into() }), bytes);
    }
}

#[test]
fn renew_now() {
    is_written(&Frame::RenewNow(RenewNow {}), "820c80");
}

#[test]
fn join_request() {
    is_written(
        &Frame::JoinRequest(JoinRequest {
            min_version: 1,
            max_version: 1,
            jwt: Secret("a.b.c".into()),
            node_name: "edge-node-001".parse().unwrap(),
            device_id: Some("edge-device-001".parse().unwrap()),
            csr: vec![0x30, 0x00].into(),
            agent_version: "0.1.0".into(),
            platform: platform(),
            labels: [].into(),
        }),
        "821489010165612e622e636d656467652d6e6f64652d3030316f656467652d6465766963652d30303142300065302e312e30836944656269616e2031326761617263683634627069a0",
    );
}

#[test]
fn join_accepted() {
    is_written(
        &Frame::JoinReply(JoinReply::Accepted(JoinAccepted {
            certificate: vec![0x30, 0x02].into(),
            device_id: "edge-device-001".parse().unwrap(),
            not_after: Timestamp::from_micros(1_707_906_600_000_000),
        })),
        "8215820081834230026f656467652d6465766963652d3030311b00061154fe33da00",
    );
}

#[test]
fn join_refused() {
    for (reason, bytes) in [
        (JoinRefusal::InvalidToken, "82158201818200626e6f"),
        (JoinRefusal::Expired, "82158201818201626e6f"),
        (JoinRefusal::Revoked, "82158201818202626e6f"),
        (JoinRefusal::Used, "82158201818203626e6f"),
        (JoinRefusal::WrongNode, "82158201818204626e6f"),
        (JoinRefusal::BadRequest, "82158201818205626e6f"),
        (JoinRefusal::Unavailable, "82158201818206626e6f"),
        (JoinRefusal::Version, "82158201818207626e6f"),
    ] {
        is_written(
            &Frame::JoinReply(JoinReply::Refused(JoinRefused { reason, message: "no".into() })),
            bytes,
        );
    }
}

#[test]
fn blob_header() {
    is_written(
        &Frame::BlobHeader(BlobHeader {
            hash: BlobHash::of(b"abc"),
            size: 3,
            content_type: "image/jpeg".into(),
            command_id: Some(command_id()),
            captured_at: None,
            detection: None,
        }),
        "82181e845820ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad036a696d6167652f6a706567781e636d645f303141525a334e44454b54535634525246465136394735464156",
    );
}

#[test]
fn blob_header_of_a_detection() {
    let picture = |kind, confidence, bounding_box| {
        let object = "cat".into();
        let detection =
            Some(PictureOf { id: detection_id(), kind, object, confidence, bounding_box });
        Frame::BlobHeader(BlobHeader {
            hash: BlobHash::of(b"abc"),
            size: 3,
            content_type: "image/jpeg".into(),
            command_id: None,
            captured_at: Some(Timestamp::from_micros(1)),
            detection,
        })
    };
    let place = BoundingBox { x: 1.0, y: 2.0, width: 3.0, height: 4.0 };
    is_written(
        &picture(PictureKind::Snapshot, Some(0.5), Some(place)),
        "82181e865820ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad036a696d6167652f6a706567f60185781e6465745f303141525a334e44454b545356345252464651363947354641560063636174fa3f00000084fa3f800000fa40000000fa40400000fa40800000",
    );
    is_written(
        &picture(PictureKind::PreRoll, None, None),
        "82181e865820ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad036a696d6167652f6a706567f60183781e6465745f303141525a334e44454b545356345252464651363947354641560163636174",
    );
}

#[test]
fn log() {
    is_written(
        &Frame::LogRequest(LogRequest {
            lines: 200,
            since: None,
            since_ago_ms: Some(1000),
            level: LogLevel::Warn,
            follow: true,
        }),
        "82183c8518c8f61903e801f5",
    );
    is_written(
        &Frame::LogBatch(LogBatch {
            lines: vec![LogLine {
                at: Timestamp::from_micros(1),
                level: LogLevel::Info,
                target: "link".into(),
                text: "linked".into(),
            }],
            lost: 2,
        }),
        "82183d8281840102646c696e6b666c696e6b656402",
    );
    is_written(&Frame::LogBatch(LogBatch::default()), "82183d828000");
}

#[test]
fn blob_reply() {
    is_written(&Frame::BlobReply(BlobReply::Stored), "82181f820080");
    is_written(
        &Frame::BlobReply(BlobReply::Refused("too large".into())),
        "82181f82018169746f6f206c61726765",
    );
}

#[test]
fn model_request() {
    let id = "nanodet@1.0".parse().unwrap();
    is_written(
        &Frame::ModelRequest(ModelRequest { id, offset: 7 }),
        "8218288282676e616e6f64657463312e3007",
    );
}

#[test]
fn model_reply() {
    is_written(
        &Frame::ModelReply(ModelReply::Found(ModelFound {
            sha256: "ab".into(),
            size: 3,
            description: "{}".into(),
        })),
        "8218298200818362616203627b7d",
    );
    is_written(
        &Frame::ModelReply(ModelReply::Refused(ModelRefused {
            message: "no".into(),
            passing: true,
        })),
        "82182982018182626e6ff5",
    );
}

#[test]
fn release() {
    let architecture = || "arm64".to_owned();
    is_written(
        &Frame::ReleaseRequest(ReleaseRequest { version: None, architecture: architecture() }),
        "82183282f66561726d3634",
    );
    is_written(
        &Frame::ReleaseRequest(ReleaseRequest {
            version: Some("1.2.3".into()),
            architecture: architecture(),
        }),
        "8218328265312e322e336561726d3634",
    );
    is_written(
        &Frame::ReleaseHeader(ReleaseHeader {
            version: "1.2.3".into(),
            size: 3,
            hash: BlobHash::of(b"abc"),
            signature: "signed".into(),
        }),
        "8218338465312e322e33035820ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad667369676e6564",
    );
}
