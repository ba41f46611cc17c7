//! Any value of each wire type.

use cloudcore_protocol::{
    Alert, AppState, BlobHash, BlobHeader, BlobReply, BoundingBox, CameraState, CancelCommand,
    Command, CommandFinished, CommandId, CommandOutcome, CommandStarted, Detection, DetectionId,
    DetectionPhase, DeviceId, Event, EventAck, EventBody, Frame, Goodbye, GoodbyeReason, Heartbeat,
    Hello, JoinAccepted, JoinRefusal, JoinRefused, JoinReply, JoinRequest, Lane, LogBatch, LogLine,
    LogRequest, ModelFound, ModelId, ModelRefused, ModelReply, ModelRequest, NodeName, PictureKind,
    PictureOf, Platform, ReleaseHeader, ReleaseRequest, RenewNow, RenewReply, RenewRequest, Secret,
    Timestamp, Unsupported, Welcome, command::LogLevel,
};
use minicbor::bytes::ByteVec;
use proptest::{collection::vec, num::f32, option::of, prelude::*, sample::select};

/// Any text, not only ASCII.
fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4)
}

/// NaN is left out: it is not equal to itself.
fn number() -> impl Strategy<Value = core::primitive::f32> {
    f32::NORMAL | f32::ZERO
}

fn bytes() -> impl Strategy<Value = ByteVec> {
    vec(any::<u8>(), 0..200).prop_map(ByteVec::from)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

pub(crate) fn node_name() -> impl Strategy<Value = NodeName> {
    "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?){0,3}"
        .prop_map(|text| text.parse().unwrap())
}

pub(crate) fn device_id() -> impl Strategy<Value = DeviceId> {
    "[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn command_id() -> impl Strategy<Value = CommandId> {
    "cmd_[0-7][0-9A-HJKMNP-TV-Z]{25}".prop_map(|text| text.parse().unwrap())
}

fn lane() -> impl Strategy<Value = Lane> {
    select(Lane::ALL.as_slice())
}

fn platform() -> impl Strategy<Value = Platform> {
    (text(), text(), text()).prop_map(|(os, arch, hostname)| Platform { os, arch, hostname })
}

fn labels() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    proptest::collection::btree_map(text(), text(), 0..4)
}

fn hello() -> impl Strategy<Value = Hello> {
    (any::<[u16; 2]>(), text(), texts(), any::<u64>(), platform(), labels(), texts()).prop_map(
        |(
            [min_version, max_version],
            agent_version,
            capabilities,
            outbox_id,
            platform,
            labels,
            addresses,
        )| Hello {
            min_version,
            max_version,
            agent_version,
            capabilities,
            outbox_id,
            platform,
            labels,
            addresses,
        },
    )
}

fn event_ack() -> impl Strategy<Value = EventAck> {
    (lane(), any::<u64>()).prop_map(|(lane, seq)| EventAck { lane, seq })
}

fn welcome() -> impl Strategy<Value = Welcome> {
    (any::<u16>(), text(), texts(), any::<u64>(), vec(event_ack(), 0..4), timestamp(), device_id())
        .prop_map(|(version, hub_version, capabilities, generation, acked, now, device_id)| {
            Welcome { version, hub_version, capabilities, generation, acked, now, device_id }
        })
}

fn goodbye() -> impl Strategy<Value = Goodbye> {
    use GoodbyeReason as R;
    let reason =
        select(vec![R::Version, R::Revoked, R::Shutdown, R::Superseded, R::Protocol, R::Busy]);
    (reason, text()).prop_map(|(reason, message)| Goodbye { reason, message })
}

fn camera() -> impl Strategy<Value = CameraState> {
    prop_oneof![
        Just(CameraState::None),
        Just(CameraState::Ready),
        text().prop_map(CameraState::Lost)
    ]
}

fn apps() -> impl Strategy<Value = Vec<AppState>> {
    let app = (text(), command_id(), any::<(bool, u64)>(), [of(text()), of(text()), of(text())]);
    let app = app.prop_map(|(name, order, (running, restarts), [reason, message, health])| {
        AppState { image: name.clone(), name, order, running, reason, message, restarts, health }
    });
    proptest::collection::vec(app, 0..4)
}

