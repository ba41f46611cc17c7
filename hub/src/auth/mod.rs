//! Who is calling: users, their passwords, their sessions and their roles.
//!
//! A password is stored as Argon2id and never leaves this room; a session is a signed JWT and is
//! not stored. Every handler names the least role it wants by taking [`Viewer`] or [`Operator`] as an
//! argument.

mod accounts;
mod apikeys;
mod attempts;
mod audit;
mod extract;
mod routes;
mod tickets;
mod users;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use cloudcore_protocol::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use attempts::network;
pub use audit::{Audit, Entry, Outcome};
pub use extract::{Admin, Identity, Operator, PublicMonitoring, Viewer, Watcher};
pub use routes::{Acted, routes};

use self::{accounts::Accounts, attempts::Attempts};
use crate::{
    cluster::Cluster,
    db::Db,
    error::{Code, Error, Result},
    keys::{self, JwtError, Keys},
};

/// What somebody may do; each may all that the ones before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also commands, joins and deploys.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => Err(Error::invalid("role must be viewer, operator or admin")),
        }
    }
}

/// A user, as the API shows one.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct User {
    /// Number of the user.
    pub id: i64,
    /// Name of the user.
    pub username: String,
    /// What the user may do.
    pub role: Role,
}

/// Who calls: a user with a session, or a program with an API key or an account of the cluster's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// A user.
    User(User),
    /// An API key.
    Key {
        /// Its id (`key_…`), which is no secret.
        key_id: String,
        /// What it may do.
        role: Role,
    },
    /// A ServiceAccount of the cluster's.
    Account {
        /// `system:serviceaccount:NAMESPACE:NAME`.
        name: String,
        /// What it may do.
        role: Role,
    },
}

impl Caller {
    /// What it may do.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::User(user) => user.role,
            Self::Key { role, .. } | Self::Account { role, .. } => *role,
        }
    }

    /// Its name, as the audit log has it: a user's or an account's, or a key's id.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User(user) => &user.username,
            Self::Key { key_id, .. } => key_id,
            Self::Account { name, .. } => name,
        }
    }
}

/// A caller, and what ends that: what a stream is opened by may be over while it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grant {
    /// Who it is.
    pub caller: Caller,
    /// The user's session epoch when it was given.
    epoch: Option<i64>,
    /// When it ends by itself, microseconds.
    until: Option<i64>,
    /// SHA-256 of an account's token.
    #[serde(default)]
    token: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    uid: i64,
    role: Role,
    /// The user's session epoch when it was opened.
    epoch: i64,
    jti: String,
    iat: i64,
    exp: i64,
}

const ISSUER: &str = "cloudcore-hub";
/// A session's life: 12 hours.
const SESSION_SECONDS: i64 = 12 * 3600;
const MAX_PASSWORD: usize = 256;
/// How long a login waits for its turn.
const HASHING: Duration = Duration::from_secs(5);

/// A hash that nobody's password has: a login for a user that does not exist takes as long as one
/// for a user that does.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash("nobody's password").ok());

fn hash(password: &str) -> Result<String> {
    Ok(Argon2::default().hash_password(password.as_bytes()).map_err(Error::internal)?.to_string())
}

/// Users and sessions.
pub struct Auth {
    db: Db,
    keys: Arc<Keys>,
    attempts: Attempts,
    /// When the use of an API key was last noted.
    used: Mutex<HashMap<String, Instant>>,
    /// Hashing takes 19 MiB and a core: a flood of logins may not take all of either.
    hashing: Arc<Semaphore>,
    /// Where there may be a cluster.
    accounts: Option<Accounts>,
}

impl Auth {
    /// Over this database.
    #[must_use]
    pub fn new(db: Db, keys: Arc<Keys>) -> Self {
        Self {
            db,
            keys,
            attempts: Attempts::default(),
            used: Mutex::default(),
            hashing: Arc::new(Semaphore::new(2)),
            accounts: None,
        }
    }

    /// The same, which knows the cluster's accounts as well.
    #[must_use]
    pub fn with_cluster(self, cluster: Arc<Cluster>) -> Self {
        Self { accounts: Some(Accounts::new(cluster)), ..self }
    }

