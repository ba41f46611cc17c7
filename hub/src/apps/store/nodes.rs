//! What is to be in the cluster for apps on its nodes.

use cloudcore_protocol::{Timestamp, command::AppName};
use sqlx::FromRow;

use super::{MAX_MESSAGE, MAX_REASON, Placed};
use crate::{
    api::clip,
    apps::Standing,
    db::{self, Db, On, Write},
    error::Result,
};

/// An app on a node, and how it stands there in the database; nothing where it is to be there no
/// more.
#[derive(Debug, Clone, FromRow)]
pub(in crate::apps) struct NodeRow {
    pub(in crate::apps) app: String,
    pub(in crate::apps) node: String,
    pub(in crate::apps) revision: i64,
    status: Option<String>,
    reason: Option<String>,
    message: Option<String>,
}

impl NodeRow {
    /// Whether it is to be there.
    pub(in crate::apps) fn is_wanted(&self) -> bool {
        self.status.as_deref().is_some_and(|status| status != Standing::Removing.as_str())
    }

    /// Whether it is stored that the cluster has taken it: how it is, the cluster says.
    pub(in crate::apps) fn is_taken(&self) -> bool {
        self.status.as_deref() == Some(Standing::Running.as_str())
    }

    /// Whether this is stored as the reason.
    pub(in crate::apps) fn says(&self, reason: &str, message: &str) -> bool {
        self.reason.as_deref() == Some(clip(reason, MAX_REASON))
            && self.message.as_deref() == Some(clip(message, MAX_MESSAGE))
            && !matches!(self.status.as_deref(), Some("Pending" | "Running"))
    }
}

/// All of them.
pub(in crate::apps) async fn all(db: &Db) -> Result<Vec<NodeRow>> {
    Ok(db::sql(
        "SELECT c.app, c.node, c.revision, d.status, d.reason, d.message FROM cluster_apps c \
         LEFT JOIN app_devices d ON d.app = c.app AND d.node = c.node ORDER BY c.app, c.node",
    )
    .all(db)
    .await?)
}

/// What an app is told on a node, sealed.
pub(in crate::apps) async fn told(
    on: impl Into<On<'_>>,
    app: &str,
    node: &str,
) -> Result<Option<String>> {
    Ok(db::sql("SELECT told FROM cluster_apps WHERE app = $1 AND node = $2")
        .bind(app)
        .bind(node)
        .optional_value(on)
        .await?)
}

/// An app is to be so on a node, and is there for this device alone. Returns the revision.
pub(in crate::apps) async fn put(
    tx: &mut Write,
    app: &AppName,
    node: &str,
    device: &str,
    told: String,
) -> Result<i64> {
    // A node that was a device by its own name may be one by another since.
    db::sql("DELETE FROM app_devices WHERE app = $1 AND node = $2 AND device_id <> $3")
        .bind(app.as_str())
        .bind(node)
        .bind(device)
        .run(&mut *tx)
        .await?;
    let revision = Timestamp::now().micros();
    db::sql(
        "INSERT INTO cluster_apps (app, node, told, revision) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (app, node) DO UPDATE SET told = excluded.told, revision = excluded.revision",
    )
    .bind(app.as_str())
    .bind(node)
    .bind(told)
    .bind(revision)
    .run(tx)
    .await?;
    Ok(revision)
}

/// An app is to be on a node no more, for this device.
pub(in crate::apps) async fn let_go(tx: &mut Write, placed: &Placed) -> Result<()> {
    db::sql(
        "UPDATE app_devices SET status = 'Removing', reason = NULL, message = NULL, \
         updated_at = $3 WHERE app = $1 AND device_id = $2 AND status <> 'Removing'",
    )
    .bind(&placed.app)
    .bind(&placed.device_id)
    .bind(Timestamp::now().micros())
    .run(tx)
    .await?;
    Ok(())
}

/// The cluster has taken it, in this revision.
pub(in crate::apps) async fn applied(tx: &mut Write, row: &NodeRow) -> Result<()> {
    db::sql(
        "UPDATE app_devices SET status = 'Running', reason = NULL, message = NULL, \
         updated_at = $4 WHERE app = $1 AND node = $2 AND status <> 'Removing' AND EXISTS \
         (SELECT 1 FROM cluster_apps c WHERE c.app = $1 AND c.node = $2 AND c.revision = $3)",
    )
    .bind(&row.app)
    .bind(&row.node)
    .bind(row.revision)
    .bind(Timestamp::now().micros())
    .run(tx)
    .await?;
    Ok(())
}

/// The cluster has not taken it in this revision, or still has it.
pub(in crate::apps) async fn refused(
    tx: &mut Write,
    row: &NodeRow,
    reason: &str,
    message: &str,
) -> Result<()> {
    db::sql(
        "UPDATE app_devices SET reason = $4, message = $5, updated_at = $6, \
         status = CASE WHEN status = 'Removing' THEN status ELSE 'Failed' END \
         WHERE app = $1 AND node = $2 AND EXISTS \
         (SELECT 1 FROM cluster_apps c WHERE c.app = $1 AND c.node = $2 AND c.revision = $3)",
    )
    .bind(&row.app)
    .bind(&row.node)
    .bind(row.revision)
    .bind(clip(reason, MAX_REASON))
    .bind(clip(message, MAX_MESSAGE))
    .bind(Timestamp::now().micros())
    .run(tx)
    .await?;
    Ok(())
}

/// The cluster has nothing of it any more; unless it is wanted there again, nobody knows of it.
pub(in crate::apps) async fn removed(tx: &mut Write, row: &NodeRow) -> Result<()> {
    db::sql("DELETE FROM app_devices WHERE app = $1 AND node = $2 AND status = 'Removing'")
        .bind(&row.app)
        .bind(&row.node)
        .run(&mut *tx)
        .await?;
    db::sql(
        "DELETE FROM cluster_apps WHERE app = $1 AND node = $2 AND NOT EXISTS \
         (SELECT 1 FROM app_devices d WHERE d.app = $1 AND d.node = $2)",
    )
    .bind(&row.app)
    .bind(&row.node)
    .run(&mut *tx)
    .await?;
    super::drop_if_nowhere(tx, &row.app).await
}
