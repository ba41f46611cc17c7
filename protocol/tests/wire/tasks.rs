//! Commands' parameters: what is understood, and what is refused with a reason.

use std::time::Duration;

use cloudcore_protocol::command::{
    CommandError, ImageReference, Memory, PictureFormat, Resolution, Task,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[allow(clippy::needless_pass_by_value, reason = "a json!(…) is written for one call")]
fn parse(name: &str, parameters: Value) -> Result<Task, String> {
    Task::parse(name, &parameters).map_err(|error| error.to_string())
}

fn capture(parameters: Value) -> cloudcore_protocol::command::CaptureImage {
    match parse("capture_image", parameters).unwrap() {
        Task::CaptureImage(capture) => capture,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_contracts_capture_is_understood() {
    let capture = capture(json!({"resolution": "1920x1080", "format": "jpg"}));
    assert_eq!(capture.resolution, Some(Resolution { width: 1920, height: 1080 }));
    assert_eq!(capture.format, PictureFormat::Jpg);
    assert_eq!(capture.quality.get(), 90);
}

#[test]
fn what_is_not_said_is_the_default() {
    for parameters in [json!(null), json!({}), json!({"resolution": null})] {
        let capture = capture(parameters);
        assert_eq!(capture.resolution, None);
        assert_eq!((capture.format, capture.quality.get()), (PictureFormat::Jpg, 90));
    }
}

#[test]
fn formats() {
    assert_eq!(capture(json!({"format": "jpeg"})).format, PictureFormat::Jpg);
    assert_eq!(capture(json!({"format": "png"})).format, PictureFormat::Png);
    for bad in [json!("gif"), json!("JPG"), json!(""), json!(1)] {
        assert!(parse("capture_image", json!({"format": bad})).is_err());
    }
}

#[test]
fn logs_by_lines_time_and_level() {
    use cloudcore_protocol::{
        Timestamp,
        command::{LogLevel, Since},
    };
    let logs = |parameters| match parse("get_logs", parameters) {
        Ok(Task::GetLogs(logs)) => Ok(logs),
        Ok(other) => panic!("{other:?}"),
        Err(why) => Err(why),
    };
    let all = logs(json!({})).unwrap();
    assert_eq!((all.lines.get(), all.since, all.level), (200, None, LogLevel::Trace));
    let asked = logs(json!({"lines": 5000, "since": 1.5, "level": "warn"})).unwrap();
    assert_eq!((asked.lines.get(), asked.level), (5000, LogLevel::Warn));
    assert_eq!(asked.since, Some(Since::Ago(Duration::from_millis(1500))));
    let at = logs(json!({"since": "1970-01-01T00:00:01+00:00"})).unwrap().since;
    assert_eq!(at, Some(Since::At(Timestamp::from_micros(1_000_000))));
    for bad in [
        json!({"lines": 0}),
        json!({"lines": 5001}),
        json!({"lines": -1}),
        json!({"lines": 1e300}),
        json!({"since": -1}),
        json!({"since": 1e300}),
        json!({"since": "yesterday"}),
        json!({"since": "9999999-01-01T00:00:00Z"}),
        json!({"since": []}),
        json!({"level": "loud"}),
    ] {
        assert!(logs(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn programs_and_files_are_named_in_bounds() {
    let many: serde_json::Map<String, Value> =
        (0..17).map(|n| (format!("p{n}"), json!("x"))).collect();
    for bad in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "a b"}),
        json!({"name": "x".repeat(51)}),
        json!({"name": "a", "parameters": {"path": 1}}),
        json!({"name": "a", "parameters": {"path": "\u{0}"}}),
        json!({"name": "a", "parameters": {"path": "x".repeat(1025)}}),
        json!({"name": "a", "parameters": many}),
    ] {
        assert!(parse("exec", bad.clone()).is_err(), "{bad}");
    }
    assert!(parse("exec", json!({"name": "a", "parameters": {"path": "x".repeat(1024)}})).is_ok());
    for bad in [json!({}), json!({"path": "etc"}), json!({"path": ""}), json!({"path": "/\u{0}"})] {
        assert!(parse("upload_file", bad.clone()).is_err(), "{bad}");
    }
    assert!(parse("upload_file", json!({"path": format!("/{}", "x".repeat(4096))})).is_err());
}

/// The least that a command wants to be told.
fn least(name: &str) -> Value {
    match name {
        "deploy_app" => json!({"name": "app", "image": "app"}),
        "remove_app" | "get_app_logs" => json!({"name": "app"}),
        "exec" => json!({"name": "disk"}),
        "upload_file" => json!({"path": "/var/log/syslog"}),
        _ => json!({}),
    }
}

#[test]
fn every_name_of_the_list_is_a_command_and_no_parameters_are_an_empty_object() {
    for name in Task::NAMES {
        assert!(parse(name, least(name)).is_ok(), "{name}");
        assert_eq!(parse(name, json!(null)), parse(name, json!({})), "{name}");
    }
}

#[test]
fn what_restarts_something_and_an_owners_program_are_not_repeatable() {
    let once = ["reboot", "exec", "restart_agent", "update_agent"];
    for name in Task::NAMES {
        let repeatable = parse(name, least(name)).unwrap().is_repeatable();
        assert_eq!(repeatable, !once.contains(&name), "{name}");
    }
}

#[test]
fn an_update_names_a_version_and_a_time() {
    let Task::UpdateAgent(update) = parse("update_agent", json!({})).unwrap() else { panic!() };
    assert_eq!((update.version, update.confirm_within), (None, 120));
    for version in ["1.2.3", "0.2.0-rc.1", "1.0.0+build.5"] {
        parse("update_agent", json!({ "version": version })).unwrap();
    }
    for bad in ["", "1", "1.2", "v1.2.3", "1.2.3.4", "../1.2.3", "1.2.3 ", "1.2.x"] {
        parse("update_agent", json!({ "version": bad })).unwrap_err();
    }
    for bad in [0, 4, 3601, 65536] {
        parse("update_agent", json!({ "confirm_within": bad })).unwrap_err();
    }
}

#[test]
fn an_unknown_command_is_named() {
    for name in ["self_destruct", "", "Capture_image", "capture_image "] {
        assert_eq!(
            Task::parse(name, &json!({})).unwrap_err(),
            CommandError::Unknown(name.to_owned())
        );
    }
}

#[test]
fn an_unknown_parameter_is_refused_and_named() {
    for name in Task::NAMES {
        let mut parameters = least(name);
        parameters["colour"] = json!("red");
        let error = parse(name, parameters).unwrap_err();
        assert!(error.contains(name) && error.contains("colour"), "{error}");
    }
}

#[test]
fn parameters_are_an_object() {
    for name in Task::NAMES {
        for bad in [json!([]), json!("x"), json!(1), json!(true), json!([{"quality": 1}])] {
            assert!(parse(name, bad).unwrap_err().contains("must be an object"));
        }
    }
}

#[test]
fn resolutions_from_16_to_8192() {
    for (good, width, height) in
        [("16x16", 16, 16), ("8192x8192", 8192, 8192), ("640x480", 640, 480)]
    {
        let resolution = capture(json!({"resolution": good})).resolution.unwrap();
        assert_eq!(resolution, Resolution { width, height });
        assert_eq!(resolution.to_string(), good);
    }
    for bad in [
        "15x16",
        "16x15",
        "8193x16",
        "16x8193",
        "0x0",
        "-1x16",
        "+16x16",
        "16x+16",
        "16",
        "x",
        "16x",
        "x16",
        "16x16x16",
        "16 x 16",
        "16X16",
        "1e2x16",
        "",
        "99999999999999999999x16",
        "16,16",
    ] {
        let error = parse("capture_image", json!({"resolution": bad})).unwrap_err();
        assert!(error.contains("resolution"), "{error}");
    }
    for bad in [json!(1920), json!([1920, 1080]), json!({"width": 1}), json!(true)] {
        assert!(parse("capture_image", json!({"resolution": bad})).is_err());
    }
    let long = parse("capture_image", json!({"resolution": "é".repeat(10_000)})).unwrap_err();
    assert!(long.len() < 300, "a stranger's text is cut");
}

#[test]
fn qualities_from_1_to_100() {
    for good in [1, 50, 100] {
        assert_eq!(capture(json!({"quality": good})).quality.get(), good);
    }
    for bad in [json!(0), json!(101), json!(-1), json!(256), json!(1.5), json!("90"), json!(null)] {
        assert!(parse("capture_image", json!({"quality": bad})).is_err(), "{bad}");
    }
}

#[test]
fn scores_and_intervals_have_bounds() {
    let start = parse("start_detection", json!({"confidence": 0.5, "interval": 0.05})).unwrap();
    let Task::StartDetection(start) = start else { panic!("{start:?}") };
    assert!((start.confidence.unwrap().get() - 0.5).abs() < f32::EPSILON);
    assert_eq!(start.interval.unwrap().duration(), Duration::from_millis(50));
    for good in [json!(0), json!(1), json!(0.999)] {
        assert!(parse("start_detection", json!({"confidence": good})).is_ok(), "{good}");
    }
    for bad in [json!(-0.01), json!(1.01), json!(1e300), json!("0.5"), json!(true)] {
        assert!(parse("start_detection", json!({"confidence": bad})).is_err(), "{bad}");
        assert!(parse("set_config", json!({"confidence": bad})).is_err(), "{bad}");
    }
    for good in [json!(1), json!(86_400), json!(0.05)] {
        assert!(parse("set_config", json!({"heartbeat_interval": good})).is_ok(), "{good}");
    }
    for bad in [json!(0), json!(0.049), json!(86_401), json!(-1), json!(1e300), json!("1")] {
        assert!(parse("start_detection", json!({"interval": bad})).is_err(), "{bad}");
        assert!(parse("set_config", json!({"heartbeat_interval": bad})).is_err(), "{bad}");
        assert!(parse("set_config", json!({"detection_interval": bad})).is_err(), "{bad}");
    }
}

#[test]
fn a_setting_that_is_not_said_stays() {
    for good in [
        json!({"snapshots": false, "snapshot_quality": 1}),
        json!({"pre_roll": 0, "pre_roll_pictures": 1}),
        json!({"pre_roll": 30, "pre_roll_pictures": 10}),
    ] {
        assert!(parse("set_config", good.clone()).is_ok(), "{good}");
    }
    for bad in [
        json!({"snapshots": 1}),
        json!({"snapshot_quality": 0}),
        json!({"snapshot_quality": 101}),
        json!({"pre_roll": 0.5}),
        json!({"pre_roll": 30.5}),
        json!({"pre_roll": -1}),
        json!({"pre_roll_pictures": 0}),
        json!({"pre_roll_pictures": 11}),
    ] {
        assert!(parse("set_config", bad.clone()).is_err(), "{bad}");
    }
    let task = parse("set_config", json!({"camera": "v4l2:///dev/video0"})).unwrap();
    let Task::SetConfig(config) = task else { panic!("{task:?}") };
    assert_eq!(config.camera.as_deref(), Some("v4l2:///dev/video0"));
    assert_eq!((config.heartbeat_interval, config.detection_interval), (None, None));
    assert_eq!(config.confidence, None);
}

#[test]
fn ports_from_1_to_16_on_an_address() {
    let check = |parameters| match parse("port_check", parameters) {
        Ok(Task::PortCheck(check)) => Ok(check),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    let usual = check(json!({})).unwrap();
    assert!(usual.host.is_loopback() && usual.ports.iter().count() == 4);
    let most: Vec<u16> = (65_520..=65_535).collect();
    for ports in [json!([1]), json!(most)] {
        assert!(check(json!({"ports": ports})).is_ok(), "{ports}");
    }
    let seventeen: Vec<u16> = (1..=17).collect();
    for bad in [
        json!([]),
        json!(seventeen),
        json!([0]),
        json!([65_536]),
        json!([-1]),
        json!([22.0]),
        json!(["22"]),
        json!([22, 80, 22]),
        json!(22),
        json!(null),
    ] {
        assert!(check(json!({"ports": bad})).is_err(), "{bad}");
    }
    for (host, ip) in [
        ("localhost", "127.0.0.1"),
        ("::1", "::1"),
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
    ] {
        assert_eq!(check(json!({"host": host})).unwrap().host.to_string(), ip);
    }
    for bad in [json!("example.org"), json!(""), json!("127.1"), json!("127.0.0.1:22"), json!(7)] {
        assert!(check(json!({"host": bad})).is_err(), "{bad}");
    }
}

fn deploy(app: Value) -> Result<cloudcore_protocol::command::DeployApp, String> {
    match parse("deploy_app", app)? {
        Task::DeployApp(app) => Ok(app),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_contracts_app_is_understood_and_comes_back_as_it_was() {
    let parameters = json!({
        "name": "object-detection",
        "image": "ahmedxeno/edge-app:latest",
        "config": {"model": "yolov5", "confidence": 0.7, "interval": 5},
        "resources": {"cpu": "500m", "memory": "512Mi"},
    });
    let app = deploy(parameters.clone()).unwrap();
    assert_eq!(app.resources.cpu.as_ref().unwrap().millicores(), 500);
    assert_eq!(app.resources.memory.as_ref().unwrap().bytes(), 512 << 20);
    assert_eq!(serde_json::to_value(&app).unwrap(), parameters);
    let least = deploy(json!({"name": "a", "image": "a"})).unwrap();
    assert_eq!(least.resources, cloudcore_protocol::command::Resources::default());
    for bad in [json!({}), json!({"name": "a"}), json!({"image": "a"})] {
        assert!(deploy(bad).is_err());
    }
}

#[test]
fn app_names_are_dns_labels() {
    let app = |name: &str| deploy(json!({"name": name, "image": "a"}));
    for good in ["a", "0", "object-detection", &"x".repeat(63)] {
        assert_eq!(app(good).unwrap().name.as_str(), good);
    }
    for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "ä", "..", &"x".repeat(64)] {
        assert!(app(bad).is_err(), "{bad}");
        assert!(parse("remove_app", json!({"name": bad})).is_err(), "{bad}");
    }
}

#[test]
fn images_are_references() {
    let app = |image: &str| deploy(json!({"name": "a", "image": image}));
    let digest = format!("sha256:{}", "0a".repeat(32));
    for good in [
        "redis",
        "redis:7.2-alpine",
        "ahmedxeno/edge-app:latest",
        "ghcr.io/a/b/c:v1",
        "localhost/a",
        "localhost:5000/a__b/c--d:X_1",
        "REG.example.org:65535/a",
        &format!("a@{digest}"),
        &format!("a.b/c:1@{digest}"),
        &"x".repeat(255),
        &format!("a:{}", "x".repeat(128)),
    ] {
        assert_eq!(app(good).unwrap().image.as_str(), good);
    }
    for bad in [
        "",
        ":latest",
        "a:",
        "a:-x",
        "a b",
        "a;rm -rf",
        "A",
        "a//b",
        "/a",
        "a/",
        "a/../b",
        "a._b",
        "a___b",
        "-a",
        "http://a/b",
        "reg:0/a",
        "reg:65536/a",
        "reg:x/a",
        "-reg.org/a",
        "a@sha256:00",
        "a@md5:00",
        "é",
        &format!("a@{}", digest.to_uppercase()),
        &"x".repeat(256),
        &format!("a:{}", "x".repeat(129)),
        &format!("{}/{}", vec!["x"; 130].join("/"), "y".repeat(300)),
    ] {
        assert!(app(bad).is_err(), "{bad}");
    }
    assert!(app(&"é".repeat(10_000)).unwrap_err().len() < 300, "a stranger's text is cut");
}

#[test]
fn resources_are_quantities_in_bounds() {
    let app = |resources: Value| {
        deploy(json!({"name": "a", "image": "a", "resources": resources})).map(|app| app.resources)
    };
    for (cpu, millicores) in [
        (json!("1m"), 1),
        (json!("500m"), 500),
        (json!("0.5"), 500),
        (json!(".5"), 500),
        (json!("1."), 1000),
        (json!(2), 2000),
        (json!(0.25), 250),
        (json!("1e1"), 10_000),
        (json!("5E-1"), 500),
        (json!("1000000u"), 1000),
        (json!("1k"), 1_000_000),
        (json!(1024), 1_024_000),
    ] {
        let resources = app(json!({"cpu": cpu})).unwrap();
        assert_eq!(resources.cpu.unwrap().millicores(), millicores, "{cpu}");
    }
    for (memory, bytes) in [
        (json!("1Mi"), 1 << 20),
        (json!("1.5Gi"), 3 << 29),
        (json!("2G"), 2_000_000_000),
        (json!(1_048_576), 1 << 20),
        (json!("128e6"), 128_000_000),
        (json!("1Pi"), 1 << 50),
        (json!("1048576000m"), 1 << 20),
    ] {
        let resources = app(json!({"memory": memory})).unwrap();
        assert_eq!(resources.memory.unwrap().bytes(), bytes, "{memory}");
    }
    for bad in [
        json!(""),
        json!("0"),
        json!("0.5m"),
        json!("1025"),
        json!("-1"),
        json!("+1"),
        json!("1 "),
        json!("."),
        json!("1.2.3"),
        json!("m"),
        json!("1x"),
        json!("1e"),
        json!("1e100"),
        json!("1e-99"),
        json!("１"),
        json!("99999999999999999999"),
        json!("1Ei"),
        json!(true),
        json!([]),
    ] {
        assert!(app(json!({"cpu": bad})).is_err(), "{bad}");
    }
    for bad in [json!("1048575"), json!("1023Ki"), json!("1025Ti"), json!("1.1Pi"), json!({})] {
        assert!(app(json!({"memory": bad})).is_err(), "{bad}");
    }
    assert!(app(json!({"gpu": 1})).is_err());
    assert_eq!(app(json!({"cpu": null})).unwrap(), app(json!({})).unwrap());
}

#[test]
fn an_apps_config_has_at_most_16_kib() {
    let app = |bytes: usize| {
        // {"k":"…"} is 8 bytes and the text.
        let config = json!({"k": "x".repeat(bytes - 8)});
        assert_eq!(config.to_string().len(), bytes);
        deploy(json!({"name": "a", "image": "a", "config": config}))
    };
    assert!(app(16 * 1024).is_ok());
    assert!(app(16 * 1024 + 1).unwrap_err().contains("16384"));
    for bad in [json!([]), json!("x"), json!(null)] {
        assert!(deploy(json!({"name": "a", "image": "a", "config": bad})).is_err(), "{bad}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}|[0-9]{1,5}x[0-9]{1,5}|jpg|png".prop_map(Value::from),
    ];
    let key = "resolution|format|quality|confidence|interval|heartbeat_interval|camera|host|ports|\
               name|image|config|resources|[a-z]{1,4}";
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(key, inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_refused_or_a_task_in_bounds(at in 0..Task::NAMES.len(), parameters in any_json()) {
        match Task::parse(Task::NAMES[at], &parameters) {
            Ok(Task::CaptureImage(capture)) => {
                prop_assert!((1..=100).contains(&capture.quality.get()));
                prop_assert!(capture.resolution.is_none_or(|r| (16..=8192).contains(&r.width)));
            }
            Ok(Task::PortCheck(check)) => {
                prop_assert!((1..=16).contains(&check.ports.iter().count()));
            }
            _ => {}
        }
    }

    #[test]
    fn any_text_is_refused_or_an_image_of_harmless_characters(
        text in "[a-z0-9.:/@_-]{0,30}|[a-z]{1,5}(\\.[a-z]{2})?(:[0-9]{1,6})?/[a-z_.-]{1,9}(:[a-z.-]{1,5})?|\\PC{0,30}",
    ) {
        if let Ok(image) = text.parse::<ImageReference>() {
            prop_assert_eq!(image.as_str(), &text);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b".:/@_-".contains(&b)));
            // A tag's dots may stand side by side ("a:1.."); those of a name would be a path's.
            let name = text.rsplit_once(':').map_or(&*text, |(name, _)| name);
            prop_assert!(!name.contains("..") && !text.contains("//") && !text.starts_with('-'));
        }
    }

    #[test]
    fn any_text_is_refused_or_a_quantity_in_bounds(text in "[0-9]{0,20}(\\.[0-9]{0,9})?([a-zA-Z]{0,2}|[eE][+-]?[0-9]{0,3})|\\PC{0,12}") {
        if let Ok(memory) = text.parse::<Memory>() {
            prop_assert!((1 << 20..=1 << 50).contains(&memory.bytes()));
            prop_assert_eq!(memory.to_string(), text);
        }
    }

    #[test]
    fn a_resolution_comes_back_as_it_was(width in 16u32..=8192, height in 16u32..=8192) {
        let resolution = Resolution { width, height };
        prop_assert_eq!(resolution.to_string().parse::<Resolution>().unwrap(), resolution);
    }
}
