use super::*;

fn trial(version: &str) -> Trial {
    Trial {
        version: version.parse().unwrap(),
        from: Version::new(0, 1, 0),
        command_id: "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned().try_into().unwrap(),
        within: 60,
        starts: 0,
    }
}

fn begin(releases: &Releases, version: &str) {
    let (_, path) = releases.incoming().unwrap();
    releases.begin_trial(&path, "no signature", trial(version)).unwrap();
}

#[test]
fn without_a_release_the_installed_program_runs() {
    let dir = tempfile::tempdir().unwrap();
    let releases = Releases::new(dir.path());
    assert_eq!(releases.choose(&Version::new(0, 1, 0), None).unwrap(), Choice::Installed);
    assert_eq!(releases.current(&Version::new(0, 1, 0)), Version::new(0, 1, 0));
}

#[test]
fn a_state_that_is_torn_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let releases = Releases::new(dir.path());
    begin(&releases, "0.2.0");
    fs::write(releases.dir.join(STATE), "{\"running\":").unwrap();
    assert_eq!(releases.choose(&Version::new(0, 1, 0), None).unwrap(), Choice::Installed);
}

#[test]
fn an_unsigned_trial_is_rolled_back_and_its_command_hears_why() {
    let dir = tempfile::tempdir().unwrap();
    let releases = Releases::new(dir.path());
    begin(&releases, "0.2.0");
    let id = trial("0.2.0").command_id;
    assert_eq!(releases.standing(&id, true), Standing::OnTrial(trial("0.2.0")));
    assert_eq!(releases.standing(&id, false), Standing::Interrupted);
    assert_eq!(releases.choose(&Version::new(0, 1, 0), None).unwrap(), Choice::Installed);
    let Standing::RolledBack(reason) = releases.standing(&id, false) else { unreachable!() };
    assert!(reason.contains("update_key"), "{reason}");
    assert!(!releases.folder(&Version::new(0, 2, 0)).exists(), "a broken release is removed");
}

#[test]
fn a_confirmed_release_is_the_current_one_until_the_installed_is_newer() {
    let dir = tempfile::tempdir().unwrap();
    let releases = Releases::new(dir.path());
    for version in ["0.2.0", "0.3.0", "0.4.0"] {
        begin(&releases, version);
        releases.confirm().unwrap();
    }
    let installed = Version::new(0, 1, 0);
    assert_eq!(releases.current(&installed), Version::new(0, 4, 0));
    assert!(releases.folder(&Version::new(0, 3, 0)).exists(), "the one before is kept");
    assert!(!releases.folder(&Version::new(0, 2, 0)).exists());
    assert_eq!(releases.choose(&Version::new(0, 5, 0), None).unwrap(), Choice::Installed);
    assert_eq!(releases.current(&installed), installed);
}

#[test]
fn a_restart_is_known_by_its_command() {
    let dir = tempfile::tempdir().unwrap();
    let releases = Releases::new(dir.path());
    let id = trial("0.2.0").command_id;
    releases.ask_restart(&id).unwrap();
    assert_eq!(releases.standing(&id, false), Standing::Restarted);
    assert!(!releases.on_trial());
}
