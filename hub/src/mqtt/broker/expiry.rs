//! How long a session outlives its connection: as the CONNECT says, which is what was counted
//! when the client was let in. A DISCONNECT may shorten it, and not begin it (MQTT 5, 3.14.2.2.2).

use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::Duration,
};

use rmqtt::{
    codec::types::Publish,
    fitter::{DefaultFitter, Fitter, FitterManager},
    types::{ConnectInfo, Disconnect, FitterType, Id, ListenerConfig},
};

/// Makes a [`Fitted`] for each connection.
pub(super) struct Fitting;

impl FitterManager for Fitting {
    fn create(&self, info: Arc<ConnectInfo>, id: Id, config: ListenerConfig) -> FitterType {
        Arc::new(Fitted { inner: DefaultFitter::new(info, id, config) })
    }
}

/// The engine's own terms for a connection, but for the session's life.
struct Fitted {
    inner: DefaultFitter,
}

impl Fitter for Fitted {
    fn keep_alive(&self, keep_alive: &mut u16) -> rmqtt::Result<u16> {
        self.inner.keep_alive(keep_alive)
    }

    fn max_mqueue_len(&self) -> usize {
        self.inner.max_mqueue_len()
    }

    fn mqueue_rate_limit(&self) -> (NonZeroU32, Duration) {
        self.inner.mqueue_rate_limit()
    }

    fn max_inflight(&self) -> NonZeroU16 {
        self.inner.max_inflight()
    }

    fn session_expiry_interval(&self, disconnect: Option<&Disconnect>) -> Duration {
        let asked = self.inner.session_expiry_interval(None);
        self.inner.session_expiry_interval(disconnect).min(asked)
    }

    fn message_expiry_interval(&self, publish: &Publish) -> Duration {
        self.inner.message_expiry_interval(publish)
    }

    fn max_client_topic_aliases(&self) -> u16 {
        self.inner.max_client_topic_aliases()
    }

    fn max_server_topic_aliases(&self) -> u16 {
        self.inner.max_server_topic_aliases()
    }
}
