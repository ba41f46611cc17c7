//! `Idempotency-Key`: a POST that is repeated with the same key and body gets the first answer
//! again, for 24 hours, and is done once. The answer is sealed at rest: it may show a secret.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use cloudcore_protocol::Timestamp;
use ring::hmac;
use serde_json::json;

use crate::{
    api::{self, Refusal, to_the_end},
    auth::{Caller, Identity},
    db::{self, Db},
    error::{Code, Error, Result},
    keys::{self, Keys},
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Largest answer that is kept, bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The answers that were given.
pub struct Answers {
    db: Db,
    keys: Arc<Keys>,
}

/// How a key stands when a request comes with it.
enum Found {
    /// Nobody used it: it is taken by this request.
    Fresh,
    /// It was answered.
    Answered(StatusCode, Vec<u8>),
}

impl Answers {
    /// Over this database.
    #[must_use]
    pub const fn new(db: Db, keys: Arc<Keys>) -> Self {
        Self { db, keys }
    }

    /// Removes what is older than a day.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget(&self) -> Result<()> {
        let mut tx = self.db.write().await?;
        db::sql("DELETE FROM idempotency_keys WHERE created_at < $1")
            .bind(oldest())
            .run(&mut tx)
            .await?;
        tx.commit().await
    }

    async fn begin(&self, caller: &str, key: &str, hash: &str) -> Result<Found> {
        let mut tx = self.db.write().await?;
        db::sql("DELETE FROM idempotency_keys WHERE caller = $1 AND key = $2 AND created_at < $3")
            .bind(caller)
            .bind(key)
            .bind(oldest())
            .run(&mut tx)
            .await?;
        let new = db::sql(
            "INSERT INTO idempotency_keys (caller, key, request_hash, created_at) \
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(caller)
        .bind(key)
        .bind(hash)
        .bind(Timestamp::now().micros())
        .run(&mut tx)
        .await?;
        let (first, status, answer): (String, Option<i64>, Option<String>) = db::sql(
            "SELECT request_hash, status, answer FROM idempotency_keys \
             WHERE caller = $1 AND key = $2",
        )
        .bind(caller)
        .bind(key)
        .one(&mut tx)
        .await?;
        tx.commit().await?;
        if new > 0 {
            return Ok(Found::Fresh);
        }
        if first != hash {
            return Err(Error::new(
                Code::Exists,
                "this Idempotency-Key was used for another request",
            ));
        }
        let (Some(status), Some(answer)) = (status, answer) else {
            return Err(Error::new(
                Code::Exists,
                "the first request with this Idempotency-Key has not been answered: if it broke \
                 off, look what came of it, and use another key",
            )
            .with_details(json!({ "reason": "in_progress" })));
        };
        let status = u16::try_from(status).ok().and_then(|s| StatusCode::from_u16(s).ok());
        let body = self.keys.seal.open(&context(caller, key), &answer)?;
        Ok(Found::Answered(status.unwrap_or(StatusCode::OK), body))
    }

    async fn end(
        &self,
        caller: &str,
        key: &str,
        answer: Option<(StatusCode, &[u8])>,
    ) -> Result<()> {
        let mut tx = self.db.write().await?;
        match answer {
            Some((status, body)) => db::sql(
                "UPDATE idempotency_keys SET status = $3, answer = $4 \
                 WHERE caller = $1 AND key = $2",
            )
            .bind(caller)
            .bind(key)
            .bind(i64::from(status.as_u16()))
            .bind(self.keys.seal.seal(&context(caller, key), body)?),
            // What was refused was not done: it may be tried again.
            None => db::sql("DELETE FROM idempotency_keys WHERE caller = $1 AND key = $2")
                .bind(caller)
                .bind(key),
        }
        .run(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Answers a request with a key; one that was begun goes to its end, also when its client
    /// does not wait for it.
    ///
    /// # Errors
    /// API-001 for a bad key, API-005 for one that was used otherwise or has no answer yet.
    pub(super) async fn answer(
        self: &Arc<Self>,
        key: String,
        request: Request,
        next: Next,
    ) -> Result<Response, Refusal> {
        let caller = match request.extensions().get() {
            Some(Identity::Caller(Caller::User(user))) => format!("user {}", user.id),
            Some(Identity::Caller(Caller::Key { key_id, .. })) => key_id.clone(),
            Some(Identity::Caller(Caller::Account { name, .. })) => name.clone(),
            // Who is not known is refused by the handler.
            _ => return Ok(next.run(request).await),
        };
        let (parts, body) = request.into_parts();
        let body = api::read(body).await?;
        let what = [parts.method.as_str(), " ", &parts.uri.to_string(), "\n"].concat();
        // With a key: a body may hold a password, which a plain hash would let be guessed.
        let hash = hmac::sign(&self.keys.requests, &[what.as_bytes(), &body].concat());
        let hash = keys::hex(hash.as_ref());
        match self.begin(&caller, &key, &hash).await? {
            Found::Answered(status, body) => Ok((
                status,
                [
                    (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                    (REPLAYED, HeaderValue::from_static("true")),
                ],
                body,
            )
                .into_response()),
            Found::Fresh => {
                let answers = Arc::clone(self);
                let request = Request::from_parts(parts, Body::from(body));
                Ok(to_the_end(async move { answers.first(&caller, &key, request, next).await })
                    .await?)
            }
        }
    }

    async fn first(
        &self,
        caller: &str,
        key: &str,
        request: Request,
        next: Next,
    ) -> Result<Response> {
        let response = next.run(request).await;
        if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
            // It may have come after the change: what may be done is not done again.
            return Ok(response);
        }
        if !response.status().is_success() {
            self.end(caller, key, None).await?;
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, MAX_ANSWER).await.map_err(Error::internal)?;
        // The change is made: that its answer can't be kept is no reason to withhold it.
        if let Err(error) = self.end(caller, key, Some((parts.status, &body))).await {
            tracing::error!(?error, "an answer can't be kept for its Idempotency-Key");
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }
}

/// The request's key, where it has one.
///
/// # Errors
/// API-001 for one that is empty, too long or not plain text.
pub(super) fn key_of(request: &Request) -> Result<Option<String>> {
    let Some(key) = request.headers().get(KEY) else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    let bad = || Error::invalid("Idempotency-Key must be 1 to 255 visible ASCII characters");
    key.map(|key| Some(key.to_owned())).ok_or_else(bad)
}

fn context(caller: &str, key: &str) -> String {
    format!("idempotency {caller} {key}")
}

fn oldest() -> i64 {
    let kept = i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().micros().saturating_sub(kept)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Router, middleware, routing::post};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        sync::Notify,
        time::{Instant, timeout},
    };

    use super::*;
    use crate::auth::Role;

    /// How long this hub gives a request.
    const SHORT: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_that_of_the_next_who_asks() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("hub.db")).await.unwrap();
        let answers = Arc::new(Answers::new(db, Arc::new(Keys::of(&[7; 32]).unwrap())));
        let (done, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let change = {
            let (done, go) = (Arc::clone(&done), Arc::clone(&go));
            move || async move {
                go.notified().await;
                format!("{{\"made\":{}}}", done.fetch_add(1, Ordering::Relaxed) + 1)
            }
        };
        let shell = move |mut request: Request, next: Next| {
            let answers = Arc::clone(&answers);
            async move {
                let caller = Caller::Key { key_id: "key_1".into(), role: Role::Operator };
                request.extensions_mut().insert(Identity::Caller(caller));
                let key = key_of(&request).unwrap().unwrap();
                match timeout(SHORT, answers.answer(key, request, next)).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(refusal)) => refusal.into_response(),
                    Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                }
            }
        };
        let router = Router::new().route("/", post(change)).layer(middleware::from_fn(shell));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let ask = async || {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let head = "POST / HTTP/1.1\r\nHost: hub\r\nIdempotency-Key: k\r\n\
                        Content-Length: 2\r\nConnection: close\r\n\r\n{}";
            socket.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
            answer
        };

        assert!(ask().await.starts_with("HTTP/1.1 503"), "its time is over");
        assert!(ask().await.starts_with("HTTP/1.1 409"), "it is still on its way");
        go.notify_one();
        let end = Instant::now() + PATIENCE;
        let answer = loop {
            let answer = ask().await;
            if answer.starts_with("HTTP/1.1 200") {
                break answer;
            }
            assert!(Instant::now() < end, "{answer}");
        };
        assert!(answer.contains("idempotent-replayed: true"), "{answer}");
        assert!(answer.ends_with("{\"made\":1}"), "{answer}");
        assert_eq!(done.load(Ordering::Relaxed), 1);
        server.abort();
    }
}
