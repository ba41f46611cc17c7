//! `POST /api/auth/login`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    routing::post,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Auth, User};
use crate::{api::Body, error::Result};

/// This room's routes.
pub fn routes(auth: Arc<Auth>) -> Router {
    Router::new().route("/api/auth/login", post(login)).with_state(auth)
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: SecretString,
}

#[derive(Serialize)]
struct Session {
    token: String,
    user: User,
}

async fn login(
    State(auth): State<Arc<Auth>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(login): Body<Login>,
) -> Result<Json<Session>> {
    let (token, user) = auth.login(&login.username, &login.password, from.ip()).await?;
    Ok(Json(Session { token, user }))
}
