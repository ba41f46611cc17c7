//! Contract, "Authentication" and "Security Endpoints": sessions, users, API keys, the audit log.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{ConnectInfo, State},
    response::{IntoResponse, Response},
};
use cloudcore_protocol::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Audit, Auth, Caller, Grant, Role, User, Viewer,
    apikeys::ApiKeyInfo,
    audit::{ChainState, EntryFilter, EntryInfo, Outcome},
    users::{UserChange, UserInfo},
};
use crate::{
    api::{Body, Done, Page, Path, Query, Refusal, to_the_end},
    error::{Code, Error, Result},
};

/// This room's routes.
pub fn routes(auth: Arc<Auth>, audit: Audit) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(ticket))
        .routes(routes!(change_password))
        .routes(routes!(create_user, list_users))
        .routes(routes!(change_user, remove_user))
        .routes(routes!(create_key, list_keys))
        .routes(routes!(remove_key))
        .with_state(auth)
        .merge(
            OpenApiRouter::new()
                .routes(routes!(security_log))
                .routes(routes!(verify_log))
                .with_state(audit),
        )
}

/// The name that a request was made under, for the audit log, where no header says it.
#[derive(Debug, Clone)]
pub struct Acted(pub String);

/// Name and password.
#[derive(Deserialize, ToSchema)]
struct Login {
    /// Name of the user.
    #[schema(example = "admin", max_length = 64)]
    username: String,
    /// Password of the user.
    #[schema(value_type = String, example = "admin123", max_length = 256)]
    password: SecretString,
}

/// A session.
#[derive(Serialize, ToSchema)]
struct Session {
    /// A JWT for `Authorization: Bearer`.
    #[schema(example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...")]
    token: String,
    /// Whose it is.
    user: User,
}

/// Open a session
///
/// The token is good for 12 hours, or until the user's role or password changes.
#[utoipa::path(post, path = "/api/auth/login", tag = "Authentication", security(()),
    request_body = Login,
    responses((status = 200, description = "The session", body = Session)))]
async fn login(
    State(auth): State<Arc<Auth>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(login): Body<Login>,
) -> Response {
    let acted = Extension(Acted(login.username.clone()));
    match auth.login(&login.username, &login.password, from.ip()).await {
        Ok((token, user)) => (acted, Json(Session { token, user })).into_response(),
        Err(error) => (acted, error).into_response(),
    }
}

/// A ticket.
#[derive(Serialize, ToSchema)]
struct Ticket {
    /// For `?ticket=` of the event stream or the WebSocket; good for one use.
    ticket: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Get a ticket for a stream
///
/// For browsers, whose EventSource and WebSocket can't send an Authorization header.
#[utoipa::path(post, path = "/api/auth/ticket", operation_id = "create_ticket",
    tag = "Authentication",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "The ticket", body = Ticket)))]
async fn ticket(
    State(auth): State<Arc<Auth>>,
    _: Viewer,
    Extension(grant): Extension<Grant>,
) -> Result<Json<Ticket>, Refusal> {
    let (ticket, expires_at) = auth.issue_ticket(&grant).await?;
    Ok(Json(Ticket { ticket, expires_at }))
}

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
struct ChangePassword {
    /// The password until now.
    #[schema(value_type = String, max_length = 256)]
    old_password: SecretString,
    /// The password from now on, 8 to 256 bytes.
    #[schema(value_type = String, min_length = 8, max_length = 256)]
    new_password: SecretString,
}

/// Change one's own password
///
/// All sessions of the user end, this one too.
#[utoipa::path(post, path = "/api/auth/password", tag = "Authentication",
    security(("bearer" = ["viewer"])), request_body = ChangePassword,
    responses((status = 200, description = "It is changed", body = Done)))]
async fn change_password(
    State(auth): State<Arc<Auth>>,
    Viewer(caller): Viewer,
    Body(body): Body<ChangePassword>,
) -> Result<Json<Done>, Refusal> {
    let Caller::User(user) = caller else {
        return Err(Error::new(Code::Forbidden, "only a user has a password").into());
    };
    auth.change_password(&user, &body.old_password, &body.new_password).await?;
    Ok(Json(Done::new("Password changed: log in again")))
}

