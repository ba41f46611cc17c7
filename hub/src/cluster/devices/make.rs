//! A device's objects are made: tried out by the server before the device is stored, applied after
//! it, and taken back where the cluster then refuses one of them.

use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout_at},
};

use super::{
    discovery::Kinds,
    edgecore,
    objects::{EdgeDevice, Kind, Owner, Plan, Wanted},
    seen::Look,
};
use crate::{
    cluster::{
        Cluster, Standing,
        apply::{Change, Object},
        error::Failure,
        steps::Steps,
    },
    error::{Code, Error, Result},
};

/// What was made of a device's objects.
#[derive(Debug, Default)]
pub struct Made {
    /// Name of the node's `ConfigMap`.
    pub config_map: Option<String>,
    /// Name of the `Device`.
    pub device: Option<String>,
    /// Whether the node has its account and rights.
    pub rbac: bool,
    /// What was not made, and why.
    pub warnings: Vec<String>,
}

/// The objects of a device that is about to be stored. As long as this is held, nobody else changes
/// those of another.
pub struct Attempt<'a> {
    cluster: &'a Cluster,
    /// None where the cluster is away.
    objects: Vec<Wanted>,
    /// Where it is missing.
    namespace: Option<Object>,
    warnings: Vec<String>,
    by: Instant,
    _turn: Option<MutexGuard<'a, ()>>,
}

const LATER: &str = "the objects of the device are made when it is there";

impl Cluster {
    /// Where nodes reach a port of CloudCore, by `KubeEdge`'s number.
    #[must_use]
    pub(super) fn node_port(&self, number: u16) -> Option<u16> {
        let services = self.services.all().unwrap_or_default();
        let seen = services.iter().flat_map(|service| &service.ports);
        let seen = seen.filter(|port| port.port == number).find_map(|port| port.node_port);
        let set = self.settings.ports.iter().filter(|port| port.port == number);
        seen.or_else(|| set.filter_map(|port| port.node_port).next())
    }

    pub(super) fn device_plan<'a>(
        &'a self,
        device: &'a EdgeDevice,
        owner: &'a Owner,
        kinds: Option<&'a Kinds>,
    ) -> Plan<'a> {
        Plan {
            device,
            owner,
            namespace: &self.settings.namespace,
            settings: edgecore::settings(&device.node_name, &owner.host, |n| self.node_port(n)),
            served: kinds.and_then(Kinds::served),
        }
    }

    /// Asks the cluster whether it would take the objects of a device, until `by`. A cluster that
    /// is away is no hindrance.
    ///
    /// # Errors
    /// API-005 when others hold fields of them, API-001 for what the cluster refuses, API-009 when
    /// it does not let the hub, or the namespace is going.
    pub async fn begin_device(
        &self,
        device: &EdgeDevice,
        owner: &Owner,
        by: Instant,
    ) -> Result<Attempt<'_>> {
        let mut attempt = Attempt {
            cluster: self,
            objects: Vec::new(),
            namespace: None,
            warnings: Vec::new(),
            by,
            _turn: None,
        };
        match self.standing() {
            Standing::NotConfigured => return Ok(attempt),
            Standing::Disconnected => {
                attempt.warnings.push(format!("the cluster is away: {LATER}"));
                return Ok(attempt);
            }
            Standing::Connected => {}
        }
        let trial = async {
            attempt._turn = Some(self.devices.turn.lock().await);
            let kinds = self.connection.device_kinds().await.map_err(Refusal::Cluster)?;
            let plan = self.device_plan(device, owner, Some(&kinds));
            let mut objects = plan.objects().map_err(Refusal::Own)?;
            attempt.namespace = self.missing_namespace().await.map_err(Refusal::Cluster)?;
            let mut missing = kinds.missing();
            // Nothing can be tried out in a namespace that is not there.
            let tried = if attempt.namespace.is_none() { objects.len() } else { 0 };
            for n in 0..tried {
                let (place, object) = &objects[n];
                match self.connection.try_out(object).await {
                    Ok(()) => {}
                    // Defined a moment ago, and not served yet.
                    Err(failure) if failure.is_not_found() && place.kind.is_defined() => {
                        objects.truncate(n);
                        missing = Kinds::None.missing();
                        break;
                    }
                    Err(failure) => return Err(Refusal::Object(place.kind, failure)),
                }
            }
            attempt.warnings.extend(missing);
            attempt.objects = objects;
            Ok::<(), Refusal>(())
        };
        match timeout_at(by, trial).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => match refusal.told() {
                Ok(warning) => attempt.give_up(&warning),
                Err(error) => return Err(error),
            },
            Err(_) => attempt.give_up("the cluster took too long"),
        }
        Ok(attempt)
    }

    /// Makes what is missing of a device's objects, and what differs as it is wanted. What the
    /// cluster refuses is noted, and not tried again before something changes.
    ///
    /// # Errors
    /// API-009 when the cluster is away.
    pub(super) async fn restore(&self, device: &EdgeDevice, owner: &Owner) -> Result<()> {
        let kinds = self.devices.kinds();
        let wanted = self.device_plan(device, owner, kinds.as_ref()).objects()?;
        let looks = wanted.iter().map(|wanted| (wanted, self.devices.look_at(wanted, owner)));
        let differs: Vec<_> = looks.filter(|(_, (look, _))| *look == Look::Differs).collect();
        if differs.is_empty() {
            return Ok(());
        }
        if let Some(namespace) = self.missing_namespace().await? {
            self.connection.apply(&namespace).await?;
        }
        for (wanted, (_, version)) in differs {
            let (place, object) = wanted;
            match self.connection.apply(object).await {
                Ok((_, change)) => {
                    self.devices.settled(place);
                    if change != Change::Unchanged {
                        let (kind, name, change) =
                            (place.kind.as_str(), &place.name, change.as_str());
                        tracing::info!(kind, name, change, "an object is as it should be again");
                    }
                }
                // Neither are they away for good: a namespace that is not there any more is made with
                // the next try, and a kind that was defined a moment ago is served by then.
                Err(failure) if failure.is_away() || failure.is_not_found() => {
                    return Err(Error { code: Code::Unavailable, ..Error::from(failure) });
                }
                Err(failure) => self.devices.refuse(wanted, version, &failure.into()),
            }
        }
        Ok(())
    }
}

