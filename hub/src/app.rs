//! The only wiring: builds the services, binds the listeners, owns the tasks.

use std::{
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    sync::Arc,
    time::Duration,
};

use cloudcore_protocol::{ALPN_JOIN, ALPN_LINK, Timestamp};
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    alerts,
    apps::{self, Apps},
    auth::{self, Audit, Auth, Role},
    backup::{self, Backups},
    blobs::{self, Blobs},
    certificates::{self, Certificates},
    cloudcore::{self, CloudCore, Port},
    commands::{self, Commands},
    config::{self, Config, HttpsConfig},
    configuration::{self, Configurations},
    db::Db,
    detections::Detections,
    devices::{self, Devices},
    diagnostics::{self, Diagnostics},
    error::{Code, Error, Result},
    health, http, inbox,
    keys::{self, Keys},
    link::{Link, Registry},
    live::{self, Bus, Watching},
    maintenance::{self, Maintenance},
    metrics::{self, Metrics},
    models::{self, Models},
    mqtt::{self, Mqtt},
    objects::Objects,
    overview::{self, Overview},
    pki::{Https, HttpsSource, Pki},
    releases::{self, Releases},
    settings::{self, Settings},
    tokens::{self, Tokens},
    traffic::Traffic,
    webhooks::{self, Webhooks},
};

/// A hub that runs.
pub struct Hub {
    /// Where the API listens.
    pub http: SocketAddr,
    /// Where the API listens for TLS, if it does.
    pub https: Option<SocketAddr>,
    /// Where agents join and link.
    pub quic: SocketAddr,
    /// Where MQTT clients connect, if to this hub.
    pub mqtt: Option<SocketAddr>,
    /// Where they connect by TLS, if they can.
    pub mqtts: Option<SocketAddr>,
    /// The OpenAPI document of what it serves.
    pub openapi: serde_json::Value,
    /// The admin's password, when one was made: to be shown once.
    pub admin_password: Option<SecretString>,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
    /// Outlives the rest, so that what was read of the last sessions is committed.
    writer_shutdown: CancellationToken,
    writer: JoinSet<()>,
    reload: Arc<Notify>,
    db: Db,
    /// Held until the end: no other program may have this data directory.
    _lock: std::fs::File,
}

/// The database's file, inside the data directory.
const DATABASE: &str = "hub.db";

/// How often old rows and files are removed, and the hub's certificate is looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

