//! Delivery: signed, with a timeout, a few at a time to each server, and again until it is done.

use std::{collections::HashMap, sync::Arc, time::Duration};

use cloudcore_protocol::Timestamp;
use ring::hmac;
use tokio::{
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Webhooks, address, context,
    store::{self, Delivery},
};
use crate::{
    error::{Error, Result},
    keys, live,
};

/// Requests to one server at once: a slow one holds up only itself.
const PER_WEBHOOK: usize = 4;
/// How long an attempt may take, with the waits for the database around it: one that is not
/// settled by then was its hub's last.
const LEASE: Duration = Duration::from_secs(25);
/// How long requests that are under way may still run when the hub stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Pauses before the second attempt and those after it; a day in all.
const PAUSES: [Duration; 9] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(4 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(10 * 3600),
];
/// Longest sleep: a clock that jumps must not make it last.
const LONGEST: Duration = Duration::from_secs(30);
/// How often the webhooks are read again: another hub of the same database may have made some.
const RELOAD: Duration = Duration::from_secs(10);

/// What a server is sent.
struct Payload {
    body: String,
    signature: String,
}

/// The contract's payload. The body's own signature is over the bytes of `data`; that of the
/// header is over the whole body, and is the one to check.
fn payload(secret: &[u8], event: &str, data: &str) -> Payload {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let sign =
        |text: &str| format!("sha256={}", keys::hex(hmac::sign(&key, text.as_bytes()).as_ref()));
    let inner = sign(data);
    let body = format!("{{\"event\":\"{event}\",\"data\":{data},\"signature\":\"{inner}\"}}");
    Payload { signature: sign(&body), body }
}

