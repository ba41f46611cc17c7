//! How deliveries end, on a clock that a test can't wait for.

#![allow(clippy::unwrap_used, reason = "a test that is surprised has failed")]

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    api::Page,
    db,
    live::{Event, What},
};

struct Bench {
    db: Db,
    bus: Arc<Bus>,
    webhooks: Arc<Webhooks>,
    id: String,
    _dir: tempfile::TempDir,
}

/// A webhook whose server answers everything with `status`, and one event that it is owed.
async fn owed(status: &'static str) -> Bench {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("hub.db")).await.unwrap();
    let keys = Arc::new(Keys::load(dir.path()).unwrap());
    let bus = Arc::new(Bus::default());
    let webhooks =
        Arc::new(Webhooks::open(db.clone(), keys, Arc::clone(&bus), true).await.unwrap());
    let new = NewWebhook { url, events: HashSet::from([Kind::DeviceJoined]), secret: None };
    let id = webhooks.create(new).await.unwrap().0.webhook_id;
    let bench = Bench { db, bus, webhooks, id, _dir: dir };
    bench.happen("n").await;
    bench
}

impl Bench {
    async fn happen(&self, node: &str) {
        let event = Event { device_id: Some(node), node_name: Some(node), what: What::Joined };
        let mut tx = self.db.write().await.unwrap();
        self.bus.keep(&mut tx, [&event.news()]).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Runs until nothing is pending; status and attempts of the newest delivery.
    async fn ended(&self) -> (String, i64) {
        let shutdown = CancellationToken::new();
        let run = tokio::spawn(Arc::clone(&self.webhooks).run(shutdown.clone()));
        let ended = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let (_, all, _) =
                    store::deliveries(&self.db, &self.id, None, Page::default()).await.unwrap();
                if all.iter().all(|delivery| delivery.status != "pending") {
                    return (all[0].status.clone(), all[0].attempts);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let ended = ended.await.unwrap();
        shutdown.cancel();
        run.await.unwrap();
        ended
    }

    async fn count(&self) -> i64 {
        store::deliveries(&self.db, &self.id, None, Page::default()).await.unwrap().0
    }
}

#[tokio::test]
async fn the_tenth_attempt_is_the_last() {
    let bench = owed("500 Internal Server Error").await;
    let mut tx = bench.db.write().await.unwrap();
    db::sql("UPDATE webhook_deliveries SET attempts = 8").run(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    // The ninth is followed by a pause, which is cut short here.
    let shutdown = CancellationToken::new();
    let run = tokio::spawn(Arc::clone(&bench.webhooks).run(shutdown.clone()));
    let later = Timestamp::now().plus(Duration::from_secs(3600)).micros();
    loop {
        let next: Option<i64> = db::sql("SELECT next_attempt_at FROM webhook_deliveries")
            .value(&bench.db)
            .await
            .unwrap();
        if next.is_some_and(|next| next > later) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    run.await.unwrap();
    let mut tx = bench.db.write().await.unwrap();
    db::sql("UPDATE webhook_deliveries SET next_attempt_at = 0").run(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bench.ended().await, ("failed".to_owned(), 10));
}

#[tokio::test]
async fn a_server_that_is_gone_is_left_alone() {
    assert_eq!(owed("410 Gone").await.ended().await, ("failed".to_owned(), 1));
    assert_eq!(owed("204 No Content").await.ended().await, ("delivered".to_owned(), 1));
}

#[tokio::test]
async fn the_log_keeps_the_newest_and_what_is_owed() {
    let bench = owed("200 OK").await;
    bench.ended().await;
    for n in 0..4 {
        bench.happen(&format!("n{n}")).await;
    }
    bench.ended().await;
    bench.happen("late").await;
    let trim = async |newest| {
        let mut tx = bench.db.write().await.unwrap();
        store::trim(&mut tx, &bench.id, newest).await.unwrap();
        tx.commit().await.unwrap();
        bench.count().await
    };
    assert_eq!((trim(5).await, trim(2).await, trim(0).await), (6, 3, 1));
    bench.webhooks.forget(Timestamp::now()).await.unwrap();
    assert_eq!(bench.count().await, 1);
    // What a webhook is owed goes with it, and nothing comes after.
    bench.webhooks.remove(&bench.id).await.unwrap();
    bench.happen("too late").await;
    assert_eq!(bench.count().await, 0);
}
