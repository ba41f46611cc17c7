//! The devices' part of the cluster: made when a device joins, removed when it goes, and kept as it
//! should be in between. The hub never depends on the cluster: a device is what the database says,
//! and what the cluster could not be told at once it is told later.

use std::{borrow::Cow, collections::HashSet, time::Duration};

use cloudcore_protocol::DeviceId;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Devices, NewDevice, edge, store};
use crate::{
    cluster::{EdgeDevice, Made, Owner, Removed, Standing, Turn},
    error::Result,
    keys,
    tokens::Issued,
};

/// Longest that a request waits for the cluster.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often everything is looked at, whatever happens.
const EVERY: Duration = Duration::from_secs(300);
/// How soon what failed is tried again, at first.
const SOON: Duration = Duration::from_secs(5);
/// Shortest time between two looks, whatever changes, and the longest of those pauses.
const PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(15);
/// A look may take this part of the time: many devices are looked at less often.
const SHARE: u32 = 20;
/// Shortest time between changes of two devices: the cluster has others to serve.
const STEP: Duration = Duration::from_millis(50);

/// A device that was removed.
#[derive(Debug, Default)]
pub struct Gone {
    /// What was done, in words.
    pub done: Vec<String>,
    /// What the cluster still has of it, and why.
    pub warnings: Vec<String>,
}

impl From<&NewDevice> for EdgeDevice {
    fn from(new: &NewDevice) -> Self {
        Self {
            device_id: new.device_id.clone(),
            node_name: new.node_name.clone(),
            device_type: new.device_type.clone(),
            location: new.location.clone(),
        }
    }
}

impl Devices {
    pub(super) fn has_cluster(&self) -> bool {
        self.cluster.standing() != Standing::NotConfigured
    }

    /// This hub, as the cluster knows it.
    fn owner(&self) -> Owner {
        let advertised = self.tokens.advertised();
        let host = advertised.rsplit_once(':').map_or(advertised, |(host, _)| host);
        Owner {
            hub: keys::sha256_hex(self.pki.ca_pem().as_bytes())[..16].to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
        }
    }

    /// Makes a device known, with its part of the cluster as far as that is there until `by`.
    ///
    /// # Errors
    /// As of [`Self::announce`], and what the cluster refuses: then nothing is joined.
    pub async fn announce_in_cluster(
        &self,
        new: &NewDevice,
        by: Instant,
    ) -> Result<(Issued, Made)> {
        if !self.has_cluster() {
            return Ok((self.announce(new).await?, Made::default()));
        }
        self.check_new(new).await?;
        let device = EdgeDevice::from(new);
        let owner = self.owner();
        let attempt = self.cluster.begin_device(&device, &owner, by).await?;
        let issued = self.announce(new).await?;
        match attempt.finish().await {
            Ok(made) => {
                if !made.warnings.is_empty() {
                    self.settle.notify_one();
                }
                Ok((issued, made))
            }
            Err(error) => {
                let row = self.get(&new.device_id).await?;
                self.remove_here(&row, false).await?;
                Err(error)
            }
        }
    }