pub(crate) fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    (of(number()), of(number()), any::<[u64; 6]>(), text(), camera(), any::<bool>(), of(apps()))
        .prop_map(
            |(cpu_percent, temperature_celsius, n, agent_version, camera, detecting, apps)| {
                Heartbeat {
                    cpu_percent,
                    memory_used_bytes: n[0],
                    memory_total_bytes: n[1],
                    temperature_celsius,
                    uptime_seconds: n[2],
                    disk_used_bytes: n[3],
                    disk_total_bytes: n[4],
                    agent_version,
                    camera,
                    detecting,
                    outbox_events: n[5],
                    apps,
                }
            },
        )
}

fn detection_id() -> impl Strategy<Value = DetectionId> {
    "det_[0-7][0-9A-HJKMNP-TV-Z]{25}".prop_map(|text| text.parse().unwrap())
}

fn bounding_box() -> impl Strategy<Value = BoundingBox> {
    [number(), number(), number(), number()].prop_map(|[x, y, width, height]| BoundingBox {
        x,
        y,
        width,
        height,
    })
}

fn picture_of() -> impl Strategy<Value = PictureOf> {
    let kind = select(vec![PictureKind::Snapshot, PictureKind::PreRoll]);
    (detection_id(), kind, text(), of(number()), of(bounding_box())).prop_map(
        |(id, kind, object, confidence, bounding_box)| PictureOf {
            id,
            kind,
            object,
            confidence,
            bounding_box,
        },
    )
}

fn log_level() -> impl Strategy<Value = LogLevel> {
    use LogLevel as L;
    select(vec![L::Error, L::Warn, L::Info, L::Debug, L::Trace])
}

fn log_request() -> impl Strategy<Value = LogRequest> {
    (any::<u16>(), of(timestamp()), of(any::<u64>()), log_level(), any::<bool>()).prop_map(
        |(lines, since, since_ago_ms, level, follow)| LogRequest {
            lines,
            since,
            since_ago_ms,
            level,
            follow,
        },
    )
}

fn log_batch() -> impl Strategy<Value = LogBatch> {
    let line = (timestamp(), log_level(), text(), text())
        .prop_map(|(at, level, target, text)| LogLine { at, level, target, text });
    (vec(line, 0..4), any::<u64>()).prop_map(|(lines, lost)| LogBatch { lines, lost })
}

pub(crate) fn detection() -> impl Strategy<Value = Detection> {
    let phase = select(vec![DetectionPhase::Started, DetectionPhase::Ended]);
    (
        any::<[u64; 2]>(),
        phase,
        [text(), text()],
        number(),
        bounding_box(),
        any::<[u32; 2]>(),
        timestamp(),
        of(detection_id()),
        of(any::<bool>()),
    )
        .prop_map(
            |(
                [track_id, latency_micros],
                phase,
                [object, model],
                confidence,
                bounding_box,
                size,
                captured_at,
                id,
                snapshot,
            )| {
                Detection {
                    track_id,
                    phase,
                    object,
                    confidence,
                    bounding_box,
                    frame_width: size[0],
                    frame_height: size[1],
                    model,
                    captured_at,
                    latency_micros,
                    zones: None,
                    id,
                    snapshot,
                }
            },
        )
}

fn outcome() -> impl Strategy<Value = CommandOutcome> {
    prop_oneof![
        text().prop_map(CommandOutcome::Completed),
        (text(), text()).prop_map(|(term, sentence)| CommandOutcome::Failed(term, sentence)),
        Just(CommandOutcome::TimedOut),
        Just(CommandOutcome::Cancelled),
    ]
}

