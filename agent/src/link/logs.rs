//! The agent's own log, to those who follow it: each on a stream that the hub opens.
//!
//! Nothing waits for them: a line that a slow one has not read when it goes out of memory is lost
//! to that one, and it is told how many were.

use std::time::Duration;

use cloudcore_protocol::{
    Frame, FrameCodec, LogBatch, LogLine, LogRequest, Timestamp, Unsupported, command::Since,
};
use futures_util::{SinkExt as _, StreamExt as _};
use quinn::{Connection, RecvStream, SendStream};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::LinkError;
use crate::logs::{Follower, LogRing, Wanted};

/// Those who follow at once: what the hub may open is bounded by it.
pub(super) const FOLLOWERS: u32 = 4;
/// A stream's first frame.
const FIRST: Duration = Duration::from_secs(10);
/// Longest stream; the hub ends it before.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// Bytes of text in a frame, which holds 256 KiB.
const BATCH: usize = 64 * 1024;
/// From frame to frame: lines come in bursts, and sending one may itself be worth a line.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the streams that the hub opens, until the connection's end, and says why it ended.
pub(super) async fn serving(connection: &Connection, logs: &LogRing) -> LinkError {
    let mut streams = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept_bi() => accepted,
            Some(_) = streams.join_next() => continue,
        };
        match accepted {
            Ok((send, recv)) => {
                let logs = logs.clone();
                streams.spawn(async move {
                    match timeout(LONGEST, serve(&logs, send, recv)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            tracing::debug!(%error, "nobody follows the log any more");
                        }
                        Err(_) => tracing::debug!("the log was followed for long enough"),
                    }
                });
            }
            Err(error) => return error.into(),
        }
    }
}

async fn serve(logs: &LogRing, send: SendStream, recv: RecvStream) -> Result<(), LinkError> {
    let first = timeout(FIRST, FramedRead::new(recv, FrameCodec).next()).await;
    let mut writer = FramedWrite::new(send, FrameCodec);
    match first.map_err(|_| LinkError::Slow(FIRST))? {
        Some(Ok(Frame::LogRequest(asked))) => {
            let follower = follower(logs, &asked);
            send_lines(follower, asked.follow, &mut writer).await?;
        }
        Some(Ok(Frame::Unknown(kind))) => {
            writer.send(&Frame::Unsupported(Unsupported { kind })).await?;
        }
        Some(Ok(_)) => {
            return Err(LinkError::Protocol(
                "a stream of the hub began with something else".into(),
            ));
        }
        Some(Err(error)) => return Err(error.into()),
        None => return Err(LinkError::Lost("the hub asked for nothing".into())),
    }
    writer.into_inner().finish().ok();
    Ok(())
}

fn follower(logs: &LogRing, asked: &LogRequest) -> Follower {
    let ago = asked.since_ago_ms.map(|ago| Since::Ago(Duration::from_millis(ago)));
    let since = asked.since.or_else(|| ago.map(|ago| ago.from(Timestamp::now())));
    logs.follow(asked.lines.into(), Wanted { since, level: asked.level })
}

/// What is there at once, be it nothing, and then what is written.
async fn send_lines(
    mut follower: Follower,
    follow: bool,
    writer: &mut FramedWrite<SendStream, FrameCodec>,
) -> Result<(), LinkError> {
    let mut is_first = true;
    loop {
        let (lines, lost) = follower.read(BATCH);
        let is_empty = lines.is_empty();
        if is_first || !is_empty || lost > 0 {
            let lines = lines.iter().map(|line| LogLine {
                at: line.at,
                level: line.level,
                target: line.target.to_owned(),
                text: line.text.clone(),
            });
            let batch = LogBatch { lines: lines.collect(), lost };
            // Waits while the hub reads nothing.
            writer.send(&Frame::LogBatch(batch)).await?;
            is_first = false;
        }
        if !is_empty {
            continue;
        }
        if !follow {
            return Ok(());
        }
        tokio::select! {
            () = follower.more() => sleep(PAUSE).await,
            stopped = writer.get_mut().stopped() => {
                drop(stopped);
                return Ok(());
            }
        }
    }
}
