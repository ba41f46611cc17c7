//! Frames and events: a kind and a body, so that a reader can skip what it does not know.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::{
    Alert, BlobHeader, BlobReply, CancelCommand, Command, CommandFinished, CommandStarted,
    Detection, Goodbye, Heartbeat, Hello, JoinReply, JoinRequest, LogBatch, LogRequest, ModelReply,
    ModelRequest, ReleaseHeader, ReleaseRequest, RenewNow, RenewReply, RenewRequest, Timestamp,
    Unsupported, Welcome,
};

/// An enum on the wire as `[kind, body]`, with a variant for the kinds of a newer peer.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $kind:literal => $variant:ident, )+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$vdoc])* $variant($variant), )+
            /// A kind that this build does not know; its body was skipped.
            Unknown(u32),
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                ctx: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.array(2)?;
                match self {
                    $( Self::$variant(body) => { e.u32($kind)?; body.encode(e, ctx) } )+
                    Self::Unknown(kind) => e.u32(*kind)?.null()?.ok(),
                }
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
                let extra = match d.array()? {
                    Some(n) if n >= 2 => n - 2,
                    _ => return Err(decode::Error::message("expected [kind, body]")),
                };
                let decoded = match d.u32()? {
                    $( $kind => Self::$variant(Decode::decode(d, ctx)?), )+
                    kind => { d.skip()?; Self::Unknown(kind) }
                };
                for _ in 0..extra {
                    d.skip()?;
                }
                Ok(decoded)
            }
        }
    };
}

open_enum!(
    /// Everything that travels on a stream.
    Frame {
        /// Agent, first on a link.
        1 => Hello,
        /// Hub, in answer to it.
        2 => Welcome,
        /// Agent: something happened.
        3 => Event,
        /// Hub: committed up to here.
        4 => EventAck,
        /// Hub: do this.
        5 => Command,
        /// Hub: stop doing that.
        6 => CancelCommand,
        /// Agent: a new certificate, please.
        7 => RenewRequest,
        /// Hub, in answer to it.
        8 => RenewReply,
        /// Either: that kind is unknown here.
        9 => Unsupported,
        /// Either, last on a link.
        10 => Goodbye,
        /// Hub: ask for a new certificate now.
        12 => RenewNow,
        /// Agent, on a join connection.
        20 => JoinRequest,
        /// Hub, in answer to it.
        21 => JoinReply,
        /// Agent, first on a blob's stream.
        30 => BlobHeader,
        /// Hub, last on a blob's stream.
        31 => BlobReply,
        /// Agent, first on a model's stream.
        40 => ModelRequest,
        /// Hub, in answer to it; the model's bytes follow.
        41 => ModelReply,
        /// Agent, alone on a release's stream.
        50 => ReleaseRequest,
        /// Hub, in answer to it.
        51 => ReleaseHeader,
        /// Hub, alone on a log's stream, which it opens.
        60 => LogRequest,
        /// Agent, in answer to it, again and again.
        61 => LogBatch,
    }
);

open_enum!(
    /// What happened.
    EventBody {
        /// How the device is.
        1 => Heartbeat,
        /// An object came or went.
        2 => Detection,
        /// A command began to run.
        3 => CommandStarted,
        /// A command ended.
        4 => CommandFinished,
        /// Something an operator should know.
        5 => Alert,
    }
);

/// Independent queues, so that a backlog of detections never delays a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Lane {
    /// Lives of commands, and alerts.
    #[n(0)]
    Commands,
    /// Heartbeats.
    #[n(1)]
    Status,
    /// Detections.
    #[n(2)]
    Detections,
}

impl Lane {
    /// All of them, most urgent first.
    pub const ALL: [Self; 3] = [Self::Commands, Self::Status, Self::Detections];
}

/// One entry of an agent's outbox.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Event {
    /// The queue it stands in.
    #[n(0)]
    pub lane: Lane,
    /// 1, 2, 3, … within its outbox and lane.
    #[n(1)]
    pub seq: u64,
    /// When it happened, by the agent's clock.
    #[n(2)]
    pub at: Timestamp,
    /// What happened.
    #[n(3)]
    pub body: EventBody,
}

/// The hub has committed `seq` and all before it in this lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct EventAck {
    /// The queue.
    #[n(0)]
    pub lane: Lane,
    /// The last committed number; 0 for none.
    #[n(1)]
    pub seq: u64,
}

impl EventBody {
    /// The lane this kind of event travels in.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Heartbeat(_) => Lane::Status,
            Self::Detection(_) => Lane::Detections,
            Self::CommandStarted(_)
            | Self::CommandFinished(_)
            | Self::Alert(_)
            | Self::Unknown(_) => Lane::Commands,
        }
    }
}