impl Hub {
    /// Opens the data directory, binds everything, and serves.
    ///
    /// # Errors
    /// With a message for the operator: what can't be opened or bound, and why.
    pub async fn start(config: Config) -> Result<Self> {
        let started_at = Timestamp::now();
        prepare(&config.data_dir)?;
        let lock = lock(&config.data_dir)?;
        let db = open_db(&config.data_dir, config.database.clone()).await?;
        backup::settle(&config.data_dir, &db).await?;
        backup::tidy(&config.data_dir).await;
        let keys = Arc::new(Keys::load(&config.data_dir)?);
        let pki = Arc::new(Pki::load(&config.data_dir, config.node_certificate_life)?);
        let auth = Arc::new(Auth::new(db.clone(), Arc::clone(&keys)));
        let admin_password = auth.ensure_admin(config.admin_password.as_ref()).await?;

        let settings = Arc::new(
            Settings::load(
                db.clone(),
                settings::Live {
                    max_devices: config.max_devices,
                    rate_limit: config.rate_limit,
                    ..settings::Live::default()
                },
            )
            .await?,
        );
        let objects = Arc::new(Objects::open(config.object_store.as_ref(), &config.data_dir)?);
        let (listener, http_address) = bind(config.http).await?;
        let registry = Arc::new(Registry::default());
        let link =
            Link::bind(config.quic, pki.tls(&[ALPN_JOIN, ALPN_LINK])?, Arc::clone(&registry))?;
        let quic_address = link.address()?;
        let advertised =
            config.advertise.clone().unwrap_or_else(|| advertised(quic_address).to_string());

        let certificate = match https_source(&config, &advertised) {
            Some(source) => Some(Arc::new(Https::open(Arc::clone(&pki), source)?)),
            None => None,
        };
        let secure = match config.https.as_ref().zip(certificate.clone()) {
            Some((https, certificate)) => Some((bind(https.address).await?, certificate)),
            None => None,
        };
        let https_address = secure.as_ref().map(|((_, address), _)| *address);

        let configurations = Configurations::new(
            Arc::clone(&settings),
            configuration::Fixed {
                advertised: advertised.clone(),
                quic: quic_address.port(),
                http: http_address.port(),
                https: https_address.map(|address| address.port()),
                retention_days: config.retention.as_secs() / 86_400,
            },
        );
        let bus = Arc::new(Bus::default());
        let blobs = Arc::new(Blobs::new(db.clone(), Arc::clone(&keys), Arc::clone(&objects)));
        let models = Models::open(
            db.clone(),
            Arc::clone(&objects),
            config.data_dir.join("uploads"),
            config.max_model_bytes,
        );
        let models = Arc::new(models.await?);
        let tokens = Arc::new(Tokens::new(
            db.clone(),
            Arc::clone(&keys),
            Arc::clone(&pki),
            advertised.clone(),
            Arc::clone(&settings),
        ));
        let devices = Arc::new(Devices::new(
            db.clone(),
            Arc::clone(&tokens),
            Arc::clone(&pki),
            Arc::clone(&registry),
            Arc::clone(&bus),
            Arc::clone(&settings),
        ));
        devices.load().await?;
        let detections = Arc::new(Detections::new(db.clone()));
        let certificates = Arc::new(Certificates {
            db: db.clone(),
            pki: Arc::clone(&pki),
            https: certificate.clone(),
            devices: Arc::clone(&devices),
            registry: Arc::clone(&registry),
            settings: Arc::clone(&settings),
            bus: Arc::clone(&bus),
        });
        let commands = Arc::new(Commands::new(
            db.clone(),
            Arc::clone(&devices),
            Arc::clone(&registry),
            Arc::clone(&blobs),
            Arc::clone(&bus),
            Arc::clone(&settings),
            config.public_url.as_ref(),
        ));
        let apps = Arc::new(Apps::new(
            db.clone(),
            Arc::clone(&devices),
            Arc::clone(&commands),
            Arc::clone(&settings),
        ));
        let overview = Arc::new(Overview {
            devices: Arc::clone(&devices),
            detections: Arc::clone(&detections),
            apps: Arc::clone(&apps),
        });
        let diagnostics = Arc::new(Diagnostics::new(db.clone(), Arc::clone(&commands)));
        let releases = Arc::new(Releases::new(config.downloads.clone(), advertised.clone()));
        let files = inbox::Files {
            blobs: Arc::clone(&blobs),
            models: Arc::clone(&models),
            releases: Arc::clone(&releases),
        };
        let (inbox, inbox_writer) = inbox::open(&db, &devices, &commands, files, &bus, &settings);

        let shutdown = CancellationToken::new();
        let watching =
            Arc::new(Watching::new(Arc::clone(&bus), Arc::clone(&auth), shutdown.clone()));
        let webhooks = Arc::new(
            Webhooks::open(
                db.clone(),
                Arc::clone(&keys),
                Arc::clone(&bus),
                config.webhook_allow_private,
            )
            .await?,
        );
        let (audit, audit_writer) = Audit::open(&db);
        let traffic = Traffic::default();
        let answers = Arc::new(http::Answers::new(db.clone(), Arc::clone(&keys)));
        let front = Arc::new(http::Front::new(
            Arc::clone(&auth),
            audit.clone(),
            Arc::clone(&settings),
            Arc::clone(&answers),
            (config.public_url.clone(), config.public_monitoring),
            https_address,
            traffic.clone(),
        ));
        let backups = Arc::new(Backups {
            db: db.clone(),
            keys: Arc::clone(&keys),
            objects: Arc::clone(&objects),
            data_dir: config.data_dir.clone(),
            restored: restored(&settings, &devices, &webhooks),
            turn: tokio::sync::Mutex::default(),
        });
        let mqtt = Mqtt::open(
            mqtt::Parts {
                db: db.clone(),
                auth: Arc::clone(&auth),
                audit: audit.clone(),
                settings: Arc::clone(&settings),
                devices: Arc::clone(&devices),
                commands: Arc::clone(&commands),
                registry: Arc::clone(&registry),
                bus: Arc::clone(&bus),
                public_monitoring: config.public_monitoring,
                traffic: traffic.clone(),
            },
            mqtt_choice(&config, certificate.as_deref(), &advertised)?,
            shutdown.clone(),
        )
        .await?;
        let mqtt_addresses = (mqtt.address, mqtt.tls_address);
        let cloudcore = CloudCore {
            settings: Arc::clone(&settings),
            started_at,
            ports: ports(
                quic_address,
                [
                    ("http", Some(http_address)),
                    ("https", https_address),
                    ("mqtt", mqtt.address),
                    ("mqtts", mqtt.tls_address),
                ],
            ),
        };
        let metrics = Arc::new(Metrics {
            db: db.clone(),
            devices: Arc::clone(&devices),
            registry,
            detections: Arc::clone(&detections),
            blobs: Arc::clone(&blobs),
            objects,
            traffic: traffic.clone(),
            watching: Arc::clone(&watching),
            settings: Arc::clone(&settings),
            started_at,
        });
        let (router, openapi) = http::router(
            front,
            [
                health::routes(db.clone(), Arc::clone(&settings)),
                auth::routes(auth, audit),
                tokens::routes(tokens),
                releases::routes(releases),
                certificates::routes(Arc::clone(&certificates)),
                backup::routes(backups),
                devices::routes(Arc::clone(&devices)),
                overview::routes(overview),
                apps::routes(Arc::clone(&apps)),
                commands::routes(Arc::clone(&commands)),
                diagnostics::routes(Arc::clone(&diagnostics)),
                mqtt::routes(Arc::clone(&mqtt)),
                blobs::routes(Arc::clone(&blobs)),
                models::routes(Arc::clone(&models), Arc::clone(&settings)),
                live::routes(Arc::clone(&watching)),
                webhooks::routes(Arc::clone(&webhooks)),
                metrics::routes(metrics),
                alerts::routes(db.clone()),
                configuration::routes(Arc::new(configurations)),
                cloudcore::routes(Arc::new(cloudcore)),
                maintenance::routes(Arc::new(Maintenance::new(Arc::clone(&settings)))),
            ],
        );

        let writer_shutdown = CancellationToken::new();
        let mut writer = JoinSet::new();
        writer.spawn(inbox_writer.run(writer_shutdown.clone()));
        writer.spawn(audit_writer.run(writer_shutdown.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&webhooks).run(shutdown.clone()));
        tasks.spawn(link.serve(Arc::new(inbox), shutdown.clone()));
        tasks.spawn({
            let (devices, shutdown) = (Arc::clone(&devices), shutdown.clone());
            async move { devices.watch_presence(shutdown).await }
        });
        tasks.spawn({
            let (commands, shutdown) = (Arc::clone(&commands), shutdown.clone());
            async move { commands.watch_deadlines(shutdown).await }
        });
        tasks.spawn({
            let (certificates, shutdown) = (Arc::clone(&certificates), shutdown.clone());
            async move { certificates.watch_ends(shutdown).await }
        });
        tasks.spawn(async move { Box::pin(mqtt.run()).await });
        tasks.spawn(async move { watching.ended().await });
        tasks.spawn(keep_house(
            config.retention,
            Kept {
                db: db.clone(),
                devices,
                detections,
                apps,
                diagnostics,
                commands,
                blobs,
                models,
                certificates,
                answers,
                webhooks,
                pki,
                certificate,
            },
            shutdown.clone(),
        ));
        let reload = Arc::new(Notify::new());
        let server = http::Server::new(router, shutdown.clone());
        if let Some(((listener, _), certificate)) = secure {
            let acceptor = TlsAcceptor::from(Arc::new(certificate.tls()?));
            tasks.spawn(server.clone().listen(listener, Some(acceptor)));
            tasks.spawn(watch_certificate(certificate, Arc::clone(&reload), shutdown.clone()));
        }
        tasks.spawn(server.listen(listener, None));
        Ok(Self {
            http: http_address,
            https: https_address,
            quic: quic_address,
            mqtt: mqtt_addresses.0,
            mqtts: mqtt_addresses.1,
            openapi,
            admin_password,
            tasks,
            shutdown,
            writer_shutdown,
            writer,
            reload,
            db,
            _lock: lock,
        })
    }

