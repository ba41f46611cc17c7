#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use clap::{CommandFactory as _, Parser as _};

use super::{AgentCli, KeadmCli, KeadmCommand};

const TOKEN: &str = "0000000000000000000000000000000000000000000000000000000000000000.a.b.c";

#[test]
fn the_flags_are_consistent() {
    AgentCli::command().debug_assert();
    KeadmCli::command().debug_assert();
}

#[test]
fn the_documented_join_command_works_as_printed() {
    let line = format!(
        "keadm join --cloudcore-ipport=3.70.53.21:30374 --edgenode-name=edge-node-001 --token={TOKEN}"
    );
    let KeadmCommand::Join(join) = KeadmCli::try_parse_from(line.split(' ')).unwrap().command
    else {
        panic!("not a join")
    };
    assert_eq!(join.cloudcore_ipport.to_string(), "3.70.53.21:30374");
    assert_eq!(join.edgenode_name.as_ref().unwrap().as_str(), "edge-node-001");
    assert!(join.kubeedge.given().is_empty());
}

#[test]
fn kubeedges_flags_are_accepted_and_named() {
    let line = format!(
        "keadm join -e hub:1 -i n -t {TOKEN} -s 10002 -l a=1,b=2 --kubeedge-version=1.20.0 \
         -p unix:///run/containerd/containerd.sock --cgroupdriver systemd --certPath /x \
         --tarballpath /y --image-repository r --hub-protocol quic --set a=b --set c=d \
         --pre-run p --post-run q -r remote --with-mqtt --device-id cam-1"
    );
    let words = line.split_whitespace();
    let KeadmCommand::Join(join) = KeadmCli::try_parse_from(words).unwrap().command else {
        panic!("not a join")
    };
    assert_eq!(join.labels().len(), 2);
    assert_eq!(join.kubeedge.given().len(), 13);
}

#[test]
fn a_bad_value_is_a_usage_error() {
    for bad in ["-e hub:0 -i n -t x", "-e hub:1 -i UPPER -t x", "-e hub:1 -t x -l novalue"] {
        let words = format!("keadm join {bad}");
        KeadmCli::try_parse_from(words.split(' ')).unwrap_err();
    }
}
