//! Contract, "8. Application Deployment".

mod deploy;
mod remove;
mod results;
mod schemas;
mod show;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::show::Application;
use super::Apps;

/// This room's routes.
pub fn routes(apps: Arc<Apps>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(deploy::deploy_app))
        .routes(routes!(show::list_apps))
        .routes(routes!(show::show_app, remove::remove_app))
        .with_state(apps)
}
