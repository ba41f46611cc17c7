//! A Docker-compatible engine behind its Unix socket.
//!
//! Connections are made per order or look: an engine that was restarted, or came later, is found.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    ClientVersion, Docker,
    auth::DockerCredentials,
    container::LogOutput,
    errors::Error,
    models::{ContainerCreateBody, ContainerInspectResponse},
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions,
        ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveImageOptions, StartContainerOptions, StopContainerOptionsBuilder,
    },
};
use cloudcore_protocol::{Timestamp, command::ImageReference};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{
    AppError,
    container::{LABEL_APP, LABEL_DEVICE, LABEL_SPEC},
};
use crate::config::{Registry, Settings};

/// Where engines listen: Docker, then podman.
const SOCKETS: [&str; 3] = ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"];
/// For each answer of the engine but an image's way here; a container that stops has
/// [`STOP_GRACE`] of it.
const ANSWER: Duration = Duration::from_secs(60);
/// From SIGTERM to SIGKILL, seconds.
const STOP_GRACE: i32 = 10;
/// An image that takes longer is not waited for, nor one from which nothing more comes.
const FETCH: Duration = Duration::from_secs(1800);
const FETCH_SILENCE: Duration = Duration::from_secs(120);
/// Most of an app's output in one answer, bytes.
const MAX_LOG: usize = 64 * 1024;

/// A connection.
#[derive(Clone)]
pub(super) struct Engine(Docker);

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub id: String,
    /// Whether it was fetched just now, and not made by somebody else.
    pub fetched: bool,
}

/// A container with this device's labels.
#[derive(Debug, Clone)]
pub(super) struct Ours {
    pub id: String,
    pub app: String,
    /// Of [`super::container::spec`].
    pub spec: String,
    pub name: String,
    pub running: bool,
    /// Seconds since 1970.
    pub created: i64,
}

/// What an app said.
#[derive(Debug, Default)]
pub(super) struct Logs {
    pub lines: Vec<String>,
    /// Whether older lines were left out for their size.
    pub truncated: bool,
}

/// The engine's socket: the setting, or the first that is there.
pub(super) fn socket(settings: &Settings) -> Option<PathBuf> {
    match &settings.get().container_engine {
        Some(path) => path.exists().then(|| path.clone()),
        None => SOCKETS.iter().map(PathBuf::from).find(|path| path.exists()),
    }
}

impl Engine {
    /// To the engine of this machine; nothing is sent yet.
    pub(super) fn connect(settings: &Settings) -> Result<Self, AppError> {
        let path = socket(settings).ok_or(AppError::NoEngine)?;
        Self::at(&path)
    }

    fn at(path: &Path) -> Result<Self, AppError> {
        let path = path.to_str().ok_or(AppError::NoEngine)?;
        // API 1.41 is Docker 20.10's, of 2020; podman speaks it too, and newer ones still do.
        let version = ClientVersion { major_version: 1, minor_version: 41 };
        let docker = Docker::connect_with_unix(path, FETCH.as_secs(), &version);
        Ok(Self(docker.map_err(engine)?))
    }

