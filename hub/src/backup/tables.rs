//! Which tables a backup holds, and how their rows are put back.
//!
//! Not in a backup, on purpose: heartbeats (the last one is with its device), pictures and models'
//! bytes (they are in the object store already), alerts (the rules find them again), the audit log (it is this hub's
//! own and only grows), what webhooks are owed, what the cluster has to let go of, and what lives for
//! minutes.
//!
//! An API key that was deleted since leaves no trace, and comes back with an older backup.

use serde_json::{Map, Value};

use super::Include;
use crate::{
    error::{Error, Result},
    keys::{self, Seal},
    webhooks,
};

/// How rows are put back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// The table holds what the backup holds, and nothing else.
    Replace,
    /// Row by row, by a key. What was withdrawn or used since stays so: a restore must not open
    /// what an operator has closed.
    Merge {
        /// The unique column whose other values are removed, if any are.
        only: Option<&'static str>,
        /// What happens to a row that is there.
        conflict: &'static str,
    },
}

/// A table of a backup.
#[derive(Debug)]
pub(super) struct Kept {
    pub name: &'static str,
    pub include: Include,
    /// Whether its rows stand in the sealed part.
    pub secret: bool,
    /// The column that is sealed by the hub's key, in the clear inside the sealed part: another hub
    /// has another key.
    pub sealed: Option<Sealed>,
    /// Whether archives of older hubs have its rows in the clear.
    pub once_plain: bool,
    /// A column that is left out.
    pub left_out: Option<&'static str>,
    /// Which of its rows, where not all: a condition.
    pub only: Option<&'static str>,
    pub way: Way,
    /// The first schema that has it: archives of older hubs are whole without it.
    pub since: i64,
}

/// A column that is sealed by the hub's key.
#[derive(Debug)]
pub(super) struct Sealed {
    column: &'static str,
    /// The column that names the row.
    name: &'static str,
    /// What the seal is for, by that name.
    context: fn(&str) -> String,
}

impl Sealed {
    /// Opens the column of a row.
    pub fn open(&self, seal: &Seal, row: &mut Map<String, Value>) -> Result<()> {
        let opened = seal.open(&self.context(row)?, self.text(row, self.column)?)?;
        let opened = String::from_utf8(opened).map_err(Error::internal)?;
        row.insert(self.column.to_owned(), opened.into());
        Ok(())
    }

    /// Seals the column of a row.
    pub fn close(&self, seal: &Seal, row: &mut Map<String, Value>) -> Result<()> {
        let text = self.text(row, self.column)?.as_bytes().to_vec();
        let sealed = seal.seal(&self.context(row)?, &text)?;
        row.insert(self.column.to_owned(), sealed.into());
        Ok(())
    }

    fn context(&self, row: &Map<String, Value>) -> Result<String> {
        Ok((self.context)(self.text(row, self.name)?))
    }

    fn text<'a>(&self, row: &'a Map<String, Value>, column: &str) -> Result<&'a str> {
        let text = row.get(column).and_then(Value::as_str);
        text.ok_or_else(|| Error::internal(format!("a row has no {column}")))
    }
}

const fn replaced(name: &'static str, include: Include) -> Kept {
    Kept {
        name,
        include,
        secret: false,
        sealed: None,
        once_plain: false,
        left_out: None,
        only: None,
        way: Way::Replace,
        since: 0,
    }
}

