//! A device's objects and its node are removed. Only what is this hub's goes; what others have made
//! or still hold is named.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::ApiResource,
};
use serde_json::json;
use tokio::sync::MutexGuard;

use super::{
    discovery::Kinds,
    objects::{EdgeDevice, HUB, Kind, Owner, Place},
};
use crate::{
    cluster::{
        Cluster, Standing,
        apply::{MANAGER, api},
        error::Failure,
        labels::is_ours,
    },
    error::{Error, Result},
};

/// The label of nodes at the edge.
const EDGE: &str = "node-role.kubernetes.io/edge";
/// Objects that are read at once.
const PAGE: u32 = 500;

/// The right to change the objects of devices, for as long as it is held.
pub struct Turn<'a>(#[allow(dead_code, reason = "held, not read")] MutexGuard<'a, ()>);

/// What was removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// What was done, in words.
    pub done: Vec<String>,
    /// What was not, in words, with why.
    pub left: Vec<String>,
    /// Whether it is worth another try.
    pub is_open: bool,
}

/// What became of one object.
enum Gone {
    /// It was not there.
    Never,
    Deleted,
    /// Its finalizers hold it.
    Requested,
    /// It is not this hub's.
    Others(&'static str),
}

/// An object of this hub's that no device wants any more.
#[derive(Debug)]
pub struct Stray {
    /// Which it is.
    pub place: Place,
    uid: Option<String>,
}

impl Removed {
    fn failed(&mut self, what: &str, failure: Failure) {
        tracing::debug!(%failure, what, "an object can't be removed");
        self.is_open = true;
        self.left.push(format!("{what}: {}", Error::from(failure).message));
    }

    fn note(&mut self, what: &str, words: &str, gone: Result<Gone, Failure>) {
        match gone {
            Ok(Gone::Never) => {}
            Ok(Gone::Deleted) => self.done.push(format!("{words} deleted")),
            Ok(Gone::Requested) => self.done.push(format!("{words} deletion requested")),
            Ok(Gone::Others(why)) => self.left.push(format!("{what}: {why}")),
            Err(failure) => self.failed(what, failure),
        }
    }
}

impl Cluster {
    /// Waits until nobody else changes the objects of devices.
    pub async fn device_turn(&self) -> Turn<'_> {
        Turn(self.devices.turn.lock().await)
    }

    /// Removes what the cluster has of a device that is no more: its objects, that of its type where
    /// `is_last` of it, and its node if that is at the edge.
    pub async fn remove_device(
        &self,
        _: &Turn<'_>,
        device: &EdgeDevice,
        owner: &Owner,
        is_last: bool,
        removed: &mut Removed,
    ) {
        if self.standing() == Standing::Disconnected {
            removed.is_open = true;
            removed
                .left
                .push("the cluster is away: its part of the device is removed later".into());
            return;
        }
        let kinds = match self.connection.device_kinds().await {
            Ok(kinds) => kinds,
            Err(failure) => return removed.failed("Cluster", failure),
        };
        for kind in [Kind::Device, Kind::Model, Kind::ConfigMap] {
            if kind == Kind::Model && !is_last {
                continue;
            }
            let words = match kind {
                // The contract's own.
                Kind::Device => "Device CRD",
                other => other.as_str(),
            };
            let gone = self.remove_object(kind, device, owner, &kinds).await;
            removed.note(kind.as_str(), words, gone);
        }
        let mut rights = Vec::new();
        for kind in [Kind::Binding, Kind::Role, Kind::Account] {
            match self.remove_object(kind, device, owner, &kinds).await {
                Ok(Gone::Deleted | Gone::Requested) => rights.push(kind.as_str()),
                gone => removed.note(kind.as_str(), kind.as_str(), gone),
            }
        }
        match rights.as_slice() {
            [] => {}
            [_, _, _] => removed.done.push("RBAC deleted".into()),
            some => removed.done.push(format!("RBAC deleted: {}", some.join(", "))),
        }
        self.remove_node(device.node_name.as_str(), removed).await;
    }

    async fn remove_object(
        &self,
        kind: Kind,
        device: &EdgeDevice,
        owner: &Owner,
        kinds: &Kinds,
    ) -> Result<Gone, Failure> {
        let Some(resource) = kind.resource(kinds.served()) else { return Ok(Gone::Never) };
        let name = device.place(kind).name;
        let namespace = Some(self.settings.namespace.as_str());
        let there: Option<DynamicObject> =
            self.connection.get(|client| api(client, &resource, namespace), &name).await?;
        let Some(there) = there else { return Ok(Gone::Never) };
        if there.metadata.deletion_timestamp.is_some() {
            return Ok(Gone::Requested);
        }
        if !is_ours(&there.metadata) {
            return Ok(Gone::Others("is not the hub's, and stays"));
        }
        if there.annotations().get(HUB).is_some_and(|hub| *hub != owner.hub) {
            return Ok(Gone::Others("is another hub's, and stays"));
        }
        if kind == Kind::Model && self.is_used(&name, kinds).await? {
            return Ok(Gone::Others("is used by other Device objects, and stays"));
        }
        self.delete_exactly(&resource, &name, there.metadata.uid).await
    }

