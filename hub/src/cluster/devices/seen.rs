//! The objects of devices as the cluster has them, from watches, and in what they differ from what
//! the hub wants.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex as Lock, MutexGuard as LockGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::api::DynamicObject;
use serde_json::Value;
use tokio::sync::{Mutex, Notify, watch};

use super::{
    discovery::Kinds,
    objects::{HUB, Kind, Owner, Place, Wanted},
};
use crate::{
    cluster::{Cluster, Standing, apply::Object, watched::Watched},
    error::{Code, Error},
};

/// When the cluster is asked again for what it refused.
const AGAIN: Duration = Duration::from_secs(300);

/// What is known of the objects of devices.
#[derive(Default)]
pub(in crate::cluster) struct Seen {
    /// They are changed for one device at a time.
    pub(super) turn: Mutex<()>,
    /// By [`Kind`].
    pub(super) found: [Watched<Found>; Kind::ALL.len()],
    /// What the cluster serves; `None` where it was not asked yet.
    pub(super) kinds: watch::Sender<Option<Kinds>>,
    /// The kinds may have come.
    pub(super) look: Notify,
    refused: Lock<HashMap<Place, Refused>>,
}

/// An object under the hub's labels.
#[derive(Debug)]
pub(super) struct Found {
    version: Option<String>,
    pub(super) uid: Option<String>,
    labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    data: Value,
    /// Whether it is being deleted.
    pub(super) is_going: bool,
}

/// What the cluster did not let the hub do.
#[derive(Debug)]
struct Refused {
    /// The object as it then was.
    version: Option<String>,
    wanted: Object,
    /// Whether others hold fields of it.
    is_conflict: bool,
    why: String,
    at: Instant,
}

/// How an object stands to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// As wanted, or on its way out.
    Fits,
    /// It is missing, or other.
    Differs,
    /// The same, and the cluster has refused to change that.
    Refused,
}

impl Found {
    pub(super) fn of(object: DynamicObject) -> Option<Self> {
        let mut data = object.data;
        if let Some(fields) = data.as_object_mut() {
            fields.remove("status");
        }
        Some(Self {
            version: object.metadata.resource_version,
            uid: object.metadata.uid,
            labels: object.metadata.labels.unwrap_or_default(),
            annotations: object.metadata.annotations.unwrap_or_default(),
            data,
            is_going: object.metadata.deletion_timestamp.is_some(),
        })
    }

    /// Whether it has all that is wanted of it.
    fn is(&self, wanted: &Object) -> bool {
        let wanted = wanted.body();
        let has = |there: &BTreeMap<String, String>, all: &Option<BTreeMap<String, String>>| {
            all.iter().flatten().all(|(name, value)| there.get(name) == Some(value))
        };
        has(&self.labels, &wanted.metadata.labels)
            && has(&self.annotations, &wanted.metadata.annotations)
            && covers(&self.data, &wanted.data)
    }

    /// Whether this hub made it.
    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        self.annotations.get(HUB) == Some(&owner.hub)
    }
}

/// Whether all that is wanted is there; an object may have more fields, a list no more elements.
fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| there.get(name).is_some_and(|there| covers(there, value))),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there.iter().zip(wanted).all(|(there, wanted)| covers(there, wanted))
        }
        _ => there == wanted,
    }
}

/// The objects of devices in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Objects under the hub's labels.
    pub there: usize,
    /// Those that others hold fields of, which the hub leaves to them.
    pub conflicts: usize,
    /// Those that the cluster refuses for another reason.
    pub refused: usize,
}

impl Seen {
    pub(super) const fn of(&self, kind: Kind) -> &Watched<Found> {
        &self.found[kind as usize]
    }

    /// What is there of a kind, with its name.
    pub(super) fn all(&self, kind: Kind) -> Vec<(String, Arc<Found>)> {
        let items = self.of(kind).items();
        items.iter().map(|((_, name), found)| (name.clone(), Arc::clone(found))).collect()
    }