    /// Removes a device: its certificates end, its tokens are withdrawn, its session is cut, and
    /// what the cluster has of it is deleted, its node among it.
    ///
    /// # Errors
    /// API-004.
    pub async fn remove(&self, id: &DeviceId) -> Result<Gone> {
        let row = self.get(id).await?;
        let done = self.remove_here(&row, self.has_cluster()).await?;
        if !self.has_cluster() {
            return Ok(Gone { done, warnings: Vec::new() });
        }
        let mut removed = Removed::default();
        let device = EdgeDevice::try_from(&row)?;
        let there = async {
            let turn = self.cluster.device_turn().await;
            self.let_go(&turn, &device, &mut removed).await
        };
        match timeout(PATIENCE, there).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(device_id = row.device_id, ?error, "a removal is not finished");
                removed.left.push(error.message.into_owned());
            }
            Err(_) => removed.left.push("the cluster took too long: the rest goes later".into()),
        }
        if edge::is_to_go(&self.db, &device).await? {
            edge::put_off_removal(&self.db, &device, Duration::ZERO).await?;
            self.settle.notify_one();
        }
        // As the contract has them: the cluster's part comes first.
        removed.done.extend(done);
        Ok(Gone { done: removed.done, warnings: removed.left })
    }

    /// Has the cluster let go of a device that is no more, and notes it when it has.
    async fn let_go(
        &self,
        turn: &Turn<'_>,
        device: &EdgeDevice,
        removed: &mut Removed,
    ) -> Result<()> {
        if !edge::is_to_go(&self.db, device).await? {
            return Ok(());
        }
        if store::by_node(&self.db, &device.node_name).await?.is_none() {
            let is_last = edge::is_last(&self.db, device).await?;
            self.cluster.remove_device(turn, device, &self.owner(), is_last, removed).await;
        }
        if !removed.is_open {
            edge::end_removal(&self.db, device).await?;
        }
        Ok(())
    }

    /// How many nodes the cluster has to let go of.
    ///
    /// # Errors
    /// The database's.
    pub async fn removals_open(&self) -> Result<i64> {
        edge::count_removals(&self.db).await
    }

    /// Keeps the devices' part of the cluster as it should be, until `shutdown`.
    pub async fn keep_in_cluster(&self, shutdown: CancellationToken) {
        let mut changes = self.cluster.device_changes();
        let (mut again, mut trouble) = (SOON, Cow::Borrowed(""));
        loop {
            let begun = Instant::now();
            let looked = tokio::select! {
                () = shutdown.cancelled() => return,
                looked = self.look_over() => looked,
            };
            let mut wait = EVERY;
            if self.cluster.standing() == Standing::Connected {
                let due = edge::next_removal(&self.db).await.ok().flatten();
                wait = due.unwrap_or(EVERY).clamp(PAUSE, EVERY);
            }
            if let Err(error) = looked {
                wait = wait.min(again);
                again = (again * 2).min(EVERY);
                // The same again and again is said once.
                if error.message == trouble {
                    tracing::debug!(?error, "the cluster's part of the devices still has to wait");
                } else {
                    tracing::warn!(?error, "the cluster's part of the devices has to wait");
                }
                trouble = error.message;
            } else {
                (again, trouble) = (SOON, Cow::Borrowed(""));
            }
            let pause = begun.elapsed().saturating_mul(SHARE).clamp(PAUSE, MOST_PAUSE);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = changes.next() => {}
                () = self.settle.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sets right what is not as it should be.
    async fn look_over(&self) -> Result<()> {
        if self.cluster.standing() == Standing::Connected {
            self.finish_removals().await?;
        }
        if !self.cluster.knows_device_objects() {
            return Ok(());
        }
        let owner = self.owner();
        let (mut wanted, mut after) = (HashSet::new(), Some(0));
        while let Some(from) = after {
            let (devices, next) = edge::page(&self.db, from).await?;
            for device in &devices {
                wanted.extend(device.places());
                if !self.cluster.device_differs(device, &owner)? {
                    continue;
                }
                let turn = self.cluster.device_turn().await;
                // It may have gone while this waited.
                if edge::is_there(&self.db, device).await? {
                    self.cluster.restore_device(&turn, device, &owner).await?;
                }
                drop(turn);
                tokio::time::sleep(STEP).await;
            }
            after = next;
        }
        self.cluster.forget_refused(&wanted);
        let strays = self.cluster.stray_objects(&owner, |place| wanted.contains(place));
        if strays.is_empty() {
            return Ok(());
        }
        // Devices that have come meanwhile want theirs.
        let turn = self.cluster.device_turn().await;
        let wanted = edge::places(&self.db).await?;
        for stray in strays.iter().filter(|stray| !wanted.contains(&stray.place)) {
            self.cluster.delete_stray(&turn, stray).await?;
        }
        Ok(())
    }

    async fn finish_removals(&self) -> Result<()> {
        while let Some((device, tries)) = edge::claim_removal(&self.db).await? {
            let turn = self.cluster.device_turn().await;
            let mut removed = Removed::default();
            self.let_go(&turn, &device, &mut removed).await?;
            drop(turn);
            let (node_name, done, left) = (&device.node_name, &removed.done, &removed.left);
            if removed.is_open {
                let doublings = u32::try_from(tries).unwrap_or(u32::MAX).min(8);
                let wait = SOON.saturating_mul(1 << doublings).min(EVERY);
                edge::put_off_removal(&self.db, &device, wait).await?;
                tracing::warn!(%node_name, ?left, "the cluster does not let go of a node");
            } else {
                tracing::info!(%node_name, ?done, ?left, "the cluster has let go of a node");
            }
            tokio::time::sleep(STEP).await;
        }
        Ok(())
    }
}