    /// Returns when a part of the hub has ended by itself, which none should.
    pub async fn failed(&mut self) {
        tokio::select! {
            Some(_) = self.tasks.join_next() => {}
            Some(_) = self.writer.join_next() => {}
        }
    }

    /// Reads the certificate's files again, where there are any; what is bad is logged and not
    /// used.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Takes no more work, lets what has begun end, says goodbye to agents and closes the
    /// database.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.writer_shutdown.cancel();
        while self.writer.join_next().await.is_some() {}
        self.db.close().await;
    }
}

/// Makes a user in the database of this data directory.
///
/// # Errors
/// API-001 for a bad name or password, API-005 when the name is taken, or the database's.
pub async fn create_user(
    place: Place<'_>,
    username: &str,
    password: &str,
    role: Role,
) -> Result<()> {
    open_auth(place).await?.create_user(username, password, role).await.map(|_| ())
}

/// Gives a user another password.
///
/// # Errors
/// API-001 for a bad password, API-004 for an unknown user, or the database's.
pub async fn set_password(place: Place<'_>, username: &str, password: &str) -> Result<()> {
    open_auth(place).await?.set_password(username, password).await
}

/// Where a hub's state lives: what commands beside `serve` are told.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The data directory.
    pub data_dir: &'a std::path::Path,
    /// The database, where it is not in the data directory.
    pub database: Option<PgConnectOptions>,
}