    /// Whether a `Device` of the namespace refers to this `DeviceModel`, whoever made it.
    async fn is_used(&self, model: &str, kinds: &Kinds) -> Result<bool, Failure> {
        let Some(resource) = &Kind::Device.resource(kinds.served()) else { return Ok(false) };
        let namespace = Some(self.settings.namespace.as_str());
        let mut page = kube::api::ListParams::default().limit(PAGE);
        loop {
            let asked = &page;
            let list = self
                .connection
                .call(|client| async move { api(client, resource, namespace).list(asked).await })
                .await?;
            let uses = |device: &DynamicObject| {
                device.data["spec"]["deviceModelRef"]["name"] == model
                    && device.metadata.deletion_timestamp.is_none()
            };
            if list.items.iter().any(uses) {
                return Ok(true);
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(false),
            }
        }
    }

    /// Deletes the object that was looked at, and no other that has its name meanwhile.
    async fn delete_exactly(
        &self,
        resource: &ApiResource,
        name: &str,
        uid: Option<String>,
    ) -> Result<Gone, Failure> {
        let namespace = Some(self.settings.namespace.as_str());
        let parameters = &DeleteParams::background()
            .preconditions(Preconditions { uid, resource_version: None });
        let deleted = self
            .connection
            .call(|client| async move {
                api(client, resource, namespace).delete(name, parameters).await
            })
            .await;
        match deleted {
            Ok(kept) => {
                let held = kept.left().is_some_and(|object| !object.finalizers().is_empty());
                Ok(if held { Gone::Requested } else { Gone::Deleted })
            }
            Err(failure) if failure.is_not_found() => Ok(Gone::Never),
            Err(failure) => Err(failure),
        }
    }

    async fn remove_node(&self, name: &str, removed: &mut Removed) {
        let there: Option<Node> = match self.connection.get(Api::all, name).await {
            Ok(there) => there,
            Err(failure) => return removed.failed("Node", failure),
        };
        let Some(node) = there else { return };
        if !node.labels().contains_key(EDGE) {
            removed.left.push(format!("Node: '{name}' is not at the edge, and stays"));
            return;
        }
        if node.metadata.deletion_timestamp.is_some() {
            removed.done.push("Node deletion requested".into());
            return;
        }
        if node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true) {
            match self.cordon(name).await {
                Ok(()) => removed.done.push("Node cordoned".into()),
                Err(failure) => return removed.failed("Node", failure),
            }
        }
        let parameters = &DeleteParams::default()
            .preconditions(Preconditions { uid: node.metadata.uid, resource_version: None });
        let deleted = self
            .connection
            .call(|client| async move { Api::<Node>::all(client).delete(name, parameters).await });
        match deleted.await {
            Ok(kept) => {
                let held = kept.left().is_some_and(|node| !node.finalizers().is_empty());
                let words =
                    if held { "Node deletion requested" } else { "Node removed from cluster" };
                removed.done.push(words.into());
            }
            Err(failure) if failure.is_not_found() => {}
            Err(failure) => removed.failed("Node", failure),
        }
    }

    /// No pod is to come to a node that goes. A merge, not an apply: that would make a node that is
    /// gone meanwhile.
    async fn cordon(&self, name: &str) -> Result<(), Failure> {
        let parameters =
            &PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = &Patch::Merge(json!({ "spec": { "unschedulable": true } }));
        self.connection
            .call(|client| async move {
                Api::<Node>::all(client).patch(name, parameters, patch).await.map(drop)
            })
            .await
    }

    /// The objects of this hub's that are not among those that are wanted.
    #[must_use]
    pub fn stray_objects(&self, owner: &Owner, is_wanted: impl Fn(&Place) -> bool) -> Vec<Stray> {
        // First what speaks of others.
        let kinds =
            [Kind::Device, Kind::Model, Kind::Binding, Kind::Role, Kind::Account, Kind::ConfigMap];
        let mut strays = Vec::new();
        for kind in kinds {
            for (name, found) in self.devices.all(kind) {
                let place = Place { kind, name };
                if found.is_of(owner) && !found.is_going && !is_wanted(&place) {
                    strays.push(Stray { place, uid: found.uid.clone() });
                }
            }
        }
        strays
    }

    /// Deletes one of them.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn delete_stray(&self, _: &Turn<'_>, stray: &Stray) -> Result<()> {
        let kinds = self.devices.kinds();
        let Place { kind, name } = &stray.place;
        let served = kinds.as_ref().and_then(Kinds::served);
        let Some(resource) = kind.resource(served) else { return Ok(()) };
        if *kind == Kind::Model
            && let Some(kinds) = &kinds
            && self.is_used(name, kinds).await?
        {
            return Ok(());
        }
        self.delete_exactly(&resource, name, stray.uid.clone()).await?;
        let kind = kind.as_str();
        tracing::info!(kind, name, "an object of no device is deleted");
        Ok(())
    }
}
