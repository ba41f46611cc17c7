//! What the cluster refuses, in the contract's terms.

use kube::core::Status;
use serde_json::{Value, json};

use crate::error::{Code, Error};

/// Why a call of the cluster's API brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// This hub has no cluster.
    #[error("no cluster is configured")]
    NotConfigured,
    /// The settings name a cluster, and can't be used. Why is for the hub's log: what a kubeconfig
    /// runs may have said it.
    #[error("the settings of the cluster can't be used: {0}")]
    Settings(String),
    /// No answer in time.
    #[error("the cluster did not answer in time")]
    TimedOut,
    /// The API's own refusal, or the way to it.
    #[error(transparent)]
    Kube(#[from] Box<kube::Error>),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Kube(Box::new(error))
    }
}

impl Failure {
    /// What the API said, where it answered.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Kube(error) => match error.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the hub's own credentials are no longer good.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status().is_some_and(|status| status.code == 401)
    }

    /// Whether what was asked for is too old: it has to be listed anew.
    pub(super) fn is_gone(&self) -> bool {
        self.status().is_some_and(|status| status.code == 410)
    }

    /// Whether there is no such thing: the object, its namespace or its kind.
    pub(super) fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// Whether the cluster is away, and not the request to blame.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Self::NotConfigured => false,
            Self::Settings(_) | Self::TimedOut => true,
            Self::Kube(_) => self
                .status()
                .is_none_or(|status| matches!(status.code, 401 | 429) || status.code >= 500),
        }
    }

    /// Whether the same request may do better at once: the way broke, or the server stumbled.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Kube(error) => match error.as_ref() {
                kube::Error::Api(status) => status.code == 500 || status.code == 502,
                kube::Error::HyperError(_)
                | kube::Error::Service(_)
                | kube::Error::ReadEvents(_)
                | kube::Error::SerdeError(_) => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// What to set, for one who asks for a cluster that is not there.
const SET: &str = "this hub has no Kubernetes cluster: start it with --kubeconfig FILE \
                   (CLOUDCORE_KUBECONFIG), or inside the cluster with a ServiceAccount";

/// The longest text of the cluster that an answer repeats, characters.
const MAX_TEXT: usize = 1000;

fn said(text: &str) -> &str {
    text.char_indices().nth(MAX_TEXT).map_or(text, |(end, _)| &text[..end])
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let away = |message: String| Self::new(Code::Unavailable, message);
        let mut error = match &failure {
            Failure::NotConfigured => Self::not_configured(SET),
            Failure::Settings(_) => {
                away("the settings of the cluster can't be used: the hub's log says why".into())
            }
            Failure::TimedOut => away("the cluster did not answer in time; try again".into()),
            Failure::Kube(_) => match failure.status() {
                Some(status) => of_status(status),
                None => away("the cluster can't be reached; try again".into()),
            },
        };
        error.cause = Some(failure.into());
        error
    }
}

/// A refusal of the API's.
fn of_status(status: &Status) -> Error {
    let text = said(&status.message);
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or(&[]);
    if causes.iter().any(|cause| cause.reason == "NamespaceTerminating") {
        return Error::new(
            Code::Unavailable,
            "the namespace is being deleted in the cluster; try again when it is gone",
        );
    }
    match status.code {
        400 | 422 => Error::invalid(format!("the cluster refuses this: {text}")),
        401 => Error::new(
            Code::Unavailable,
            "the cluster does not know this hub: its credentials have ended",
        ),
        403 => Error::new(
            Code::Unavailable,
            format!("the hub may not do this in the cluster, which has to grant it: {text}"),
        ),
        404 => Error::new(Code::NotFound, format!("the cluster has no such thing: {text}")),
        409 => {
            let held: Vec<Value> = causes
                .iter()
                .filter(|cause| cause.reason == "FieldManagerConflict")
                .map(|cause| json!({ "field": cause.field, "manager": manager(&cause.message) }))
                .collect();
            if held.is_empty() {
                return Error::new(Code::Exists, format!("the cluster has another state: {text}"));
            }
            let list: Vec<String> = held
                .iter()
                .map(|h| {
                    let text = |key: &str| h[key].as_str().unwrap_or("?").to_owned();
                    format!("{} by {}", text("field"), text("manager"))
                })
                .collect();
            let message = format!("others hold fields of this object: {}", list.join(", "));
            Error::new(Code::Exists, said(&message).to_owned())
                .with_details(json!({ "conflicts": held }))
        }
        410 => Error::new(Code::Unavailable, "the cluster has moved on meanwhile; try again"),
        429 => Error::new(Code::Unavailable, "the cluster is too busy; try again"),
        500.. => Error::new(Code::Unavailable, format!("the cluster failed: {text}")),
        _ => Error::internal(status.clone()),
    }
}

/// `helm` of `conflict with "helm" using apps/v1`.
fn manager(message: &str) -> &str {
    message.split('"').nth(1).unwrap_or(message)
}
