//! `keadm`: the front of `cloudcore-agent` that takes KubeEdge's flags.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloudcore_agent::cli::keadm(std::env::args_os())
}