impl Webhooks {
    /// Delivers what is owed, until `shutdown`. What is cut off then is sent again by the next run.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tasks: JoinSet<String> = JoinSet::new();
        let mut under_way: HashMap<String, usize> = HashMap::new();
        let mut reload = interval(RELOAD);
        loop {
            let wait = match self.start(&mut tasks, &mut under_way).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(?error, "webhooks can't be delivered now");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.bus.outbox().woken() => {}
                () = sleep(wait) => {}
                Some(done) = tasks.join_next() => ended(done, &mut under_way),
                _ = reload.tick() => if let Err(error) = self.reload().await {
                    tracing::error!(?error, "the webhooks can't be read");
                }
            }
        }
        let drained = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tasks.shutdown().await;
        }
    }

    /// Starts what is due and says when to look again. Each webhook has its own few places, so that
    /// a server that is slow holds up no other.
    async fn start(
        self: &Arc<Self>,
        tasks: &mut JoinSet<String>,
        under_way: &mut HashMap<String, usize>,
    ) -> Result<Duration> {
        loop {
            let now = Timestamp::now();
            let (mut next, mut due) = (None, Vec::new());
            for (id, at) in store::next_due(&self.db).await? {
                let Some(at) = at.map(Timestamp::from_micros) else { continue };
                let room = PER_WEBHOOK.saturating_sub(under_way.get(&id).copied().unwrap_or(0));
                if at > now {
                    next = next.min(Some(at)).or(Some(at));
                } else if room > 0 {
                    due.push((id, room));
                }
            }
            if due.is_empty() {
                let wait = next.map_or(LONGEST, |next| next.since(now));
                return Ok(wait.clamp(Duration::from_millis(50), LONGEST));
            }
            let mut tx = self.db.write().await?;
            let mut claimed = Vec::new();
            for (id, room) in due {
                claimed.extend(store::claim(&mut tx, &id, room, LEASE).await?);
            }
            tx.commit().await?;
            for delivery in claimed {
                *under_way.entry(delivery.webhook_id.clone()).or_default() += 1;
                let webhooks = Arc::clone(self);
                tasks.spawn(async move {
                    webhooks.attempt(&delivery).await;
                    delivery.webhook_id
                });
            }
        }
    }

    async fn attempt(&self, delivery: &Delivery) {
        let answer = self.post(&delivery.webhook_id, delivery).await;
        let next = next_attempt(delivery.attempts, &answer);
        if !matches!(answer, Ok(200..=299)) {
            tracing::info!(webhook_id = %delivery.webhook_id, delivery_id = %delivery.delivery_id,
                attempts = delivery.attempts, ?answer, "a webhook was not delivered");
        }
        let settled = async {
            let mut tx = self.db.write().await?;
            store::settle(&mut tx, delivery, &answer, next.map(Timestamp::micros)).await?;
            tx.commit().await
        };
        if let Err(error) = settled.await {
            // Its lease ends, and it is sent again: at least once.
            tracing::error!(?error, delivery_id = %delivery.delivery_id, "can't be noted");
        }
    }

    /// Posts once: the status, or in words why there is none.
    async fn post(&self, webhook_id: &str, delivery: &Delivery) -> Result<u16, String> {
        let target =
            store::target(&self.db, webhook_id).await.map_err(|e| e.message.to_string())?;
        let Some((url, sealed)) = target else { return Err("the webhook was deleted".into()) };
        let secret = self.keys.seal.open(&context(webhook_id), &sealed);
        let secret = secret.map_err(|e| e.message.to_string())?;
        let url: url::Url = url.parse().map_err(|_| "the URL is none".to_owned())?;
        // An address in place of a name is not resolved: it is looked at here.
        if let Some(why) = address::refusal(&url, self.allow_private) {
            return Err(why.to_owned());
        }
        let payload = payload(&secret, &delivery.event, &delivery.data);
        let sent = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("x-cloudcore-event", &delivery.event)
            .header("x-cloudcore-delivery", &delivery.delivery_id)
            .header("x-cloudcore-timestamp", Timestamp::now().seconds())
            .header("x-cloudcore-signature", payload.signature)
            .body(payload.body)
            .send()
            .await;
        // The answer's body is nobody's business, and may be endless: it is not read.
        sent.map(|answer| answer.status().as_u16()).map_err(|error| reason(&error))
    }

    /// Posts a `test` event now, once, and notes it in the log: its id, and the status or in words
    /// why there is none.
    ///
    /// # Errors
    /// API-004.
    pub async fn test(&self, id: &str) -> Result<(String, Result<u16, String>)> {
        if store::target(&self.db, id).await?.is_none() {
            return Err(Error::not_found("webhook", id));
        }
        let (now, delivery_id) = (Timestamp::now(), live::delivery_id()?);
        let data = serde_json::json!({
            "message": "a test of this webhook",
            "timestamp": now,
            "delivery_id": delivery_id,
        });
        let delivery = Delivery {
            id: 0,
            delivery_id,
            webhook_id: id.to_owned(),
            event: TEST.to_owned(),
            data: data.to_string(),
            status: "pending".to_owned(),
            attempts: 1,
            next_attempt_at: None,
            response_code: None,
            error: None,
            created_at: Some(now.micros()),
            completed_at: None,
        };
        let answer = self.post(id, &delivery).await;
        let mut tx = self.db.write().await?;
        store::note(&mut tx, &delivery, &answer).await?;
        tx.commit().await?;
        Ok((delivery.delivery_id, answer))
    }
}

/// The event of a test, which no webhook has to ask for.
const TEST: &str = "test";

fn ended(done: Result<String, tokio::task::JoinError>, under_way: &mut HashMap<String, usize>) {
    match done {
        Ok(id) => {
            if let Some(n) = under_way.get_mut(&id) {
                *n = n.saturating_sub(1);
            }
        }
        Err(error) => {
            // Whose it was is not known: counting anew is the safe side of too many at once.
            under_way.clear();
            tracing::error!(?error, "a delivery panicked");
        }
    }
}

/// When to try again after so many attempts; `None` after the last, or when the server says that it
/// wants no more (410 Gone).
fn next_attempt(attempts: i64, answer: &Result<u16, String>) -> Option<Timestamp> {
    if matches!(answer, Ok(200..=299 | 410)) {
        return None;
    }
    let pause = PAUSES.get(usize::try_from(attempts).ok()?.checked_sub(1)?)?;
    Some(Timestamp::now().plus(jittered(*pause)))
}

/// The innermost cause, which says most.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = if error.is_timeout() { "no answer in 10 s".to_owned() } else { cause.to_string() };
    crate::api::clip(&text, 300).to_owned()
}

/// Up to a quarter longer, so that those that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let share = keys::random::<1>().map_or(0, |[byte]| u32::from(byte));
    pause + pause * share / 1024
}