/// In the order in which they are restored.
pub(super) const TABLES: [Kept; 16] = [
    Kept {
        // Maintenance that goes on is not ended by a restore, nor begun by one.
        only: Some("name <> 'maintenance'"),
        ..replaced("settings", Include::Config)
    },
    Kept {
        secret: true,
        way: Way::Merge {
            only: Some("token_hash"),
            conflict: "ON CONFLICT (token_hash) DO UPDATE SET \
                       used = tokens.used OR excluded.used, \
                       used_at = coalesce(tokens.used_at, excluded.used_at), \
                       used_by_key = coalesce(tokens.used_by_key, excluded.used_by_key), \
                       revoked_at = coalesce(tokens.revoked_at, excluded.revoked_at)",
        },
        ..replaced("tokens", Include::Tokens)
    },
    replaced("devices", Include::Devices),
    Kept {
        // Those that nodes have got since stay: a node that renewed is still the same node.
        way: Way::Merge {
            only: None,
            conflict: "ON CONFLICT (fingerprint) DO UPDATE SET \
                       revoked_at = coalesce(certificates.revoked_at, excluded.revoked_at)",
        },
        ..replaced("certificates", Include::Devices)
    },
    Kept {
        // A password that was changed or withdrawn since stays so.
        secret: true,
        way: Way::Merge {
            only: None,
            conflict: "ON CONFLICT (device_id) DO UPDATE SET \
                       ended_at = coalesce(mqtt_devices.ended_at, excluded.ended_at)",
        },
        ..replaced("mqtt_devices", Include::Devices)
    },
    Kept {
        // An agent has deleted what was acknowledged: to ask for it again would be in vain.
        way: Way::Merge {
            only: None,
            conflict: "ON CONFLICT (device_id, outbox_id, lane) DO UPDATE SET last_seq = \
                       CASE WHEN outboxes.last_seq > excluded.last_seq \
                       THEN outboxes.last_seq ELSE excluded.last_seq END",
        },
        ..replaced("outboxes", Include::Devices)
    },
    Kept { secret: true, ..replaced("users", Include::Users) },
    Kept { secret: true, ..replaced("api_keys", Include::Users) },
    // What a command's secrets are is for the hub that sends it, and for as long as it is open.
    Kept { left_out: Some("sealed"), ..replaced("commands", Include::Commands) },
    replaced("detections", Include::Detections),
    replaced("detection_totals", Include::Detections),
    Kept {
        secret: true,
        sealed: Some(Sealed { column: "secret", name: "webhook_id", context: webhooks::context }),
        ..replaced("webhooks", Include::Webhooks)
    },
    Kept {
        secret: true,
        sealed: Some(Sealed { column: "config", name: "name", context: keys::app_context }),
        once_plain: true,
        ..replaced("apps", Include::Apps)
    },
    replaced("app_devices", Include::Apps),
    Kept {
        // What was brought into the cluster since is known until it is taken away again.
        secret: true,
        sealed: Some(Sealed { column: "told", name: "app", context: keys::node_app_context }),
        way: Way::Merge {
            only: None,
            conflict: "ON CONFLICT (app, node) DO UPDATE SET told = excluded.told, \
                       revision = excluded.revision",
        },
        since: 13,
        ..replaced("cluster_apps", Include::Apps)
    },
    replaced("models", Include::Models),
];

/// The tables of these parts.
pub(super) fn tables(include: &[Include]) -> impl Iterator<Item = &'static Kept> {
    TABLES.iter().filter(move |kept| include.contains(&kept.include))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::db::{Db, sql};

    /// The head of this file says why.
    const LEFT_OUT: [&str; 10] = [
        "alerts",
        "audit_log",
        "blobs",
        "cluster_removals",
        "connection_tests",
        "heartbeats",
        "idempotency_keys",
        "pictures",
        "tickets",
        "webhook_deliveries",
    ];
    /// The restore's own.
    const OWN: [&str; 1] = ["restored_keys"];

    #[tokio::test]
    async fn every_table_is_in_a_backup_or_left_out_on_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("hub.db")).await.unwrap();
        let all: BTreeSet<String> = sql(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
             AND name <> '_sqlx_migrations'",
        )
        .values(&db)
        .await
        .unwrap()
        .into_iter()
        .collect();
        let known = TABLES.iter().map(|kept| kept.name).chain(LEFT_OUT).chain(OWN);
        assert_eq!(all, known.map(str::to_owned).collect());
    }
}
