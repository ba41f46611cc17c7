//! What stands in `deploy/` fits the programs.

use std::path::Path;

use cloudcore_hub::config::Options;

#[test]
fn the_example_settings_are_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/hub.example.toml");
    let options = Options::from_file(&path).expect("it parses");
    let config = options.check().expect("it is valid");
    assert!(config.max_devices > 0);
}

#[test]
fn a_setting_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.toml");
    std::fs::write(&path, "colour = 'blue'\n").unwrap();
    let error = Options::from_file(&path).unwrap_err().to_string();
    assert!(error.contains("colour") && error.contains("hub.toml"), "{error}");
}