/// Writes a backup of a hub, which may be running, into a file.
///
/// # Errors
/// With a message for the operator.
pub async fn write_backup(
    place: Place<'_>,
    order: backup::Order,
    output: &std::path::Path,
) -> Result<()> {
    if !place.data_dir.join(keys::MASTER).exists() {
        return Err(Error::invalid(format!("there is no hub in {}", place.data_dir.display())));
    }
    let db = open_db(place.data_dir, place.database).await?;
    let written = backup::to_file(&db, place.data_dir, order, output).await;
    db.close().await;
    written
}

/// Restores a hub, which must not be running, from a file: what was in it, and how many rows.
///
/// # Errors
/// With a message for the operator; nothing has changed then.
pub async fn restore_backup(
    place: Place<'_>,
    input: &std::path::Path,
    passphrase: Option<SecretString>,
) -> Result<(Vec<backup::Include>, u64)> {
    prepare(place.data_dir)?;
    let _lock = lock(place.data_dir)?;
    let db = open_db(place.data_dir, place.database).await?;
    let restored = backup::from_file(&db, place.data_dir, input, passphrase).await;
    db.close().await;
    restored
}

/// Takes the data directory for this program alone; the system gives it back when it ends.
fn lock(data_dir: &std::path::Path) -> Result<std::fs::File> {
    let path = data_dir.join("hub.lock");
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(&path);
    let file = file.map_err(|e| unusable(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::new(
            Code::Unavailable,
            format!("another hub runs with {}: stop it first", data_dir.display()),
        )),
        Err(std::fs::TryLockError::Error(e)) => Err(unusable(&path, e)),
    }
}