/// A new user.
#[derive(Deserialize, ToSchema)]
struct NewUser {
    /// Name of the user.
    #[schema(example = "eve", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.@-]+$")]
    username: String,
    /// Password of the user, 8 to 256 bytes.
    #[schema(value_type = String, min_length = 8, max_length = 256)]
    password: SecretString,
    /// What the user may do; `viewer` where absent.
    role: Option<Role>,
}

/// A user that was made or changed.
#[derive(Serialize, ToSchema)]
struct UserAnswer<T> {
    /// `success`.
    status: &'static str,
    /// The user.
    user: T,
}

/// Make a user
#[utoipa::path(post, path = "/api/kubeedge/users", tag = "Users",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])), request_body = NewUser,
    responses((status = 200, description = "The user", body = UserAnswer<User>)))]
async fn create_user(
    State(auth): State<Arc<Auth>>,
    _: Admin,
    Body(body): Body<NewUser>,
) -> Result<Json<UserAnswer<User>>, Refusal> {
    let role = body.role.unwrap_or(Role::Viewer);
    let user = auth.create_user(&body.username, body.password.expose_secret(), role).await?;
    Ok(Json(UserAnswer { status: "success", user }))
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Rows at most; 100 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
}

impl PageQuery {
    const fn page(&self) -> Page {
        Page { limit: self.limit, cursor: self.cursor }
    }
}

/// Users.
#[derive(Serialize, ToSchema)]
struct UserList {
    /// How many there are.
    count: i64,
    /// This page of them.
    users: Vec<UserInfo>,
    /// For the next page; null on the last.
    next_cursor: Option<i64>,
}

/// List users
#[utoipa::path(get, path = "/api/kubeedge/users", tag = "Users", params(PageQuery),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "The users", body = UserList)))]
async fn list_users(
    State(auth): State<Arc<Auth>>,
    _: Admin,
    Query(query): Query<PageQuery>,
) -> Result<Json<UserList>, Refusal> {
    let (count, users, next_cursor) = auth.users(query.page()).await?;
    Ok(Json(UserList { count, users, next_cursor }))
}

/// A change of a user; what is absent stays.
#[derive(Deserialize, ToSchema)]
struct ChangeUser {
    /// What the user may do.
    role: Option<Role>,
    /// Whether the user may not log in.
    disabled: Option<bool>,
    /// Another password, 8 to 256 bytes.
    #[schema(value_type = Option<String>, min_length = 8, max_length = 256)]
    password: Option<SecretString>,
}

/// Change a user
///
/// All sessions of the user end. The last admin can't be disabled or lose the role.
#[utoipa::path(put, path = "/api/kubeedge/users/{username}", operation_id = "update_user",
    tag = "Users",
    params(("username" = String, Path, description = "Name of the user", max_length = 64)),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])), request_body = ChangeUser,
    responses((status = 200, description = "The user", body = UserAnswer<UserInfo>)))]
async fn change_user(
    State(auth): State<Arc<Auth>>,
    _: Admin,
    Path(username): Path<String>,
    Body(body): Body<ChangeUser>,
) -> Result<Json<UserAnswer<UserInfo>>, Refusal> {
    let change = UserChange { role: body.role, disabled: body.disabled, password: body.password };
    let user = auth.change_user(&username, &change).await?;
    Ok(Json(UserAnswer { status: "success", user }))
}

/// Remove a user
///
/// The last admin can't be removed.
#[utoipa::path(delete, path = "/api/kubeedge/users/{username}", operation_id = "delete_user",
    tag = "Users",
    params(("username" = String, Path, description = "Name of the user", max_length = 64)),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "It is removed", body = Done)))]
async fn remove_user(
    State(auth): State<Arc<Auth>>,
    _: Admin,
    Path(username): Path<String>,
) -> Result<Json<Done>, Refusal> {
    auth.remove_user(&username).await?;
    Ok(Json(Done::new(format!("User {username} removed"))))
}

/// A new API key.
#[derive(Deserialize, ToSchema)]
struct NewKey {
    /// For people.
    #[schema(example = "grafana", min_length = 1, max_length = 100)]
    name: String,
    /// What it may do; `viewer` where absent.
    role: Option<Role>,
    /// Its life; for ever where absent.
    #[schema(minimum = 1, maximum = 3650, example = 90)]
    expiry_days: Option<u32>,
}

/// An API key that was made.
#[derive(Serialize, ToSchema)]
struct CreatedKey {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    /// The key, for `X-API-Key` or `Authorization: Bearer`. It is not shown again.
    #[schema(example = "ck_0123456789abcdef...")]
    api_key: String,
    #[serde(flatten)]
    info: ApiKeyInfo,
}