    /// What the cluster was last found to serve.
    pub(super) fn kinds(&self) -> Option<Kinds> {
        self.kinds.borrow().clone()
    }

    /// Has the cluster be asked for the kinds of devices at once.
    pub(in crate::cluster) fn look(&self) {
        self.look.notify_one();
    }

    fn refused(&self) -> LockGuard<'_, HashMap<Place, Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes, and logs where that is news, what the cluster refuses.
    pub(super) fn refuse(&self, (place, wanted): &Wanted, version: Option<String>, why: &Error) {
        let is_conflict = why.code == Code::Exists;
        let text = why.message.to_string();
        let before = self.refused().insert(
            place.clone(),
            Refused {
                version,
                wanted: wanted.clone(),
                is_conflict,
                why: text.clone(),
                at: Instant::now(),
            },
        );
        if before.is_none_or(|before| before.why != text) {
            let kind = place.kind.as_str();
            tracing::warn!(kind, name = place.name, why = text, "an object is not as it should be");
        }
    }

    pub(super) fn settled(&self, place: &Place) {
        self.refused().remove(place);
    }

    /// Forgets what was refused of objects that are wanted no more.
    pub(super) fn forget_refused(&self, wanted: &HashSet<Place>) {
        self.refused().retain(|place, _| wanted.contains(place));
    }

    /// How an object that is wanted stands, as far as the watches know.
    pub(super) fn look_at(&self, wanted: &Wanted, owner: &Owner) -> (Look, Option<String>) {
        let (place, object) = wanted;
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let found = self.of(place.kind).get(namespace, &place.name);
        let version = found.as_ref().and_then(|found| found.version.clone());
        if let Some(found) = &found {
            if found.is_going || found.is(object) {
                self.settled(place);
                return (Look::Fits, version);
            }
            if found.annotations.contains_key(HUB) && !found.is_of(owner) {
                let other = Error::new(Code::Exists, "it is another hub's");
                self.refuse(wanted, version.clone(), &other);
                return (Look::Refused, version);
            }
        }
        let refused = self.refused().get(place).is_some_and(|refused| {
            refused.version == version
                && refused.wanted.body() == object.body()
                // What the watches don't see may have changed meanwhile.
                && ((refused.is_conflict && version.is_some()) || refused.at.elapsed() < AGAIN)
        });
        (if refused { Look::Refused } else { Look::Differs }, version)
    }

    /// Whether all was listed that there is.
    pub(super) fn is_known(&self) -> bool {
        let listed = |kinds: &[Kind]| kinds.iter().all(|kind| self.of(*kind).is_listed());
        listed(&Kind::CORE)
            && match self.kinds() {
                None => false,
                Some(Kinds::Served(_)) => listed(&[Kind::Model, Kind::Device]),
                Some(_) => true,
            }
    }

    pub(super) fn counts(&self) -> Counts {
        let refused = self.refused();
        let conflicts = refused.values().filter(|refused| refused.is_conflict).count();
        Counts {
            there: self.found.iter().map(|found| found.items().len()).sum(),
            conflicts,
            refused: refused.len() - conflicts,
        }
    }
}

impl Cluster {
    /// The objects of devices in numbers; `None` without a cluster.
    #[must_use]
    pub fn device_objects(&self) -> Option<Counts> {
        (self.standing() != Standing::NotConfigured).then(|| self.devices.counts())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn more_fields_are_no_difference_and_more_elements_are() {
        let there = json!({ "a": 1, "b": { "c": [ { "d": 1, "e": 2 } ] } });
        assert!(covers(&there, &json!({ "b": { "c": [ { "d": 1 } ] } })));
        for other in [
            json!({ "a": 2 }),
            json!({ "x": 1 }),
            json!({ "b": { "c": [] } }),
            json!({ "b": { "c": [ { "d": 1 }, { "d": 2 } ] } }),
        ] {
            assert!(!covers(&there, &other), "{other}");
        }
    }
}