    /// Has an image here: newly fetched, or, where that fails, as it is here already. A digest
    /// names one image whatever happens.
    pub(super) async fn fetch(
        &self,
        image: &ImageReference,
        registries: &BTreeMap<String, Registry>,
    ) -> Result<Image, AppError> {
        let bad = |why: String| AppError::Image { image: image.to_string(), why };
        let before = self.image(image.as_str()).await?;
        let (_, digest) = split(image.as_str());
        if digest.starts_with("sha256:")
            && let Some(id) = before
        {
            return Ok(Image { id, fetched: false });
        }
        match timeout(FETCH, self.pull(image.as_str(), registries)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                if let Some(id) = before {
                    tracing::warn!(%image, why, "not fetched anew, the one that is here is taken");
                    return Ok(Image { id, fetched: false });
                }
                return Err(bad(why));
            }
            Err(_) => return Err(bad(format!("not fetched within {FETCH:?}"))),
        }
        let id = self.image(image.as_str()).await?;
        let id = id.ok_or_else(|| bad("the engine fetched another one".into()))?;
        let fetched = before.as_ref() != Some(&id);
        Ok(Image { id, fetched })
    }

    /// The id of an image that is here. A digest means the one that a registry knows it by, or, for
    /// one that never came from a registry, the image's own.
    async fn image(&self, reference: &str) -> Result<Option<String>, AppError> {
        let (name, digest) = split(reference);
        if !digest.starts_with("sha256:") {
            return Ok(self.inspect_image(reference).await?.map(|(id, _)| id));
        }
        if let Some((id, digests)) = self.inspect_image(&format!("{name}@{digest}")).await?
            && (digests.iter().any(|known| known.ends_with(digest)) || id == digest)
        {
            return Ok(Some(id));
        }
        Ok(self.inspect_image(digest).await?.map(|(id, _)| id).filter(|id| id == digest))
    }

    async fn inspect_image(&self, name: &str) -> Result<Option<(String, Vec<String>)>, AppError> {
        match answer(self.0.inspect_image(name)).await {
            Ok(image) => {
                let id = image.id.unwrap_or_default();
                Ok(Some((id, image.repo_digests.unwrap_or_default())))
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(engine(error)),
        }
    }

    async fn pull(
        &self,
        reference: &str,
        registries: &BTreeMap<String, Registry>,
    ) -> Result<(), String> {
        let (name, tag) = split(reference);
        let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        let credentials = registries.get(host(name)).map(|registry| DockerCredentials {
            username: Some(registry.username.clone()),
            password: Some(registry.password.expose().to_owned()),
            serveraddress: Some(host(name).to_owned()),
            ..DockerCredentials::default()
        });
        let mut progress = Box::pin(self.0.create_image(Some(options), None, credentials));
        loop {
            match timeout(FETCH_SILENCE, progress.next()).await {
                Err(_) => return Err(format!("nothing came for {FETCH_SILENCE:?}")),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(sentence(&error)),
                Ok(Some(Ok(step))) => {
                    if let Some(why) = step.error_detail.and_then(|detail| detail.message) {
                        return Err(why);
                    }
                }
            }
        }
    }

    /// The containers of this device's apps, running or not.
    pub(super) async fn ours(&self, device: &str) -> Result<Vec<Ours>, AppError> {
        let labels = vec![LABEL_APP.to_owned(), format!("{LABEL_DEVICE}={device}")];
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = answer(self.0.list_containers(Some(options))).await.map_err(engine)?;
        let ours = found.into_iter().filter_map(|one| {
            let labels = one.labels?;
            // The engine was asked for these; whether it heard is looked at again.
            if labels.get(LABEL_DEVICE)? != device {
                return None;
            }
            Some(Ours {
                id: one.id?,
                app: labels.get(LABEL_APP)?.clone(),
                spec: labels.get(LABEL_SPEC).cloned().unwrap_or_default(),
                name: one.names?.first()?.trim_start_matches('/').to_owned(),
                running: one.state == Some(bollard::models::ContainerSummaryStateEnum::RUNNING),
                created: one.created.unwrap_or_default(),
            })
        });
        Ok(ours.collect())
    }

    /// Makes a container; its id.
    pub(super) async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<String, AppError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        match answer(self.0.create_container(Some(options), body)).await {
            Ok(made) => Ok(made.id),
            Err(error @ Error::DockerResponseServerError { .. }) => {
                Err(AppError::Refused(sentence(&error)))
            }
            Err(error) => Err(engine(error)),
        }
    }

    pub(super) async fn start(&self, id: &str) -> Result<(), AppError> {
        answer(self.0.start_container(id, None::<StartContainerOptions>)).await.map_err(|error| {
            match error {
                Error::DockerResponseServerError { .. } => AppError::Refused(sentence(&error)),
                _ => engine(error),
            }
        })
    }

    /// Stops it; one that does not run, or is gone, is stopped.
    pub(super) async fn stop(&self, id: &str) -> Result<(), AppError> {
        let options = StopContainerOptionsBuilder::default().t(STOP_GRACE).build();
        absent_is_fine(answer(self.0.stop_container(id, Some(options))).await)
    }

    /// Removes it, running or not, with its own volumes; one that is gone is removed.
    pub(super) async fn remove(&self, id: &str) -> Result<(), AppError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        absent_is_fine(answer(self.0.remove_container(id, Some(options))).await)
    }

    /// How a container is; `None` if it is gone.
    pub(super) async fn inspect(
        &self,
        id: &str,
    ) -> Result<Option<ContainerInspectResponse>, AppError> {
        match answer(self.0.inspect_container(id, None::<InspectContainerOptions>)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(engine(error)),
        }
    }

    /// Removes an image unless a container, or another name, needs it.
    pub(super) async fn remove_image(&self, id: &str) -> Result<(), AppError> {
        let removed = answer(self.0.remove_image(id, None::<RemoveImageOptions>, None)).await;
        absent_is_fine(removed.map(drop))
    }

    /// The last lines of a container's output, both streams, each with its time.
    pub(super) async fn logs(
        &self,
        id: &str,
        lines: u16,
        since: Option<Timestamp>,
    ) -> Result<Logs, AppError> {
        let since = since.map_or(0, |since| i32::try_from(since.seconds()).unwrap_or(i32::MAX));
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail(&lines.to_string())
            .since(since)
            .build();
        let mut output = Box::pin(self.0.logs(id, Some(options)));
        // The newest is what is wanted: the oldest gives way.
        let (mut kept, mut bytes, mut truncated) = (std::collections::VecDeque::new(), 0, false);
        while let Some(part) = timeout(ANSWER, output.next()).await.map_err(|_| silent())? {
            let part = match part.map_err(engine)? {
                LogOutput::StdOut { message }
                | LogOutput::StdErr { message }
                | LogOutput::Console { message } => message,
                LogOutput::StdIn { .. } => continue,
            };
            let text = String::from_utf8_lossy(&part);
            for line in text.lines() {
                let line: String = line.chars().take(MAX_LOG / 8).collect();
                bytes += line.len();
                kept.push_back(line);
                while bytes > MAX_LOG || kept.len() > usize::from(lines) {
                    truncated |= bytes > MAX_LOG;
                    bytes -= kept.pop_front().map_or(0, |line: String| line.len());
                }
            }
        }
        Ok(Logs { lines: kept.into(), truncated })
    }
}

