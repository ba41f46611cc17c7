//! Roles as arguments of handlers.

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{Caller, Grant, Role};
use crate::error::{Code, Error, Result};

/// What a request proved about its sender; put into every request by `http`.
#[derive(Debug, Clone)]
pub enum Identity {
    /// It named nobody.
    Anonymous,
    /// A user or an API key.
    Caller(Caller),
    /// What it showed is not valid, and why.
    Invalid(String),
}

/// Put into a request where the event stream and command status want no token.
#[derive(Debug, Clone, Copy)]
pub struct PublicMonitoring;

fn caller(parts: &Parts) -> Result<&Caller> {
    match parts.extensions.get::<Identity>() {
        Some(Identity::Caller(caller)) => Ok(caller),
        Some(Identity::Invalid(reason)) => Err(Error::new(Code::Unauthenticated, reason.clone())),
        Some(Identity::Anonymous) | None => Err(Error::new(
            Code::Unauthenticated,
            "a token is needed: POST /api/auth/login, then Authorization: Bearer <token>",
        )),
    }
}

fn at_least(parts: &Parts, role: Role) -> Result<Caller> {
    let caller = caller(parts)?;
    if caller.role() < role {
        return Err(Error::new(
            Code::Forbidden,
            format!("this needs the role {}; yours is {}", role.as_str(), caller.role().as_str()),
        ));
    }
    Ok(caller.clone())
}

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(pub Caller);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
                at_least(parts, Role::$name).map(Self)
            }
        }
    };
}

role!(
    /// Somebody who may read.
    Viewer
);
role!(
    /// Somebody who may command, join and deploy.
    Operator
);
role!(
    /// Somebody who may do everything.
    Admin
);

/// Somebody who may read, or anybody where monitoring is public; with what ends that, where
/// something does.
#[derive(Debug)]
pub struct Watcher(pub Option<Grant>);

impl<S: Send + Sync> FromRequestParts<S> for Watcher {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let public = parts.extensions.get::<PublicMonitoring>().is_some();
        // A token that is not valid is refused even so: its owner thinks that it is.
        let anonymous = matches!(parts.extensions.get(), Some(Identity::Anonymous));
        if public && anonymous {
            return Ok(Self(None));
        }
        at_least(parts, Role::Viewer)?;
        Ok(Self(parts.extensions.get().cloned()))
    }
}