/// A body of every kind, and of one that nobody knows.
pub(crate) fn event_body() -> impl Strategy<Value = EventBody> {
    prop_oneof![
        heartbeat().prop_map(EventBody::Heartbeat),
        detection().prop_map(EventBody::Detection),
        command_id().prop_map(|id| EventBody::CommandStarted(CommandStarted { id })),
        (command_id(), outcome(), any::<u64>()).prop_map(|(id, outcome, duration_micros)| {
            EventBody::CommandFinished(CommandFinished { id, outcome, duration_micros })
        }),
        (text(), text(), any::<bool>()).prop_map(|(kind, message, active)| {
            EventBody::Alert(Alert { kind, message, active })
        }),
        (1000..u32::MAX).prop_map(EventBody::Unknown),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    (lane(), any::<u64>(), timestamp(), event_body()).prop_map(|(lane, seq, at, body)| Event {
        lane,
        seq,
        at,
        body,
    })
}

fn command() -> impl Strategy<Value = Command> {
    (command_id(), text(), text(), any::<u64>()).prop_map(|(id, name, parameters, time_left_ms)| {
        Command { id, name, parameters, time_left_ms }
    })
}

fn join_request() -> impl Strategy<Value = JoinRequest> {
    (any::<[u16; 2]>(), text(), node_name(), of(device_id()), bytes(), text(), platform(), labels())
        .prop_map(
            |(
                [min_version, max_version],
                jwt,
                node_name,
                device_id,
                csr,
                agent_version,
                platform,
                labels,
            )| {
                JoinRequest {
                    min_version,
                    max_version,
                    jwt: Secret(jwt),
                    node_name,
                    device_id,
                    csr,
                    agent_version,
                    platform,
                    labels,
                }
            },
        )
}

fn join_reply() -> impl Strategy<Value = JoinReply> {
    use JoinRefusal as R;
    let reason = select(vec![
        R::InvalidToken,
        R::Expired,
        R::Revoked,
        R::Used,
        R::WrongNode,
        R::BadRequest,
        R::Unavailable,
        R::Version,
    ]);
    prop_oneof![
        (bytes(), device_id(), timestamp()).prop_map(|(certificate, device_id, not_after)| {
            JoinReply::Accepted(JoinAccepted { certificate, device_id, not_after })
        }),
        (reason, text())
            .prop_map(|(reason, message)| JoinReply::Refused(JoinRefused { reason, message })),
    ]
}

fn blob_header() -> impl Strategy<Value = BlobHeader> {
    let command = of(command_id());
    (any::<[u8; 8]>(), any::<u64>(), text(), command, of(timestamp()), of(picture_of())).prop_map(
        |(seed, size, content_type, command_id, captured_at, detection)| BlobHeader {
            hash: BlobHash::of(&seed),
            size,
            content_type,
            command_id,
            captured_at,
            detection,
        },
    )
}

fn model_request() -> impl Strategy<Value = ModelRequest> {
    let part = "[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?";
    (part, part, any::<u64>()).prop_map(|(name, version, offset)| ModelRequest {
        id: ModelId { name: name.parse().unwrap(), version: version.parse().unwrap() },
        offset,
    })
}

fn model_reply() -> impl Strategy<Value = ModelReply> {
    prop_oneof![
        (text(), any::<u64>(), text()).prop_map(|(sha256, size, description)| {
            ModelReply::Found(ModelFound { sha256, size, description })
        }),
        (text(), any::<bool>()).prop_map(|(message, passing)| {
            ModelReply::Refused(ModelRefused { message, passing })
        }),
    ]
}

/// A frame of every kind, and of one that nobody knows.
pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        hello().prop_map(Frame::Hello),
        welcome().prop_map(Frame::Welcome),
        event().prop_map(Frame::Event),
        event_ack().prop_map(Frame::EventAck),
        command().prop_map(Frame::Command),
        command_id().prop_map(|id| Frame::CancelCommand(CancelCommand { id })),
        bytes().prop_map(|csr| Frame::RenewRequest(RenewRequest { csr })),
        prop_oneof![bytes().prop_map(RenewReply::Renewed), text().prop_map(RenewReply::Refused)]
            .prop_map(Frame::RenewReply),
        Just(Frame::RenewNow(RenewNow {})),
        any::<u32>().prop_map(|kind| Frame::Unsupported(Unsupported { kind })),
        goodbye().prop_map(Frame::Goodbye),
        join_request().prop_map(Frame::JoinRequest),
        join_reply().prop_map(Frame::JoinReply),
        blob_header().prop_map(Frame::BlobHeader),
        prop_oneof![Just(BlobReply::Stored), text().prop_map(BlobReply::Refused)]
            .prop_map(Frame::BlobReply),
        model_request().prop_map(Frame::ModelRequest),
        model_reply().prop_map(Frame::ModelReply),
        (of(text()), text()).prop_map(|(version, architecture)| {
            Frame::ReleaseRequest(ReleaseRequest { version, architecture })
        }),
        (text(), any::<u64>(), any::<[u8; 8]>(), text()).prop_map(
            |(version, size, bytes, signature)| {
                let hash = BlobHash::of(&bytes);
                Frame::ReleaseHeader(ReleaseHeader { version, size, hash, signature })
            }
        ),
        log_request().prop_map(Frame::LogRequest),
        log_batch().prop_map(Frame::LogBatch),
        (1000..u32::MAX).prop_map(Frame::Unknown),
    ]
}