/// What the rooms do when a backup was restored under them.
fn restored(
    settings: &Arc<Settings>,
    devices: &Arc<Devices>,
    webhooks: &Arc<Webhooks>,
) -> backup::Restored {
    let rooms = (Arc::clone(settings), Arc::clone(devices), Arc::clone(webhooks));
    Box::new(move |_| {
        let (settings, devices, webhooks) = rooms.clone();
        Box::pin(async move {
            settings.reload().await?;
            webhooks.reload().await?;
            devices.restored().await
        })
    })
}

async fn open_auth(place: Place<'_>) -> Result<Auth> {
    prepare(place.data_dir)?;
    let db = open_db(place.data_dir, place.database).await?;
    Ok(Auth::new(db, Arc::new(Keys::load(place.data_dir)?)))
}

async fn open_db(data_dir: &std::path::Path, database: Option<PgConnectOptions>) -> Result<Db> {
    match database {
        Some(options) => Db::connect(options).await,
        None => {
            let path = data_dir.join(DATABASE);
            // SQLite gives its journals the database's mode.
            let make = || {
                std::fs::OpenOptions::new().append(true).create(true).open(&path)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            };
            make().map_err(|e| unusable(&path, e))?;
            Db::open(&path).await
        }
    }
}

fn unusable(path: &std::path::Path, error: std::io::Error) -> Error {
    let message = format!("can't use {}", path.display());
    Error { cause: Some(error.into()), ..Error::new(Code::Unavailable, message) }
}

/// Makes the data directory, for its owner only.
fn prepare(data_dir: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(data_dir)
        .and_then(|()| std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700)))
        .map_err(|e| unusable(data_dir, e))
}

/// What listens, by the contract's names where it has one.
fn ports(quic: SocketAddr, tcp: [(&'static str, Option<SocketAddr>); 4]) -> Vec<Port> {
    let open = tcp.into_iter().filter_map(|(name, address)| {
        address.map(|address| Port::new(name, address.port(), "TCP"))
    });
    std::iter::once(Port::new("cloudhub", quic.port(), "UDP")).chain(open).collect()
}

/// What nodes can connect to where the hub listens on every address: the address that the
/// machine would use to reach others, without sending anything.
fn advertised(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let outward = || -> std::io::Result<SocketAddr> {
        let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
        // TEST-NET-1 (RFC 5737): connecting a UDP socket only asks the routing table.
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    };
    let ip = outward().map_or(std::net::Ipv4Addr::LOCALHOST.into(), |address| address.ip());
    SocketAddr::new(ip, bound.port())
}

/// Which MQTT broker, and what its clients know it by.
fn mqtt_choice<'a>(
    config: &'a Config,
    certificate: Option<&Https>,
    advertised: &str,
) -> Result<mqtt::Choice<'a>> {
    Ok(match &config.mqtt {
        config::Mqtt::External(place, silence) => {
            let (place, silence) = (place.clone(), *silence);
            mqtt::Choice::External { place, silence, data_dir: &config.data_dir }
        }
        config::Mqtt::Own(plain, tls) => {
            let named = config.advertise.is_some() || plain.ip().is_unspecified();
            let host = advertised.rsplit_once(':').map(|(host, _)| host.to_owned());
            let tls = match tls.zip(certificate) {
                Some((address, certificate)) => {
                    let mut tls = certificate.tls()?;
                    tls.alpn_protocols = vec![b"mqtt".to_vec()];
                    Some((address, Arc::new(tls)))
                }
                None => None,
            };
            mqtt::Choice::Own { plain: *plain, tls, host: host.filter(|_| named) }
        }
    })
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.map_err(|e| Error {
        cause: Some(e.into()),
        ..Error::new(Code::Unavailable, format!("can't listen on {address}/tcp"))
    })?;
    let bound = listener.local_addr().map_err(Error::internal)?;
    Ok((listener, bound))
}

