//! The certificates that this hub shows and has issued: which there are, how long they last, and
//! their renewal before they are due. No session is cut for it: a renewed certificate serves the
//! next handshake.

mod expiring;
mod routes;

use std::{collections::HashMap, sync::Arc, time::Duration};

use cloudcore_protocol::{DeviceId, Frame, NodeName, RenewNow, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::{sync::broadcast::error::RecvError, time::timeout};

pub use routes::routes;

use crate::{
    db::{self, Db},
    devices::Devices,
    error::{Code, Error, Result},
    link::Registry,
    live::Bus,
    pki::{Facts, Https, Pki},
    settings::Settings,
};

/// What an agent has to say in [`cloudcore_protocol::Hello`] to be asked for a renewal.
const RENEW_NOW: &str = "renew-now";
/// How long an agent that was asked has for its renewal.
const RENEWAL: Duration = Duration::from_secs(20);

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CertificateKind)]
pub enum Kind {
    /// The hub's certificate authority.
    Ca,
    /// The hub's, towards agents.
    Link,
    /// The hub's, towards clients of the API.
    Https,
    /// A node's.
    Node,
}

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CertificateStatus)]
pub enum Status {
    /// It holds.
    Valid,
    /// It holds, and ends within the setting `alerts.certificate_days`.
    Expiring,
    /// Its time is over.
    Expired,
    /// An operator withdrew it.
    Revoked,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A certificate, as the API shows one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Certificate {
    /// Whose it is.
    pub kind: Kind,
    /// Its distinguished name.
    #[schema(example = "CN=edge-node-001")]
    pub subject: String,
    /// Who signed it.
    #[schema(example = "CN=CloudCore hub CA")]
    pub issuer: String,
    /// Its serial number, hex; null for one that an older hub issued.
    pub serial: Option<String>,
    /// SHA-256 of its DER, hex.
    #[schema(min_length = 64, max_length = 64)]
    pub fingerprint: String,
    /// When it began; null for one that an older hub issued.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// Whole days until then; negative after it.
    #[schema(example = 29)]
    pub days_left: i64,
    /// How it stands.
    pub status: Status,
    /// When it was withdrawn.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// Its node, where it is a node's.
    #[schema(example = "edge-node-001")]
    pub node_name: Option<String>,
    /// Its device, where it is a node's.
    #[schema(example = "edge-device-001")]
    pub device_id: Option<String>,
    /// Whether the hub shows it now, or the device's session came with it.
    pub in_use: bool,
    /// The certificate itself, where it is the CA's: clients are told to trust it.
    pub pem: Option<String>,
    #[serde(skip)]
    #[schema(ignore)]
    id: i64,
}

/// Which certificates a list names.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Rows at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
    /// Whose.
    kind: Option<Kind>,
    /// How they stand.
    status: Option<Status>,
    /// Of this node.
    #[param(value_type = Option<String>, min_length = 1, max_length = 100,
        pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")]
    node_name: Option<NodeName>,
}

/// What is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// All that the hub itself shows.
    Server,
    /// What it shows to agents.
    Link,
    /// What it shows to clients of the API.
    Https,
    /// A node's.
    Node(NodeName),
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    fingerprint: String,
    serial: Option<String>,
    node_name: String,
    device_id: String,
    not_before: Option<i64>,
    not_after: i64,
    revoked_at: Option<i64>,
}

/// The certificates.
pub struct Certificates {
    /// The database.
    pub db: Db,
    /// The authority.
    pub pki: Arc<Pki>,
    /// The API's certificate, where it has a TLS listener.
    pub https: Option<Arc<Https>>,
    /// Who renews.
    pub devices: Arc<Devices>,
    /// Who is there to be asked.
    pub registry: Arc<Registry>,
    /// When a certificate counts as expiring.
    pub settings: Arc<Settings>,
    /// Who hears of those that end.
    pub bus: Arc<Bus>,
}

/// `$1` now, `$2` when expiring begins, `$3` a status, `$4` a node.
const MATCHES: &str = "($3 IS NULL OR $3 = CASE WHEN revoked_at IS NOT NULL THEN 'revoked' \
     WHEN not_after <= $1 THEN 'expired' WHEN not_after <= $2 THEN 'expiring' ELSE 'valid' END) \
     AND ($4 IS NULL OR node_name = $4)";