/// Why an attempt goes no further.
enum Refusal {
    Own(Error),
    Cluster(Failure),
    Object(Kind, Failure),
}

impl Refusal {
    /// A warning where the cluster is away; otherwise the error.
    fn told(self) -> Result<String> {
        match self {
            Self::Own(error) => Err(error),
            Self::Cluster(failure) | Self::Object(_, failure) if failure.is_away() => {
                Ok(Error::from(failure).message.into_owned())
            }
            Self::Cluster(failure) => Err(failure.into()),
            Self::Object(kind, failure) => {
                let error = Error::from(failure);
                let message = format!("{}: {}", kind.as_str(), error.message);
                Err(Error { message: message.into(), ..error })
            }
        }
    }
}

impl Attempt<'_> {
    fn give_up(&mut self, why: &str) {
        self.objects.clear();
        self.warnings = vec![format!("{why}: {LATER}")];
    }

    /// Applies them. A cluster that goes away meanwhile is no error: the rest is made later.
    ///
    /// # Errors
    /// As at the beginning; what was made is taken back, and `details` says what is left.
    pub async fn finish(mut self) -> Result<Made> {
        let mut steps = Steps::default();
        let applied = timeout_at(self.by, self.apply(&mut steps)).await;
        let why = match applied {
            Ok(Ok(())) => None,
            Ok(Err(refusal)) => match refusal.told() {
                Ok(warning) => Some(warning),
                Err(error) => {
                    return Err(steps.take_back(&self.cluster.connection, error).await);
                }
            },
            Err(_) => Some("the cluster took too long".to_owned()),
        };
        if let Some(why) = why {
            self.warnings.push(format!("{why}: the rest of the objects is made later"));
        }
        let name = |kind: Kind| {
            let step = steps.done().iter().find(|step| step.what == kind.as_str());
            step.map(|step| step.object.name.clone())
        };
        Ok(Made {
            config_map: name(Kind::ConfigMap),
            device: name(Kind::Device),
            rbac: name(Kind::Binding).is_some(),
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    async fn apply(&self, steps: &mut Steps) -> Result<(), Refusal> {
        let connection = &self.cluster.connection;
        if let Some(namespace) = self.namespace.iter().find(|_| !self.objects.is_empty()) {
            let made = steps.apply_for_good(connection, "Namespace", namespace).await;
            made.map_err(Refusal::Cluster)?;
        }
        for (place, object) in &self.objects {
            let applied = steps.apply(connection, place.kind.as_str(), object).await;
            applied.map_err(|failure| Refusal::Object(place.kind, failure))?;
        }
        Ok(())
    }
}
