//! Objects in the cluster: applied by the server under the hub's one field manager, read, deleted.
//!
//! What others hold of an object is never taken from them: a conflict is an error that names them.

use std::sync::Arc;

use kube::{
    Api, Client, Resource,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{connection::Connection, error::Failure};
use crate::error::{Error, Result};

/// The hub's name among the managers of fields.
pub(super) const MANAGER: &str = "cloudcore-hub";

/// An object as the hub wants it: only the fields that are the hub's.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) resource: ApiResource,
    /// `None` for what belongs to no namespace.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    body: Arc<DynamicObject>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It was not there before.
    Created,
    /// It was there, and differed.
    Updated,
    /// It was so already.
    Unchanged,
}

impl Object {
    /// Of a type that is known.
    ///
    /// # Errors
    /// API-007 when it has no name.
    pub(super) fn of<K>(object: &K) -> Result<Self>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let body = serde_json::to_value(object)
            .and_then(serde_json::from_value::<DynamicObject>)
            .map_err(Error::internal)?;
        Self::dynamic(ApiResource::erase::<K>(&()), body)
    }

    /// Of a kind that was discovered.
    ///
    /// # Errors
    /// API-007 when it has no name.
    pub(super) fn dynamic(resource: ApiResource, body: DynamicObject) -> Result<Self> {
        let name = body.metadata.name.clone();
        Ok(Self {
            resource,
            namespace: body.metadata.namespace.clone(),
            name: name.ok_or_else(|| Error::internal("an object without a name"))?,
            body: Arc::new(body),
        })
    }

    /// The fields that are the hub's.
    pub(super) fn body(&self) -> &DynamicObject {
        &self.body
    }

    fn api(&self, client: Client) -> Api<DynamicObject> {
        api(client, &self.resource, self.namespace.as_deref())
    }
}

impl Change {
    /// As steps are reported.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Whether two states of an object want the same. Its version says less: the cluster's own
/// controllers write an object's status at any time.
fn is_same(one: &DynamicObject, other: &DynamicObject) -> bool {
    let wanted = |object: &DynamicObject| {
        let mut data = object.data.clone();
        if let Some(fields) = data.as_object_mut() {
            fields.remove("status");
        }
        data
    };
    let (a, b) = (&one.metadata, &other.metadata);
    a.uid == b.uid
        && a.labels == b.labels
        && a.annotations == b.annotations
        && a.owner_references == b.owner_references
        && wanted(one) == wanted(other)
}

/// Where objects of this kind are.
pub(super) fn api(
    client: Client,
    resource: &ApiResource,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    }
}

impl Connection {
    /// Has the server check what applying this would do, and do nothing.
    pub(super) async fn try_out(&self, object: &Object) -> Result<(), Failure> {
        let parameters = PatchParams::apply(MANAGER).validation_strict().dry_run();
        self.patch(object, &parameters).await.map(drop)
    }

    /// Applies this: the object as it then is, and whether that changed it.
    pub(super) async fn apply(&self, object: &Object) -> Result<(DynamicObject, Change), Failure> {
        let before = self.get_object(object).await?;
        let parameters = PatchParams::apply(MANAGER).validation_strict();
        let after = self.patch(object, &parameters).await?;
        let change = match before {
            None => Change::Created,
            Some(before) if is_same(&before, &after) => Change::Unchanged,
            Some(_) => Change::Updated,
        };
        Ok((after, change))
    }

    async fn patch(
        &self,
        object: &Object,
        parameters: &PatchParams,
    ) -> Result<DynamicObject, Failure> {
        let patch = &Patch::Apply(object.body.as_ref());
        self.call(|client| async move {
            object.api(client).patch(&object.name, parameters, patch).await
        })
        .await
    }

    /// The object as it is now, if it is there.
    pub(super) async fn get_object(
        &self,
        object: &Object,
    ) -> Result<Option<DynamicObject>, Failure> {
        self.get(|client| object.api(client), &object.name).await
    }

    /// The object of this name, if there is one.
    pub(super) async fn get<K>(
        &self,
        api: impl Fn(Client) -> Api<K>,
        name: &str,
    ) -> Result<Option<K>, Failure>
    where
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api = &api;
        self.call(|client| async move { api(client).get_opt(name).await }).await
    }

    /// Deletes an object, and what it owns behind it: whether it was there.
    pub(super) async fn delete(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<bool, Failure> {
        let parameters = &DeleteParams::background();
        let done = self
            .call(|client| async move {
                api(client, resource, namespace).delete(name, parameters).await.map(drop)
            })
            .await;
        match done {
            Ok(()) => Ok(true),
            Err(failure) if failure.is_not_found() => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}
