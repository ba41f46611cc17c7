//! The engine's own routing, with a pace for retained messages: a client that subscribes to
//! thousands of them would lose all that its queue does not hold.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rmqtt::{
    context::ServerContext,
    session::Session,
    shared::{DefaultShared, Entry, RetainLoadCallback, Shared},
    types::{
        ForwardedCount, ForwardedRecipients, From as Origin, Id, MsgID, NodeId, Publish, Reason,
        SessionStatus, SubRelations, SubRelationsMap, SubsSearchParams, SubsSearchResult, To,
        TopicFilter,
    },
};

/// Retained messages at a time.
const AT_ONCE: usize = 200;
/// Between them.
const PAUSE: Duration = Duration::from_millis(20);

type Undelivered = Vec<(To, Origin, Publish, Reason)>;

/// The engine's routing.
pub(super) struct Paced {
    inner: DefaultShared,
    scx: ServerContext,
}

impl Paced {
    /// Of this engine.
    pub fn new(scx: ServerContext) -> Self {
        Self { inner: DefaultShared::new(Some(scx.clone())), scx }
    }
}

#[async_trait]
impl Shared for Paced {
    async fn retain_load_with(
        &self,
        topic_filter: &TopicFilter,
        cb: Arc<dyn RetainLoadCallback>,
    ) -> rmqtt::Result<Vec<(NodeId, MsgID)>> {
        let retained = self.scx.extends.retain().await.get(topic_filter).await?;
        let mut sent = Vec::new();
        for (n, some) in retained.chunks(AT_ONCE).enumerate() {
            if n > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            sent.extend(cb.on_retains(some.to_vec()).await?);
        }
        Ok(sent)
    }

    fn entry(&self, id: Id) -> Box<dyn Entry> {
        self.inner.entry(id)
    }

    fn exist(&self, client_id: &str) -> bool {
        self.inner.exist(client_id)
    }

    async fn forwards(
        &self,
        msg_id: Option<MsgID>,
        from: Origin,
        publish: Publish,
    ) -> Result<ForwardedCount, (ForwardedCount, Undelivered)> {
        self.inner.forwards(msg_id, from, publish).await
    }

    async fn forwards_and_get_shareds(
        &self,
        from: Origin,
        publish: Publish,
    ) -> Result<(SubRelationsMap, ForwardedRecipients), (ForwardedRecipients, Undelivered)> {
        self.inner.forwards_and_get_shareds(from, publish).await
    }

    async fn forwards_to(
        &self,
        from: Origin,
        publish: &Publish,
        relations: SubRelations,
        msg_id: Option<MsgID>,
    ) -> Result<ForwardedRecipients, (ForwardedRecipients, Undelivered)> {
        self.inner.forwards_to(from, publish, relations, msg_id).await
    }

    fn iter(&self) -> Box<dyn Iterator<Item = Box<dyn Entry>> + Sync + Send + '_> {
        self.inner.iter()
    }

    fn random_session(&self) -> Option<Session> {
        self.inner.random_session()
    }

    async fn session_status(&self, client_id: &str) -> Option<SessionStatus> {
        self.inner.session_status(client_id).await
    }

    async fn client_states_count(&self) -> usize {
        self.inner.client_states_count().await
    }

    fn sessions_count(&self) -> usize {
        self.inner.sessions_count()
    }

    async fn query_subscriptions(&self, q: &SubsSearchParams) -> Vec<SubsSearchResult> {
        self.inner.query_subscriptions(q).await
    }

    async fn subscriptions_count(&self) -> usize {
        self.inner.subscriptions_count().await
    }
}