    /// Checks a password and opens a session: the JWT and whose it is.
    ///
    /// # Errors
    /// API-002, the same and after the same time for a wrong name and a wrong password; API-006
    /// after too many of them for this name or address.
    pub async fn login(
        &self,
        username: &str,
        password: &SecretString,
        from: IpAddr,
    ) -> Result<(String, User)> {
        let wrong = || Error::new(Code::Unauthenticated, "wrong username or password");
        // Nobody has such a name: it is not to be remembered.
        if username.len() > users::MAX_NAME {
            return Err(wrong());
        }
        if !self.attempts.begin(username, from) {
            return Err(Error::new(
                Code::RateLimited,
                "too many failed logins: try again in five minutes",
            ));
        }
        if password.expose_secret().chars().count() > MAX_PASSWORD {
            return Err(wrong());
        }
        let checked = async {
            let row = users::by_name(&self.db, username).await?;
            let stored = row.as_ref().map(|r| r.password_hash.clone()).or_else(|| NOBODY.clone());
            let matches = self.verify(password, stored).await?;
            Ok::<_, Error>(row.filter(|row| matches && !row.disabled))
        };
        let checked = checked.await;
        if checked.is_err() {
            self.attempts.give_back(username, from);
        }
        let Some(row) = checked? else { return Err(wrong()) };
        self.attempts.succeeded(username, from);
        let (epoch, user) = (row.session_epoch, row.user()?);
        let now = Timestamp::now().seconds();
        let token = self.keys.sessions.sign(&Claims {
            iss: ISSUER.into(),
            sub: user.username.clone(),
            uid: user.id,
            role: user.role,
            epoch,
            jti: keys::hex(&keys::random::<16>()?),
            iat: now,
            exp: now + SESSION_SECONDS,
        })?;
        Ok((token, user))
    }

    /// Who shows this: the token of a session or of a ServiceAccount, or an API key.
    ///
    /// # Errors
    /// API-002.
    pub async fn identify(&self, token: &str) -> Result<Caller> {
        Ok(self.grant(token).await?.caller)
    }

    /// The same, with what ends it.
    ///
    /// # Errors
    /// API-002.
    pub async fn grant(&self, token: &str) -> Result<Grant> {
        if token.starts_with(apikeys::PREFIX) {
            return self.key(token).await;
        }
        match &self.accounts {
            Some(accounts) if accounts.may_know(token) => accounts.grant(token).await,
            _ => self.session(token).await,
        }
    }

    /// Whether a grant still holds.
    ///
    /// # Errors
    /// The database's.
    pub async fn holds(&self, grant: &Grant) -> Result<bool> {
        if grant.until.is_some_and(|until| until <= Timestamp::now().micros()) {
            return Ok(false);
        }
        match &grant.caller {
            Caller::User(user) => {
                let row = users::by_id(&self.db, user.id).await?;
                Ok(row.is_some_and(|row| !row.disabled && grant.epoch == Some(row.session_epoch)))
            }
            Caller::Key { key_id, .. } => self.has_key(key_id).await,
            Caller::Account { .. } => match (&self.accounts, &grant.token) {
                (Some(accounts), Some(hash)) => accounts.holds(hash, &grant.caller).await,
                _ => Ok(false),
            },
        }
    }

    /// Whose session this JWT is.
    async fn session(&self, token: &str) -> Result<Grant> {
        let refused = |why| Err(Error::new(Code::Unauthenticated, why));
        let claims = match self.keys.sessions.verify::<Claims>(token) {
            Ok(claims) if claims.iss == ISSUER => claims,
            Err(JwtError::Expired) => return refused("the session has expired: log in again"),
            Ok(_) | Err(JwtError::Invalid) => return refused("the token is not valid here"),
        };
        // The role of now, not that of the login.
        match users::by_id(&self.db, claims.uid).await? {
            Some(row) if !row.disabled && row.session_epoch == claims.epoch => Ok(Grant {
                caller: Caller::User(row.user()?),
                epoch: Some(claims.epoch),
                until: Some(claims.exp.saturating_mul(1_000_000)),
                token: None,
            }),
            _ => refused("the session has ended: log in again"),
        }
    }

    async fn verify(&self, password: &SecretString, stored: Option<String>) -> Result<bool> {
        let given = password.clone();
        self.hashing(move || {
            stored.is_some_and(|stored| {
                PasswordHash::new(&stored).is_ok_and(|hash| {
                    let given = given.expose_secret().as_bytes();
                    Argon2::default().verify_password(given, &hash).is_ok()
                })
            })
        })
        .await
    }

    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.hashing).acquire_owned();
        let permit = tokio::time::timeout(HASHING, permit)
            .await
            .map_err(|_| Error::new(Code::RateLimited, "too many logins at once: try again"))?
            .map_err(Error::internal)?;
        let work = move || {
            // Until the end of the work, whoever still waits for it.
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}
