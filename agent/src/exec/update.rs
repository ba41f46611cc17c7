//! `restart_agent` and `update_agent`, which end in another process than they begin in.

use std::env;

use cloudcore_protocol::{CommandId, CommandOutcome, ReleaseRequest, command::UpdateAgent};
use semver::Version;
use serde_json::{Value, json};

use super::{Exec, Rooms, failed, obey::completed};
use crate::{
    link::FetchError,
    outbox::Unfinished,
    update::{self, BadSignature, Releases, Standing, Trial, UpdateKey},
};

/// The commands of this page.
pub(super) const NAMES: [&str; 2] = ["restart_agent", "update_agent"];

/// What this program is.
pub(super) fn own_version() -> Version {
    // The manifest's version is one: a test says so.
    Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version::new(0, 0, 0))
}

fn is_trial() -> bool {
    env::var_os(update::TRIAL).is_some()
}

impl Rooms {
    fn releases(&self) -> Releases {
        Releases::new(self.settings.data_dir())
    }

    /// Runs what touches the disk.
    async fn on_releases<T: Send + 'static>(
        &self,
        work: impl FnOnce(Releases) -> T + Send + 'static,
    ) -> Result<T, CommandOutcome> {
        let releases = self.releases();
        tokio::task::spawn_blocking(move || work(releases))
            .await
            .map_err(|e| failed("internal", &e.to_string()))
    }

    pub(super) async fn ask_restart(&self, id: &CommandId) -> Result<(), CommandOutcome> {
        let id = id.clone();
        let kept = self.on_releases(move |releases| releases.ask_restart(&id)).await?;
        kept.map_err(|e| failed("not_restarted", &format!("the restart can't be kept: {e}")))
    }

    /// Fetches and checks a release; the next start tries it.
    pub(super) async fn prepare_update(
        &self,
        id: &CommandId,
        update: UpdateAgent,
    ) -> Result<(), CommandOutcome> {
        let key = self.settings.get().update_key.clone().ok_or_else(|| {
            let why = "this device takes no updates from the hub (`update_key` in agent.toml)";
            failed("not_allowed", why)
        })?;
        let prepared = self.fetch_and_check(id, update, key).await;
        if prepared.is_err() {
            let removed = self.on_releases(|releases| releases.drop_incoming()).await?;
            if let Err(error) = removed {
                tracing::warn!(%error, "a release that is not run stays on disk");
            }
        }
        prepared
    }

    async fn fetch_and_check(
        &self,
        id: &CommandId,
        update: UpdateAgent,
        key: UpdateKey,
    ) -> Result<(), CommandOutcome> {
        let disk = |error: &std::io::Error| failed("disk", &error.to_string());
        let (file, path) = self.on_releases(|r| r.incoming()).await?.map_err(|e| disk(&e))?;
        let mut file = tokio::fs::File::from_std(file);
        let request = ReleaseRequest {
            version: update.version.as_ref().map(|version| version.as_str().to_owned()),
            architecture: architecture().to_owned(),
        };
        let header = self
            .link
            .fetch_release(request, &mut file, update::MAX_BYTES)
            .await
            .map_err(|error| failed(fetch_term(&error), &error.to_string()))?;
        // Closed before it is run: a program that is open for writing does not start.
        drop(file.into_std().await);
        let (signature, incoming) = (header.signature.clone(), path.clone());
        let checked = self
            .on_releases(move |_| {
                key.verify(std::fs::File::open(&incoming).map_err(BadSignature::File)?, &signature)
            })
            .await?;
        let signed = checked.map_err(|error| failed("bad_signature", &error.to_string()))?;
        if signed.architecture != architecture() {
            let why = format!("it is signed for {}", signed.architecture);
            return Err(failed("bad_signature", &why));
        }
        if let Some(asked) = &update.version
            && *asked.as_str() != signed.version.to_string()
        {
            let why = format!("{} was asked for, and {} is signed", asked.as_str(), signed.version);
            return Err(failed("bad_signature", &why));
        }
        let own = own_version();
        let from = self.on_releases(move |releases| releases.current(&own)).await?;
        if signed.version <= from {
            let why = format!("{} runs, and {} is not newer", from, signed.version);
            return Err(failed("not_newer", &why));
        }
        let trial = Trial {
            version: signed.version,
            from,
            command_id: id.clone(),
            within: update.confirm_within,
            starts: 0,
        };
        let kept = self
            .on_releases(move |releases| releases.begin_trial(&path, &header.signature, trial))
            .await?;
        kept.map_err(|e| disk(&e))
    }

    /// How a command ends that was cut off by the restart that it asked for.
    async fn settle(&self, id: &CommandId) -> CommandOutcome {
        let known = id.clone();
        let standing = self.on_releases(move |r| r.standing(&known, is_trial())).await;
        match standing {
            Err(failed) => failed,
            Ok(Standing::Restarted) => completed(&json!({
                "success": true,
                "restarted": true,
                "agent_version": env!("CARGO_PKG_VERSION"),
            })),
            Ok(Standing::OnTrial(trial)) => match self.confirm().await {
                Ok(()) => completed(&updated(&trial)),
                Err(failed) => failed,
            },
            Ok(Standing::RolledBack(reason)) => failed("rolled_back", &reason),
            Ok(Standing::Interrupted) => {
                failed("interrupted", "the agent stopped before it could restart")
            }
        }
    }

    /// Waits for the hub; the release before runs again if that takes too long, and the parent of
    /// this process sees to that.
    async fn confirm(&self) -> Result<(), CommandOutcome> {
        self.link.online().await;
        let confirmed = self.on_releases(|releases| releases.confirm()).await?;
        confirmed.map_err(|e| failed("disk", &e.to_string()))
    }
}

fn updated(trial: &Trial) -> Value {
    json!({
        "success": true,
        "version": trial.version,
        "previous_version": trial.from,
    })
}

impl Exec {
    /// Ends a command that restarted the agent.
    pub(super) async fn end_of_restart(&self, left: &Unfinished) {
        let outcome = self.rooms.settle(&left.id).await;
        self.finish(&left.id, outcome, std::time::Duration::ZERO).await;
    }

    /// A release on trial whose command nobody remembers reaches the hub all the same.
    pub(super) async fn confirm_trial(&self) {
        if is_trial()
            && let Err(outcome) = self.rooms.confirm().await
        {
            tracing::error!(?outcome, "the release is not confirmed");
        }
    }
}

const fn fetch_term(error: &FetchError) -> &'static str {
    match error {
        FetchError::Refused(_) => "release_unavailable",
        FetchError::TooLarge(..) | FetchError::Torn(_) => "bad_release",
        FetchError::Disk(_) => "disk",
        FetchError::Offline | FetchError::Link(_) => "link_lost",
    }
}

/// Debian's name for what this program runs on.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_manifests_version_is_a_version() {
        assert_eq!(super::own_version().to_string(), env!("CARGO_PKG_VERSION"));
    }
}
