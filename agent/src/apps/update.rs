//! One version of an app in place of another: the new one has to work before the old one goes.

use std::time::Duration;

use cloudcore_protocol::CommandId;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::{
    AppError,
    container::{self, Standing},
    desired::Entry,
    engine::{Engine, Ours},
};
use crate::config::AppsConfig;

/// An app without a health check works if it runs this long.
const STAY: Duration = Duration::from_secs(5);
/// A health check that says nothing until then is taken for a failure.
const HEALTH: Duration = Duration::from_secs(180);
const GLANCE: Duration = Duration::from_millis(500);
/// Of a failed app's last words in an error, characters.
const LAST_WORDS: usize = 300;

/// A version that works, beside the stopped ones that it is to replace.
pub(super) struct Trial<'a> {
    engine: &'a Engine,
    new: String,
    /// Containers before, and whether each ran.
    before: Vec<Ours>,
}

/// Makes and starts a version, with the containers of that app before stopped meanwhile: they may
/// hold its ports. Ends when it works; otherwise, or when `withdrawn` does, all is as it was.
pub(super) async fn attempt<'a>(
    engine: &'a Engine,
    device: &str,
    config: &AppsConfig,
    id: &CommandId,
    entry: &Entry,
    before: Vec<Ours>,
    withdrawn: impl Future<Output = ()>,
) -> Result<Trial<'a>, AppError> {
    let name = container::name(entry.app.name.as_str(), device, id);
    // What an attempt left that was cut short has the same name, and is no version to return to.
    let (left, before): (Vec<_>, Vec<_>) = before.into_iter().partition(|one| one.name == name);
    for one in left {
        engine.remove(&one.id).await?;
    }
    let new = engine.create(&name, container::body(entry, device, config)).await?;
    let trial = Trial { engine, new, before };
    let worked = tokio::select! {
        worked = trial.start() => worked,
        () = withdrawn => Err(AppError::Withdrawn),
    };
    match worked {
        Ok(()) => Ok(trial),
        Err(error) => {
            let error = trial.with_last_words(error).await;
            Err(trial.undo(error).await)
        }
    }
}

impl Trial<'_> {
    async fn start(&self) -> Result<(), AppError> {
        for one in self.before.iter().filter(|one| one.running) {
            self.engine.stop(&one.id).await?;
        }
        self.engine.start(&self.new).await?;
        let begun = Instant::now();
        let broken = |term, why| AppError::Broken { term, why, after: String::new() };
        loop {
            let Some(found) = self.engine.inspect(&self.new).await? else {
                return Err(broken("exited", "somebody removed it while it started".into()));
            };
            let look = container::look(&found, OffsetDateTime::now_utc());
            let time = begun.elapsed();
            match look.standing {
                Standing::Broken(term, why) => return Err(broken(term, why)),
                _ if look.restarts > 0 => {
                    return Err(broken("crashing", "it ended as soon as it was started".into()));
                }
                Standing::Works if look.health.is_some() || time >= STAY => return Ok(()),
                Standing::Unsure if time >= HEALTH => {
                    let why = format!("its health check said nothing within {HEALTH:?}");
                    return Err(broken("health_unknown", why));
                }
                Standing::Works | Standing::Unsure => sleep(GLANCE).await,
            }
        }
    }

    /// What it wrote last helps most to find out why.
    async fn with_last_words(&self, error: AppError) -> AppError {
        let AppError::Broken { term, why, after } = error else { return error };
        let said = self.engine.logs(&self.new, 5, None).await.unwrap_or_default();
        // Each line has its time before it.
        let plain = |line: &String| line.split_once(' ').map_or("", |(_, text)| text).to_owned();
        let said = said.lines.iter().map(plain).collect::<Vec<_>>().join(" | ");
        if said.is_empty() {
            return AppError::Broken { term, why, after };
        }
        let cut: String = said.chars().take(LAST_WORDS).collect();
        AppError::Broken { term, why: format!("{why}; it wrote: {cut}"), after }
    }

    /// Removes the new one and starts what ran before; the error, with what came of that.
    pub(super) async fn undo(&self, error: AppError) -> AppError {
        let mut after = String::new();
        if let Err(problem) = self.engine.remove(&self.new).await {
            tracing::warn!(%problem, "a container that failed can't be removed yet");
        }
        for one in self.before.iter().filter(|one| one.running) {
            after = match self.engine.start(&one.id).await {
                Ok(()) => "; the version before runs again".into(),
                Err(problem) => format!("; the version before does not start again: {problem}"),
            };
        }
        match error {
            AppError::Broken { term, why, .. } => AppError::Broken { term, why, after },
            AppError::Refused(why) => AppError::Refused(why + &after),
            other => other,
        }
    }

    /// Removes what it replaces.
    pub(super) async fn settle(self) {
        for one in &self.before {
            if let Err(problem) = self.engine.remove(&one.id).await {
                // The next look removes it.
                tracing::warn!(%problem, container = one.name, "an old container is still there");
            }
        }
    }
}