impl Certificates {
    /// One page of those that match, how many match in all, and the next page's cursor. The hub's
    /// own come first.
    ///
    /// # Errors
    /// API-001 for a bad page, or the database's.
    pub async fn list(&self, filter: &Filter) -> Result<(i64, Vec<Certificate>, Option<i64>)> {
        let page = crate::api::Page { limit: filter.limit, cursor: filter.cursor };
        let limit = page.limit()?;
        let cursor = filter.cursor.unwrap_or(i64::MIN);
        let own = self.own()?.into_iter().filter(|c| {
            filter.node_name.is_none()
                && filter.kind.is_none_or(|kind| kind == c.kind)
                && filter.status.is_none_or(|status| status == c.status)
        });
        let own: Vec<_> = own.collect();
        let mut count = i64::try_from(own.len()).unwrap_or(i64::MAX);
        let mut found: Vec<_> = own.into_iter().filter(|c| c.id > cursor).take(limit).collect();
        if filter.kind.is_none_or(|kind| kind == Kind::Node) {
            let now = Timestamp::now();
            let matching = |sql: db::Sql| {
                sql.bind(now.micros())
                    .bind(self.soon(now).micros())
                    .bind(filter.status.map(Status::as_str))
                    .bind(filter.node_name.as_ref().map(NodeName::as_str))
            };
            let counted = db::joined(&["SELECT count(*) FROM certificates WHERE ", MATCHES]);
            count += matching(counted).value::<i64>(&self.db).await?;
            let rest = i64::try_from(limit - found.len()).unwrap_or(i64::MAX);
            let page = db::joined(&[
                "SELECT id, fingerprint, serial, node_name, device_id, not_before, not_after, \
                 revoked_at FROM certificates WHERE ",
                MATCHES,
                " AND id > $5 ORDER BY id LIMIT $6",
            ]);
            let rows: Vec<Row> =
                matching(page).bind(cursor.max(0)).bind(rest).all(&self.db).await?;
            let used = self.in_use();
            found.extend(rows.into_iter().map(|row| self.node(row, &used)));
        }
        let next = (found.len() == limit).then(|| found.last().map(|c| c.id)).flatten();
        Ok((count, found, next))
    }

    /// Renews, live; the new certificates.
    ///
    /// # Errors
    /// API-001 where there is no such certificate, API-004 for an unknown node, API-008 for one
    /// that is away or does not renew, API-009 for files that are no better than before.
    pub async fn renew(&self, target: Target) -> Result<Vec<Certificate>> {
        let kinds: &[Kind] = match &target {
            Target::Server if self.https.is_some() => &[Kind::Link, Kind::Https],
            Target::Server | Target::Link => &[Kind::Link],
            Target::Https => &[Kind::Https],
            Target::Node(node) => return Ok(vec![self.renew_node(node).await?]),
        };
        if kinds.contains(&Kind::Https) {
            let https = self.https.clone().ok_or_else(|| {
                Error::invalid("the API has no TLS listener: the setting https opens one")
            })?;
            tokio::task::spawn_blocking(move || https.renew()).await.map_err(Error::internal)??;
        }
        if kinds.contains(&Kind::Link) {
            self.pki.renew_link_certificate()?;
        }
        tracing::info!(?kinds, "certificates were renewed");
        Ok(self.own()?.into_iter().filter(|c| kinds.contains(&c.kind)).collect())
    }

