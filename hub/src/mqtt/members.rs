//! Devices that live on MQTT alone: what lets them in.

use std::sync::Arc;

use cloudcore_protocol::{DeviceId, GoodbyeReason, NodeName, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::payloads::Named;
use crate::{
    db::{self, Db},
    devices::{self, Devices},
    error::{Code, Error, Result},
    keys,
    link::Registry,
    settings::Settings,
};

/// The members.
pub(super) struct Members {
    pub db: Db,
    pub devices: Arc<Devices>,
    pub registry: Arc<Registry>,
    pub settings: Arc<Settings>,
}

impl Members {
    /// Lets a device in over MQTT by a password, which is returned to be shown once; one that it
    /// had is good no more. Without `own_broker` there is no password: somebody else's broker
    /// knows its clients.
    ///
    /// # Errors
    /// API-004 for an unknown device, API-005 for one that has an agent, API-009 during
    /// maintenance.
    pub async fn admit(
        &self,
        device: &DeviceId,
        own_broker: bool,
        by: &str,
    ) -> Result<(Option<SecretString>, Timestamp)> {
        self.settings.check_open()?;
        self.devices.get(device).await?;
        let secret = match own_broker {
            true => Some(SecretString::from(keys::hex(&keys::random::<32>()?))),
            false => None,
        };
        let hash = secret.as_ref().map(|s| keys::sha256_hex(s.expose_secret().as_bytes()));
        let now = Timestamp::now();
        let mut tx = self.db.write().await?;
        if devices::has_agent(&mut tx, device, now).await? {
            return Err(Error::new(
                Code::Exists,
                format!("device '{device}' has an agent; revoke its node's token first"),
            ));
        }
        db::sql(
            "INSERT INTO mqtt_devices (device_id, secret_hash, created_at, created_by) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (device_id) DO UPDATE SET \
             secret_hash = excluded.secret_hash, created_at = excluded.created_at, \
             created_by = excluded.created_by, ended_at = NULL",
        )
        .bind(device.as_str())
        .bind(hash)
        .bind(now.micros())
        .bind(by)
        .run(&mut tx)
        .await?;
        devices::set_member(&mut tx, device, true).await?;
        tx.commit().await?;
        self.registry.close(device, GoodbyeReason::Revoked);
        Ok((secret, now))
    }

    /// Ends what lets a device in.
    ///
    /// # Errors
    /// API-004 for a device that does not live on MQTT.
    pub async fn dismiss(&self, device: &DeviceId) -> Result<()> {
        let mut tx = self.db.write().await?;
        if !devices::end_mqtt(&mut tx, device).await? {
            return Err(Error::not_found("MQTT access of device", device));
        }
        devices::set_member(&mut tx, device, false).await?;
        tx.commit().await?;
        self.registry.close(device, GoodbyeReason::Revoked);
        Ok(())
    }

    /// The member with this id, if the password is its own.
    ///
    /// # Errors
    /// The database's.
    pub async fn prove(&self, device_id: &str, password: &str) -> Result<Option<Named>> {
        let hash = keys::sha256_hex(password.as_bytes());
        // Looked up by what it is compared with: there is nothing to time.
        let row: Option<(String, String)> = db::sql(
            "SELECT d.device_id, d.node_name FROM mqtt_devices m \
             JOIN devices d ON d.device_id = m.device_id \
             WHERE m.device_id = $1 AND m.secret_hash = $2 AND m.ended_at IS NULL",
        )
        .bind(device_id)
        .bind(hash)
        .optional(&self.db)
        .await?;
        row.map(named).transpose()
    }

    /// The member with this id.
    ///
    /// # Errors
    /// The database's.
    pub async fn get(&self, device_id: &str) -> Result<Option<Named>> {
        let row: Option<(String, String)> = db::sql(
            "SELECT d.device_id, d.node_name FROM mqtt_devices m \
             JOIN devices d ON d.device_id = m.device_id \
             WHERE m.device_id = $1 AND m.ended_at IS NULL",
        )
        .bind(device_id)
        .optional(&self.db)
        .await?;
        row.map(named).transpose()
    }
}

fn named((device_id, node_name): (String, String)) -> Result<Named> {
    Ok(Named {
        device_id: DeviceId::try_from(device_id).map_err(Error::internal)?,
        node_name: NodeName::try_from(node_name).map_err(Error::internal)?,
    })
}
