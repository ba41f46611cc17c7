//! Users: made, listed, changed.

use cloudcore_protocol::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Auth, MAX_PASSWORD, Role, User, hash};
use crate::{
    api::Page,
    db::{self, Db, Write, is_conflict},
    error::{Code, Error, Result},
    keys,
};

/// Longest name, bytes.
pub(super) const MAX_NAME: usize = 64;

/// A row of `users`.
#[derive(Debug, FromRow)]
pub(super) struct Row {
    id: i64,
    username: String,
    pub(super) password_hash: String,
    role: String,
    pub(super) disabled: bool,
    pub(super) session_epoch: i64,
    created_at: i64,
}

impl Row {
    pub(super) fn user(&self) -> Result<User> {
        Ok(User { id: self.id, username: self.username.clone(), role: self.role.parse()? })
    }
}

/// A user, as a list shows one.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserInfo {
    /// Number of the user.
    pub id: i64,
    /// Name of the user.
    #[schema(example = "admin")]
    pub username: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may not log in.
    pub disabled: bool,
    /// When the user was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// What is to be changed of a user.
#[derive(Debug, Default)]
pub struct UserChange {
    /// What the user may do.
    pub role: Option<Role>,
    /// Whether the user may not log in.
    pub disabled: Option<bool>,
    /// Another password.
    pub password: Option<SecretString>,
}

pub(super) async fn by_name(db: &Db, username: &str) -> Result<Option<Row>> {
    Ok(db::sql("SELECT * FROM users WHERE username = $1").bind(username).optional(db).await?)
}

pub(super) async fn by_id(db: &Db, id: i64) -> Result<Option<Row>> {
    Ok(db::sql("SELECT * FROM users WHERE id = $1").bind(id).optional(db).await?)
}

async fn store_password(tx: &mut Write, username: &str, hashed: &str) -> Result<()> {
    let done = db::sql(
        "UPDATE users SET password_hash = $2, session_epoch = session_epoch + 1 \
         WHERE username = $1",
    )
    .bind(username)
    .bind(hashed)
    .run(tx)
    .await?;
    if done == 0 { Err(Error::not_found("user", username)) } else { Ok(()) }
}

/// That somebody is left who may do everything, once `username` is none of them.
async fn check_other_admin(tx: &mut Write, username: &str) -> Result<()> {
    let others: i64 = db::sql(
        "SELECT count(*) FROM users WHERE role = 'admin' AND disabled = FALSE AND username <> $1",
    )
    .bind(username)
    .value(tx)
    .await?;
    if others == 0 {
        return Err(Error::new(Code::Exists, format!("'{username}' is the last admin")));
    }
    Ok(())
}

impl Auth {
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
        let name_ok = (1..=MAX_NAME).contains(&username.len())
            && username.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b));
        if !name_ok {
            return Err(Error::invalid(
                "username must be 1 to 64 letters, digits, '-', '_', '.' or '@'",
            ));
        }
        let hashed = self.hash_new(password).await?;
        let mut tx = self.db.write().await?;
        let id: i64 = db::sql(
            "INSERT INTO users (username, password_hash, role, created_at, session_epoch) \
             VALUES ($1, $2, $3, $4, $4) RETURNING id",
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

    /// Gives a user another password; its sessions end.
    ///
    /// # Errors
    /// API-001 for a bad password, API-004 for an unknown user.
    pub async fn set_password(&self, username: &str, password: &str) -> Result<()> {
        let hashed = self.hash_new(password).await?;
        let mut tx = self.db.write().await?;
        store_password(&mut tx, username, &hashed).await?;
        tx.commit().await
    }

    async fn hash_new(&self, password: &str) -> Result<String> {
        if !(8..=MAX_PASSWORD).contains(&password.chars().count()) {
            return Err(Error::invalid("password must be 8 to 256 characters"));
        }
        let password = password.to_owned();
        self.hashing(move || hash(&password)).await?
    }

    /// One page of the users, by number; how many there are; the next page's cursor.
    ///
    /// # Errors
    /// API-001 for a bad page.
    pub async fn users(&self, page: Page) -> Result<(i64, Vec<UserInfo>, Option<i64>)> {
        let limit = page.limit()?;
        let count = db::sql("SELECT count(*) FROM users").value(&self.db).await?;
        let rows: Vec<Row> = db::sql("SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(page.cursor.unwrap_or(0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .all(&self.db)
            .await?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| row.id)).flatten();
        let users = rows.into_iter().map(UserInfo::try_from).collect::<Result<_>>()?;
        Ok((count, users, next))
    }

    /// Changes a user. A change of what a user may do, or of the password, ends its sessions.
    ///
    /// # Errors
    /// API-001 for a bad password, API-004 for an unknown user, API-005 when no admin would be
    /// left.
    pub async fn change_user(&self, username: &str, change: &UserChange) -> Result<UserInfo> {
        let hashed = match &change.password {
            Some(password) => Some(self.hash_new(password.expose_secret()).await?),
            None => None,
        };
        let mut tx = self.db.write().await?;
        let row: Option<Row> = db::sql("SELECT * FROM users WHERE username = $1")
            .bind(username)
            .optional(&mut tx)
            .await?;
        let mut row = row.ok_or_else(|| Error::not_found("user", username))?;
        let role = change.role.unwrap_or(row.role.parse()?);
        let disabled = change.disabled.unwrap_or(row.disabled);
        if role != Role::Admin || disabled {
            check_other_admin(&mut tx, username).await?;
        }
        db::sql(
            "UPDATE users SET role = $2, disabled = $3, session_epoch = session_epoch + 1 \
             WHERE username = $1",
        )
        .bind(username)
        .bind(role.as_str())
        .bind(disabled)
        .run(&mut tx)
        .await?;
        if let Some(hashed) = hashed {
            store_password(&mut tx, username, &hashed).await?;
        }
        tx.commit().await?;
        (row.role, row.disabled) = (role.as_str().to_owned(), disabled);
        row.try_into()
    }

    /// Removes a user.
    ///
    /// # Errors
    /// API-004 for an unknown user, API-005 for the last admin.
    pub async fn remove_user(&self, username: &str) -> Result<()> {
        let mut tx = self.db.write().await?;
        let gone =
            db::sql("DELETE FROM users WHERE username = $1").bind(username).run(&mut tx).await?;
        if gone == 0 {
            return Err(Error::not_found("user", username));
        }
        check_other_admin(&mut tx, username).await?;
        tx.commit().await
    }

    /// Gives a user who knows the old password another one; all sessions of the user end.
    ///
    /// # Errors
    /// API-001 for a bad password, API-003 when the old one is wrong.
    pub async fn change_password(
        &self,
        user: &User,
        old: &SecretString,
        new: &SecretString,
    ) -> Result<()> {
        let row = by_id(&self.db, user.id).await?;
        let stored = row.map(|row| row.password_hash);
        if !self.verify(old, stored).await? {
            return Err(Error::new(Code::Forbidden, "the old password is wrong"));
        }
        self.set_password(&user.username, new.expose_secret()).await
    }
}

impl TryFrom<Row> for UserInfo {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: row.id,
            role: row.role.parse()?,
            username: row.username,
            disabled: row.disabled,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}
