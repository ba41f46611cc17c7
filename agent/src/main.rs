//! `cloudcore-agent`: see `cloudcore_agent::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloudcore_agent::cli::agent(std::env::args_os())
}
