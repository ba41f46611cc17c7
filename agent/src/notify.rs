//! What the service manager wants to hear, by sd_notify(3); nothing where there is none.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// The agent works.
pub(crate) fn ready() {
    tell("READY=1");
}

/// The agent ends.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// The agent is alive.
pub(crate) fn alive() {
    tell("WATCHDOG=1");
}

/// How often [`alive`] has to be said; half of what the service manager allows.
pub(crate) fn interval() -> Option<Duration> {
    let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros / 2))
}

fn tell(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}
