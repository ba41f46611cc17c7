//! Any JSON is refused, or a task within its bounds.
#![no_main]

use cloudcore_protocol::command::Task;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (at, text) = input;
    let Ok(parameters) = serde_json::from_str(text) else { return };
    let name = Task::NAMES[usize::from(at) % Task::NAMES.len()];
    match Task::parse(name, &parameters) {
        Ok(Task::CaptureImage(capture)) => {
            assert!((1..=100).contains(&capture.quality.get()));
            if let Some(size) = capture.resolution {
                assert!((16..=8192).contains(&size.width) && (16..=8192).contains(&size.height));
                assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
        Ok(Task::StartDetection(start)) => {
            assert!(start.confidence.is_none_or(|c| (0.0..=1.0).contains(&c.get())));
            assert!(start.interval.is_none_or(|s| s.duration().as_secs_f64() >= 0.049));
        }
        Ok(Task::PortCheck(check)) => assert!((1..=16).contains(&check.ports.iter().count())),
        Ok(Task::DeployApp(app)) => {
            assert!((1..=63).contains(&app.name.as_str().len()));
            let again = serde_json::to_value(&app).expect("it was JSON");
            assert_eq!(Task::parse("deploy_app", &again), Ok(Task::DeployApp(app)));
        }
        Ok(_) | Err(_) => {}
    }
});
