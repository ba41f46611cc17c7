//! Who is calling: users, their passwords, their sessions and their roles.
//!
//! A password is stored as Argon2id and never leaves this room; a session is a signed JWT and is
//! not stored. Every handler names the least role it wants by taking [`Viewer`] or [`Operator`] as an
//! argument.

mod attempts;
mod extract;
mod routes;

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use cloudcore_protocol::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use extract::{Admin, Identity, Operator, PublicMonitoring, Viewer, Watcher};
pub use routes::routes;

use self::attempts::Attempts;
use crate::{
    db::{self, Db, is_conflict},
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

/// Who calls: a user with a session, or a program with an API key.
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
}

impl Caller {
    /// What it may do.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::User(user) => user.role,
            Self::Key { role, .. } => *role,
        }
    }

    /// Its name, as the audit log has it: a user's, or a key's id.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User(user) => &user.username,
            Self::Key { key_id, .. } => key_id,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    uid: i64,
    role: Role,
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
    /// Hashing takes 19 MiB and a core: a flood of logins may not take all of either.
    hashing: Semaphore,
}

impl Auth {
    /// Over this database.
    #[must_use]
    pub fn new(db: Db, keys: Arc<Keys>) -> Self {
        Self { db, keys, attempts: Attempts::default(), hashing: Semaphore::new(2) }
    }

    /// Makes the user `admin` where there is no user yet, with `password` or a random one, which
    /// is returned to be shown once.
    ///
    /// # Errors
    /// The database's, or API-001 for a password that is too long.
    pub async fn ensure_admin(
        &self,
        password: Option<&SecretString>,
    ) -> Result<Option<SecretString>> {
        let users: i64 = db::sql("SELECT count(*) FROM users").value(&self.db).await?;
        if users > 0 {
            return Ok(None);
        }
        let shown = match password {
            Some(_) => None,
            None => Some(SecretString::from(keys::hex(&keys::random::<12>()?))),
        };
        let chosen = password.or(shown.as_ref());
        let chosen = chosen.map_or("", |p| p.expose_secret());
        self.create_user("admin", chosen, Role::Admin).await?;
        Ok(shown)
    }

    /// Makes a user.
    ///
    /// # Errors
    /// API-001 for a bad name or password, API-005 when the name is taken.
    pub async fn create_user(&self, username: &str, password: &str, role: Role) -> Result<User> {
        let name_ok = (1..=64).contains(&username.len())
            && username.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b));
        if !name_ok {
            return Err(Error::invalid(
                "username must be 1 to 64 letters, digits, '-', '_', '.' or '@'",
            ));
        }
        let hashed = self.hash_new(password).await?;
        let mut tx = self.db.write().await?;
        let id: i64 = db::sql(
            "INSERT INTO users (username, password_hash, role, created_at) \
             VALUES ($1, $2, $3, $4) RETURNING id",
        )
        .bind(username)
        .bind(hashed)
        .bind(role.as_str())
        .bind(Timestamp::now().micros())
        .value(&mut tx)
        .await
        .map_err(|e| match is_conflict(&e) {
            true => Error::new(Code::Exists, format!("user '{username}' exists")),
            false => e.into(),
        })?;
        tx.commit().await?;
        Ok(User { id, username: username.to_owned(), role })
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// API-001 for a bad password, API-004 for an unknown user.
    pub async fn set_password(&self, username: &str, password: &str) -> Result<()> {
        let hashed = self.hash_new(password).await?;
        let mut tx = self.db.write().await?;
        let done = db::sql("UPDATE users SET password_hash = $2 WHERE username = $1")
            .bind(username)
            .bind(hashed)
            .run(&mut tx)
            .await?;
        if done == 0 {
            return Err(Error::not_found("user", username));
        }
        tx.commit().await
    }

    async fn hash_new(&self, password: &str) -> Result<String> {
        if !(8..=MAX_PASSWORD).contains(&password.len()) {
            return Err(Error::invalid("password must be 8 to 256 bytes"));
        }
        let password = password.to_owned();
        self.hashing(move || hash(&password)).await?
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
        if !self.attempts.allows(username, from) {
            return Err(Error::new(
                Code::RateLimited,
                "too many failed logins: try again in five minutes",
            ));
        }
        let wrong = || Error::new(Code::Unauthenticated, "wrong username or password");
        if password.expose_secret().len() > MAX_PASSWORD {
            return Err(wrong());
        }
        let row: Option<(i64, String, String)> =
            db::sql("SELECT id, password_hash, role FROM users WHERE username = $1")
                .bind(username)
                .optional(&self.db)
                .await?;
        let stored = row.as_ref().map(|(_, hash, _)| hash.clone()).or_else(|| NOBODY.clone());
        let given = password.clone();
        let matches = self
            .hashing(move || {
                stored.is_some_and(|stored| {
                    PasswordHash::new(&stored).is_ok_and(|hash| {
                        let given = given.expose_secret().as_bytes();
                        Argon2::default().verify_password(given, &hash).is_ok()
                    })
                })
            })
            .await?;
        let Some((id, _, role)) = row.filter(|_| matches) else {
            self.attempts.failed(username, from);
            return Err(wrong());
        };
        self.attempts.succeeded(username);
        let user = User { id, username: username.to_owned(), role: role.parse()? };
        let now = Timestamp::now().seconds();
        let token = self.keys.sessions.sign(&Claims {
            iss: ISSUER.into(),
            sub: user.username.clone(),
            uid: user.id,
            role: user.role,
            jti: keys::hex(&keys::random::<16>()?),
            iat: now,
            exp: now + SESSION_SECONDS,
        })?;
        Ok((token, user))
    }

    /// Whose session this JWT is.
    ///
    /// # Errors
    /// API-002.
    pub fn session(&self, token: &str) -> Result<User> {
        match self.keys.sessions.verify::<Claims>(token) {
            Ok(claims) if claims.iss == ISSUER => {
                Ok(User { id: claims.uid, username: claims.sub, role: claims.role })
            }
            Err(JwtError::Expired) => {
                Err(Error::new(Code::Unauthenticated, "the session has expired: log in again"))
            }
            Ok(_) | Err(JwtError::Invalid) => {
                Err(Error::new(Code::Unauthenticated, "the token is not valid here"))
            }
        }
    }

    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = tokio::time::timeout(HASHING, self.hashing.acquire()).await;
        let _permit = permit
            .map_err(|_| Error::new(Code::RateLimited, "too many logins at once: try again"))?
            .map_err(Error::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}
