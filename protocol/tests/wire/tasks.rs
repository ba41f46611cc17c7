//! Commands' parameters: what is understood, and what is refused with a reason.

use std::time::Duration;

use cloudcore_protocol::command::{CommandError, PictureFormat, Resolution, Task};
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
fn every_name_of_the_list_is_a_command_and_takes_no_parameters_or_none() {
    for name in Task::NAMES {
        assert!(parse(name, json!({})).is_ok(), "{name}");
        assert_eq!(parse(name, json!(null)), parse(name, json!({})), "{name}");
    }
}

#[test]
fn only_a_reboot_is_not_repeatable() {
    for name in Task::NAMES {
        assert_eq!(parse(name, json!({})).unwrap().is_repeatable(), name != "reboot", "{name}");
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
        let error = parse(name, json!({"colour": "red"})).unwrap_err();
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
    let task = parse("set_config", json!({"camera": "v4l2:///dev/video0"})).unwrap();
    let Task::SetConfig(config) = task else { panic!("{task:?}") };
    assert_eq!(config.camera.as_deref(), Some("v4l2:///dev/video0"));
    assert_eq!((config.heartbeat_interval, config.detection_interval), (None, None));
    assert_eq!(config.confidence, None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}|[0-9]{1,5}x[0-9]{1,5}|jpg|png".prop_map(Value::from),
    ];
    let key = "resolution|format|quality|confidence|interval|heartbeat_interval|camera|[a-z]{1,4}";
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
        if let Ok(Task::CaptureImage(capture)) = Task::parse(Task::NAMES[at], &parameters) {
            prop_assert!((1..=100).contains(&capture.quality.get()));
            prop_assert!(capture.resolution.is_none_or(|r| (16..=8192).contains(&r.width)));
        }
    }

    #[test]
    fn a_resolution_comes_back_as_it_was(width in 16u32..=8192, height in 16u32..=8192) {
        let resolution = Resolution { width, height };
        prop_assert_eq!(resolution.to_string().parse::<Resolution>().unwrap(), resolution);
    }
}