    async fn renew_node(&self, node: &NodeName) -> Result<Certificate> {
        let device = self.devices.of_node(node).await?;
        let device = device.ok_or_else(|| Error::not_found("node", node))?;
        let unreachable = |why: &str| Error::new(Code::Unreachable, format!("node '{node}' {why}"));
        let session = self.registry.get(&device).ok_or_else(|| unreachable("is away"))?;
        if !session.capabilities.iter().any(|can| can == RENEW_NOW) {
            return Err(unreachable(
                "has an older agent that can't be asked: it renews at two thirds of the \
                 certificate's life",
            ));
        }
        let mut renewals = self.devices.renewals();
        session.send(Frame::RenewNow(RenewNow {})).map_err(|_| unreachable("is away"))?;
        let fingerprint = timeout(RENEWAL, async {
            loop {
                match renewals.recv().await {
                    Ok((renewed, fingerprint)) if renewed == device => return Some(fingerprint),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        let fingerprint = fingerprint.await.ok().flatten();
        let fingerprint = fingerprint.ok_or_else(|| unreachable("did not renew in time"))?;
        let row: Option<Row> = db::sql(
            "SELECT id, fingerprint, serial, node_name, device_id, not_before, not_after, \
             revoked_at FROM certificates WHERE fingerprint = $1",
        )
        .bind(fingerprint)
        .optional(&self.db)
        .await?;
        let row = row.ok_or_else(|| unreachable("was removed meanwhile"))?;
        Ok(self.node(row, &self.in_use()))
    }

    /// Forgets certificates that ended before `before`.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget(&self, before: Timestamp) -> Result<u64> {
        let mut tx = self.db.write().await?;
        let gone = db::sql("DELETE FROM certificates WHERE not_after < $1")
            .bind(before.micros())
            .run(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(gone)
    }

    /// From when on a certificate is expiring that ends at a time.
    fn soon(&self, now: Timestamp) -> Timestamp {
        let days = u64::from(self.settings.live().alerts.certificate_days);
        now.plus(Duration::from_secs(days * 86_400))
    }

    fn status(&self, not_after: Timestamp, revoked: bool) -> Status {
        let now = Timestamp::now();
        match not_after {
            _ if revoked => Status::Revoked,
            end if end <= now => Status::Expired,
            end if end <= self.soon(now) => Status::Expiring,
            _ => Status::Valid,
        }
    }

    /// What the hub shows; below every id of the table.
    fn own(&self) -> Result<Vec<Certificate>> {
        let of = |id, kind, facts: Facts, pem: Option<String>| Certificate {
            kind,
            subject: facts.subject,
            issuer: facts.issuer,
            serial: Some(facts.serial),
            fingerprint: facts.fingerprint,
            not_before: Some(facts.not_before),
            not_after: facts.not_after,
            days_left: days_left(facts.not_after),
            status: self.status(facts.not_after, false),
            revoked_at: None,
            node_name: None,
            device_id: None,
            in_use: true,
            pem,
            id,
        };
        let ca = of(-3, Kind::Ca, Facts::of(self.pki.ca())?, Some(self.pki.ca_pem().to_owned()));
        let link = of(-2, Kind::Link, self.pki.link_facts()?, None);
        let https = self.https.as_ref().map(|https| https.facts()).transpose()?;
        let https = https.map(|facts| of(-1, Kind::Https, facts, None));
        Ok([ca, link].into_iter().chain(https).collect())
    }

    /// The certificates that sessions came with, by device.
    fn in_use(&self) -> HashMap<DeviceId, String> {
        let sessions = self.registry.all();
        sessions.iter().map(|s| (s.device_id.clone(), s.fingerprint.clone())).collect()
    }

    fn node(&self, row: Row, used: &HashMap<DeviceId, String>) -> Certificate {
        let not_after = Timestamp::from_micros(row.not_after);
        let in_use = row
            .device_id
            .parse::<DeviceId>()
            .is_ok_and(|device| used.get(&device) == Some(&row.fingerprint));
        Certificate {
            kind: Kind::Node,
            subject: format!("CN={}", row.node_name),
            issuer: self.pki.ca_subject().to_owned(),
            serial: row.serial,
            fingerprint: row.fingerprint,
            not_before: row.not_before.map(Timestamp::from_micros),
            not_after,
            days_left: days_left(not_after),
            status: self.status(not_after, row.revoked_at.is_some()),
            revoked_at: row.revoked_at.map(Timestamp::from_micros),
            node_name: Some(row.node_name),
            device_id: Some(row.device_id),
            in_use,
            pem: None,
            id: row.id,
        }
    }
}

fn days_left(end: Timestamp) -> i64 {
    end.seconds().saturating_sub(Timestamp::now().seconds()).div_euclid(86_400)
}
