//! An agent's log as it is written: a stream that the hub opens, read no faster than its reader
//! takes it.

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{CAPABILITY_LOGS, DeviceId, Frame, LogBatch, LogRequest};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Registry, Session,
    frames::{FrameError, FrameReader, FrameWriter},
};
use crate::error::{Code, Error, Result};

/// Most that follow one device's log; what an agent lets the hub open.
pub(super) const OF_A_DEVICE: usize = 4;
/// Most that follow one in all.
pub(super) const IN_ALL: usize = 64;
/// The agent's first answer: it comes at once, whether there is a line or not.
const ANSWER: Duration = Duration::from_secs(10);

/// A log that is followed. Dropping it ends the stream.
#[derive(Debug)]
pub struct LogStream {
    reader: FrameReader,
    first: Option<LogBatch>,
    _places: [OwnedSemaphorePermit; 2],
}

impl Registry {
    /// Asks a device's agent for its log.
    ///
    /// # Errors
    /// API-008 for a device that is away or does not answer, API-001 for one without an agent,
    /// API-009 for one whose agent is too old and when too many follow.
    pub async fn follow_log(&self, device: &DeviceId, request: LogRequest) -> Result<LogStream> {
        let away = || Error::new(Code::Unreachable, format!("device '{device}' is away"));
        let session = self.get(device).ok_or_else(away)?;
        let Some(connection) = session.connection.clone() else {
            return Err(Error::invalid(format!(
                "device '{device}' has no agent, and so no log that could be read"
            )));
        };
        if !session.capabilities.iter().any(|can| can == CAPABILITY_LOGS) {
            return Err(Error::new(
                Code::Unavailable,
                format!("the agent of '{device}' is too old for this: update it, or use get_logs"),
            ));
        }
        let places = [
            place(&session.followers, OF_A_DEVICE, "of this device")?,
            place(&self.followers, IN_ALL, "of this hub")?,
        ];
        let asked = async {
            let (send, recv) = connection.open_bi().await?;
            let (mut reader, mut writer) = (FrameReader::new(recv), FrameWriter::new(send));
            writer.push(&Frame::LogRequest(request))?;
            writer.flush().await?;
            // Nobody waits for that to be acknowledged: the agent's answer says it.
            writer.end();
            Ok::<_, FrameError>((reader.next().await?, reader))
        };
        let silent = |cause: Box<dyn std::error::Error + Send + Sync>| Error {
            cause: Some(cause),
            ..Error::new(Code::Unreachable, format!("device '{device}' does not answer"))
        };
        match timeout(ANSWER, asked).await {
            Ok(Ok((Some(Frame::LogBatch(first)), reader))) => {
                Ok(LogStream { reader, first: Some(first), _places: places })
            }
            Ok(Ok(_)) => Err(silent("a log was answered with something else".into())),
            Ok(Err(error)) => Err(silent(error.into())),
            Err(late) => Err(silent(late.into())),
        }
    }
}

fn place(places: &Arc<Semaphore>, most: usize, whose: &str) -> Result<OwnedSemaphorePermit> {
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        let message = format!("{most} follow the log {whose} already: try again later");
        Error::new(Code::Unavailable, message)
    })
}

impl LogStream {
    /// What comes next; `None` where the agent has said all, an error for people where the device
    /// has gone.
    ///
    /// # Errors
    /// API-008.
    pub async fn next(&mut self) -> Result<Option<LogBatch>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        match self.reader.next().await {
            Ok(Some(Frame::LogBatch(batch))) => Ok(Some(batch)),
            Ok(None) => Ok(None),
            Ok(Some(_)) => Err(Error::new(Code::Unreachable, "the agent said something else")),
            Err(error) => Err(Error {
                cause: Some(error.into()),
                ..Error::new(Code::Unreachable, "the device has gone")
            }),
        }
    }
}

impl Session {
    /// Places for those who follow the log of one device.
    pub(super) fn follower_places() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(OF_A_DEVICE))
    }
}
