#![allow(clippy::expect_used, reason = "a test that is surprised has failed")]

use super::*;

#[test]
fn the_documented_payloads_are_understood() {
    let order = Order::parse(br#"{"command": "reboot", "device_type": "camera"}"#);
    let order = order.expect("well-formed").expect("a command");
    assert_eq!((order.name.as_str(), order.device_type.as_deref()), ("reboot", Some("camera")));
    assert_eq!(order.timeout, Duration::from_secs(30));
    let status = Status::parse(br#"{"online": true, "cpu": "45%", "memory": "2.3GB"}"#);
    let status = status.expect("well-formed");
    assert!(status.online);
    assert_eq!(status.vitals["cpu_usage"], "45%");
    assert_eq!(status.vitals["cpu_percent"], 45.0);
    assert_eq!(status.vitals["memory_used_bytes"], 2_300_000_000_u64);
    assert_eq!(status.vitals["memory_usage"], "2.3GB");
    assert_eq!(status.vitals["temperature"], Value::Null);
}

#[test]
fn a_sensors_readings_are_kept() {
    let status = Status::parse(br#"{"online":true,"humidity":40.5,"cpu":7}"#).expect("good");
    assert_eq!(status.vitals["reported"], json!({ "humidity": 40.5 }));
    assert_eq!(status.vitals["cpu_percent"], 7.0);
}

#[test]
fn a_published_status_has_the_documented_keys_first() {
    let device: DeviceId = "s-1".parse().expect("an id");
    let vitals = json!({ "cpu_usage": "45%", "memory_used_bytes": 2_300_000_000_u64 });
    let text = status(&device, "n-1", true, &vitals, None).to_string();
    assert!(text.starts_with(r#"{"online":true,"cpu":"45%","memory":"2.3GB","#), "{text}");
    let none = status(&device, "n-1", false, &Value::Null, None);
    assert_eq!((&none["cpu"], &none["memory"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_command_of_the_hub_is_no_new_command() {
    let own = cloudcore_protocol::Command {
        id: cloudcore_protocol::CommandId::generate(),
        name: "reboot".into(),
        parameters: "null".into(),
        time_left_ms: 29_001,
    };
    let told = command(&own, Timestamp::from_micros(0));
    assert_eq!((&told["timeout"], &told["parameters"]), (&json!(30), &json!({})));
    assert!(Order::parse(told.to_string().as_bytes()).expect("well-formed").is_none());
}

#[test]
fn a_command_ends_as_its_device_says() {
    let (event, ending) =
        result(br#"{"status":"completed","result":{"on":true},"execution_time_ms":15}"#)
            .expect("well-formed");
    assert_eq!(event, commands::Event::Complete);
    assert_eq!(ending.result, Some(json!({ "on": true, "success": true })));
    assert_eq!(ending.duration_micros, Some(15_000));
    let (event, ending) =
        result(br#"{"status":"failed","error":"valve_stuck"}"#).expect("well-formed");
    assert_eq!(event, commands::Event::Fail);
    let told = ending.result.expect("a result");
    assert_eq!((&told["success"], &told["error"]), (&json!(false), &json!("valve_stuck")));
    assert!(told["message"].is_string());
    let (event, _) = result(br#"{"status":"running"}"#).expect("well-formed");
    assert_eq!(event, commands::Event::Start);
}

#[test]
fn a_detection_has_defaults() {
    let seen = detection(br#"{"object":"motion"}"#).expect("well-formed");
    assert_eq!((seen.object.as_str(), seen.phase), ("motion", DetectionPhase::Started));
    assert!((seen.confidence - 1.0).abs() < f32::EPSILON);
    let seen = detection(br#"{"object":"person","confidence":"0.95","phase":"ended"}"#);
    assert_eq!(seen.expect("well-formed").phase, DetectionPhase::Ended);
}

#[test]
fn nonsense_is_refused_and_no_more() {
    let deep = "[".repeat(100_000);
    for nonsense in [
        &b""[..],
        b"\xff\xfe\x00",
        b"null",
        b"7",
        b"[]",
        b"\"online\"",
        b"{",
        b"{\"online\":",
        deep.as_bytes(),
        br#"{"online":"yes"}"#,
        br#"{"online":true,"cpu":"NaN"}"#,
        br#"{"online":true,"cpu":"101%"}"#,
        br#"{"online":true,"cpu":[]}"#,
        br#"{"online":true,"memory":"much"}"#,
        br#"{"online":true,"memory":"-1GB"}"#,
        br#"{"online":true,"memory":"1e300TB"}"#,
        br#"{"online":true,"timestamp":"yesterday"}"#,
        br#"{"online":true,"memory":"\u00b5B"}"#,
    ] {
        let text = String::from_utf8_lossy(&nonsense[..nonsense.len().min(60)]).into_owned();
        assert!(Status::parse(nonsense).is_err(), "status {text}");
        assert!(Order::parse(nonsense).is_err(), "command {text}");
        assert!(result(nonsense).is_err(), "result {text}");
        assert!(detection(nonsense).is_err(), "detection {text}");
    }
    for bad in [
        r#"{"command":""}"#,
        r#"{"command":"Reboot"}"#,
        r#"{"command":"reboot","parameters":[]}"#,
        r#"{"command":"reboot","timeout":0}"#,
        r#"{"command":"reboot","timeout":86401}"#,
        r#"{"command":"reboot","device_type":7}"#,
    ] {
        assert!(Order::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(detection(br#"{"object":"","confidence":0.5}"#).is_err());
    assert!(detection(br#"{"object":"x","confidence":1.5}"#).is_err());
    assert!(result(br#"{"status":"completed","result":[]}"#).is_err());
    assert!(result(br#"{"status":"done"}"#).is_err());
    assert!(
        Status::parse(format!(r#"{{"online":true,"x":"{}"}}"#, "x".repeat(MAX_STATUS)).as_bytes())
            .is_err()
    );
}