/// `name[:port]/path` and tag or digest; `latest` where there is none. A tag beside a digest says
/// nothing more.
fn split(reference: &str) -> (&str, &str) {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (rest, "latest"),
    };
    (name, digest.unwrap_or(tag))
}

/// The registry that a name belongs to.
fn host(name: &str) -> &str {
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

async fn answer<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ANSWER, asked).await.unwrap_or(Err(Error::RequestTimeoutError))
}

const fn is_absent(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

fn absent_is_fine(done: Result<(), Error>) -> Result<(), AppError> {
    match done {
        // 304: it does not run; 409: its removal goes on.
        Err(Error::DockerResponseServerError { status_code: 304 | 404 | 409, .. }) | Ok(()) => {
            Ok(())
        }
        Err(error) => Err(engine(error)),
    }
}

fn sentence(error: &Error) -> String {
    let text = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    };
    text.chars().take(400).collect()
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn engine(error: Error) -> AppError {
    match error {
        Error::SocketNotFoundError(_) => AppError::NoEngine,
        other => AppError::Engine(sentence(&other)),
    }
}

fn silent() -> AppError {
    AppError::Engine(format!("no answer within {ANSWER:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_as_registries_do() {
        for (reference, name, tag, registry) in [
            ("edge-app", "edge-app", "latest", "docker.io"),
            ("me/app:1.2", "me/app", "1.2", "docker.io"),
            ("localhost:5000/app", "localhost:5000/app", "latest", "localhost:5000"),
            ("r.example/a/b:1@sha256:00", "r.example/a/b", "sha256:00", "r.example"),
        ] {
            assert_eq!(split(reference), (name, tag));
            assert_eq!(host(name), registry);
        }
    }
}