/// Where the certificate of the TLS listeners for the API and MQTT comes from, and for an own one
/// all names by which clients may know this hub. `None` where neither is served by TLS.
fn https_source(config: &Config, advertised: &str) -> Option<HttpsSource> {
    let mqtts = matches!(config.mqtt, config::Mqtt::Own(_, Some(_)));
    let mut names = match &config.https {
        Some(HttpsConfig { files: Some((certificate, key)), .. }) => {
            let (certificate, key) = (certificate.clone(), key.clone());
            return Some(HttpsSource::Files { certificate, key });
        }
        Some(https) => https.names.clone(),
        None if mqtts => Vec::new(),
        None => return None,
    };
    names.extend(config.public_url.as_ref().and_then(|url| Some(url.host_str()?.to_owned())));
    names.extend(advertised.rsplit_once(':').map(|(host, _)| host.to_owned()));
    names.extend(nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()));
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let mut seen = std::collections::HashSet::new();
    for name in &mut names {
        // As in URLs, an IPv6 address may be in brackets.
        *name = name.trim_matches(['[', ']']).to_owned();
    }
    names.retain(|name| config::is_host_name(name) && seen.insert(name.clone()));
    Some(HttpsSource::Own(names))
}

/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(60);

async fn watch_certificate(
    certificate: Arc<Https>,
    reload: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
            () = reload.notified() => {}
        }
        let certificate = Arc::clone(&certificate);
        let looked = tokio::task::spawn_blocking(move || certificate.look()).await;
        match looked.map_err(Error::internal).flatten() {
            Ok(true) => tracing::info!("the API's new certificate is served"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(?error, "the API's new certificate is bad; the old one goes on");
            }
        }
    }
}

/// What has to be tidied up.
struct Kept {
    db: Db,
    devices: Arc<Devices>,
    detections: Arc<Detections>,
    apps: Arc<Apps>,
    diagnostics: Arc<Diagnostics>,
    commands: Arc<Commands>,
    blobs: Arc<Blobs>,
    models: Arc<Models>,
    certificates: Arc<Certificates>,
    answers: Arc<http::Answers>,
    webhooks: Arc<Webhooks>,
    pki: Arc<Pki>,
    certificate: Option<Arc<Https>>,
}

async fn keep_house(retention: Duration, kept: Kept, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    let mut ticks = 0_u64;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = Timestamp::now().micros();
        let before =
            i64::try_from(retention.as_micros()).map_or(0, |kept| now.saturating_sub(kept));
        let before = Timestamp::from_micros(before);
        let done = async {
            kept.devices.forget_heartbeats(before).await?;
            kept.detections.forget(before).await?;
            kept.apps.settle().await?;
            kept.diagnostics.forget(before).await?;
            kept.commands.forget(before).await?;
            kept.certificates.forget(before).await?;
            alerts::forget(&kept.db, before).await?;
            kept.answers.forget().await?;
            kept.webhooks.forget(before).await?;
            kept.models.tidy().await?;
            while kept.blobs.remove_older(before).await? > 0 && !shutdown.is_cancelled() {}
            Ok::<_, Error>(())
        };
        if let Err(error) = done.await {
            tracing::error!(?error, "old data can't be removed");
        }
        // The hub's certificates live 90 days; new ones each day cost nothing. Files are somebody
        // else's to renew.
        if ticks > 0 && ticks.is_multiple_of(24) {
            let own = kept.certificate.as_ref().filter(|certificate| certificate.is_own());
            let renewed = kept.pki.renew_link_certificate();
            if let Err(error) = renewed.and_then(|()| own.map_or(Ok(()), |own| own.renew())) {
                tracing::error!(?error, "the hub's certificates can't be renewed");
            }
        }
        ticks += 1;
    }
}
