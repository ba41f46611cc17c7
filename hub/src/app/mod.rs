//! The only wiring: builds the services, binds the listeners, owns the tasks.

mod house;
mod listen;
mod place;

use std::{net::SocketAddr, sync::Arc};

use cloudcore_protocol::{ALPN_JOIN, ALPN_LINK, Timestamp};
use secrecy::SecretString;
use tokio::{sync::Notify, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    alerts,
    apps::{self, Apps},
    auth::{self, Audit, Auth},
    backup::{self, Backups},
    blobs::{self, Blobs},
    certificates::{self, Certificates},
    cloudcore::{self, CloudCore},
    cluster::{Cluster, Standing},
    commands::{self, Commands},
    config::Config,
    configuration::{self, Configurations},
    dashboard,
    db::Db,
    detections::{self, Detections},
    devices::{self, Devices},
    diagnostics::{self, Diagnostics},
    error::Result,
    health, http, inbox,
    keys::Keys,
    link::{Link, Registry},
    live::{self, Bus, Watching},
    logs::{self, Logs},
    maintenance::{self, Maintenance},
    metrics::{self, Metrics},
    models::{self, Models},
    mqtt::{self, Mqtt},
    objects::Objects,
    overview::{self, Overview},
    pki::{Https, Pki},
    releases::{self, Releases},
    settings::{self, Settings},
    tokens::{self, Tokens},
    traffic::Traffic,
    webhooks::{self, Webhooks},
};

pub use place::{Place, create_user, restore_backup, set_password, write_backup};

use house::{Kept, keep_house, watch_certificate};
use listen::{advertised, bind, host_of, https_source, mqtt_choice, ports};
use place::{lock, open_db, prepare};

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
        place::seal_secrets(&db, &keys).await?;
        let cluster = Arc::new(Cluster::open(config.kubernetes.clone()).await?);
        let pki = Arc::new(Pki::load(&config.data_dir, config.node_certificate_life)?);
        let auth = Auth::new(db.clone(), Arc::clone(&keys)).with_cluster(Arc::clone(&cluster));
        let auth = Arc::new(auth);
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
            Arc::clone(&cluster),
            configuration::Fixed {
                advertised: advertised.clone(),
                quic: quic_address.port(),
                http: http_address.port(),
                https: https_address.map(|address| address.port()),
                retention_days: config.retention.as_secs() / 86_400,
            },
        );
        let bus = Arc::new(Bus::default());
        let blobs = Arc::new(Blobs::new(
            db.clone(),
            Arc::clone(&keys),
            Arc::clone(&objects),
            config.public_url.as_ref(),
        ));
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
            Arc::clone(&cluster),
        ));
        devices.load().await?;
        let detections = Arc::new(Detections::new(db.clone(), Arc::clone(&blobs)));
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
            Arc::clone(&keys),
            Arc::clone(&devices),
            Arc::clone(&registry),
            Arc::clone(&blobs),
            Arc::clone(&bus),
            Arc::clone(&settings),
        ));
        let apps = Arc::new(Apps::new(
            db.clone(),
            Arc::clone(&keys),
            Arc::clone(&devices),
            Arc::clone(&commands),
            Arc::clone(&settings),
            Arc::clone(&cluster),
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
            restored: restored((&db, &keys), &settings, &devices, &webhooks, &apps),
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
            cluster: Arc::clone(&cluster),
            host: host_of(&advertised),
        };
        let logs = Logs {
            devices: Arc::clone(&devices),
            registry: Arc::clone(&registry),
            watching: Arc::clone(&watching),
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
            cluster: Arc::clone(&cluster),
            started_at,
        });
        let (router, openapi) = http::router(
            front,
            [
                health::routes(db.clone(), Arc::clone(&settings), Arc::clone(&cluster)),
                auth::routes(auth, audit),
                tokens::routes(tokens),
                releases::routes(releases),
                dashboard::routes(),
                certificates::routes(Arc::clone(&certificates)),
                backup::routes(backups),
                devices::routes(Arc::clone(&devices)),
                overview::routes(overview),
                apps::routes(Arc::clone(&apps)),
                commands::routes(Arc::clone(&commands)),
                diagnostics::routes(Arc::clone(&diagnostics)),
                mqtt::routes(Arc::clone(&mqtt)),
                blobs::routes(Arc::clone(&blobs)),
                detections::routes(Arc::clone(&detections)),
                logs::routes(Arc::new(logs)),
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
        if cluster.standing() != Standing::NotConfigured {
            tasks.spawn(Arc::clone(&cluster).run(shutdown.clone()));
            let (apps, stop) = (Arc::clone(&apps), shutdown.clone());
            tasks.spawn(async move { apps.keep(stop).await });
            let (devices, stop) = (Arc::clone(&devices), shutdown.clone());
            tasks.spawn(async move { devices.keep_in_cluster(stop).await });
        }
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
                settings,
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

/// What the rooms do when a backup was restored under them.
fn restored(
    (db, keys): (&Db, &Arc<Keys>),
    settings: &Arc<Settings>,
    devices: &Arc<Devices>,
    webhooks: &Arc<Webhooks>,
    apps: &Arc<Apps>,
) -> backup::Restored {
    let rooms = (Arc::clone(settings), Arc::clone(devices), Arc::clone(webhooks));
    let apps = Arc::clone(apps);
    let store = (db.clone(), Arc::clone(keys));
    Box::new(move |_| {
        let (settings, devices, webhooks) = rooms.clone();
        let (db, keys) = store.clone();
        let apps = Arc::clone(&apps);
        Box::pin(async move {
            place::seal_secrets(&db, &keys).await?;
            settings.reload().await?;
            webhooks.reload().await?;
            apps.restored();
            devices.restored().await
        })
    })
}