/// Make an API key
#[utoipa::path(post, path = "/api/kubeedge/apikeys", operation_id = "create_api_key",
    tag = "API keys",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])), request_body = NewKey,
    responses((status = 200, description = "The key", body = CreatedKey)))]
async fn create_key(
    State(auth): State<Arc<Auth>>,
    Admin(caller): Admin,
    Body(body): Body<NewKey>,
) -> Result<Json<CreatedKey>, Refusal> {
    if body.name.is_empty() || body.name.chars().count() > 100 {
        return Err(Error::invalid("name must have 1 to 100 characters").into());
    }
    let life = match body.expiry_days {
        None => None,
        Some(days @ 1..=3650) => Some(Duration::from_secs(u64::from(days) * 86_400)),
        Some(_) => return Err(Error::invalid("expiry_days must be 1 to 3650").into()),
    };
    let role = body.role.unwrap_or(Role::Viewer);
    let (api_key, info) = auth.create_key(&body.name, role, life, &caller).await?;
    Ok(Json(CreatedKey { status: "success", api_key, info }))
}

/// API keys.
#[derive(Serialize, ToSchema)]
struct KeyList {
    /// How many there are.
    count: i64,
    /// This page of them.
    api_keys: Vec<ApiKeyInfo>,
    /// For the next page; null on the last.
    next_cursor: Option<i64>,
}

/// List API keys
#[utoipa::path(get, path = "/api/kubeedge/apikeys", operation_id = "list_api_keys",
    tag = "API keys", params(PageQuery),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "The keys, without what is secret", body = KeyList)))]
async fn list_keys(
    State(auth): State<Arc<Auth>>,
    _: Admin,
    Query(query): Query<PageQuery>,
) -> Result<Json<KeyList>, Refusal> {
    let (count, api_keys, next_cursor) = auth.keys(query.page()).await?;
    Ok(Json(KeyList { count, api_keys, next_cursor }))
}

/// End an API key
#[utoipa::path(delete, path = "/api/kubeedge/apikeys/{key_id}", operation_id = "delete_api_key",
    tag = "API keys",
    params(("key_id" = String, Path, description = "Id of the key", max_length = 40)),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "It is ended", body = Done)))]
async fn remove_key(
    State(auth): State<Arc<Auth>>,
    _: Admin,
    Path(key_id): Path<String>,
) -> Result<Json<Done>, Refusal> {
    let id = key_id.clone();
    to_the_end(async move { auth.remove_key(&id).await }).await?;
    Ok(Json(Done::new(format!("API key {key_id} deleted"))))
}

/// Which entries of the audit log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// Rows at most; 100 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
    /// Who: a user's name, an API key's id, or `anonymous`.
    actor: Option<String>,
    /// How it ended: `done`, `refused` or `failed`.
    #[param(inline)]
    outcome: Option<Outcome>,
}

/// Entries of the audit log.
#[derive(Serialize, ToSchema)]
struct LogList {
    /// How many match.
    count: i64,
    /// This page of them, newest first.
    logs: Vec<EntryInfo>,
    /// For the next page; null on the last.
    next_cursor: Option<i64>,
}

/// Get security logs
///
/// Every change and every refusal: who, from where, what, and how it ended.
#[utoipa::path(get, path = "/api/kubeedge/security/logs", operation_id = "list_security_logs",
    tag = "Security", params(LogQuery),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "The entries", body = LogList)))]
async fn security_log(
    State(audit): State<Audit>,
    _: Admin,
    Query(query): Query<LogQuery>,
) -> Result<Json<LogList>, Refusal> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    let filter = EntryFilter { actor: query.actor, outcome: query.outcome };
    let (count, logs, next_cursor) = audit.list(page, &filter).await?;
    Ok(Json(LogList { count, logs, next_cursor }))
}

/// Check that the audit log is whole
///
/// Each entry's hash covers the one before: an entry that was altered or taken out shows.
#[utoipa::path(get, path = "/api/kubeedge/security/logs/verify", operation_id = "verify_security_logs",
    tag = "Security",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "Whether the chain holds", body = ChainState)))]
async fn verify_log(State(audit): State<Audit>, _: Admin) -> Result<Json<ChainState>, Refusal> {
    Ok(Json(audit.verify().await?))
}
