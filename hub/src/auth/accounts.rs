//! ServiceAccounts of the cluster as callers: their token is reviewed by the cluster, and its RBAC
//! says which role they have here. What it said is believed for a short while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cloudcore_protocol::Timestamp;
use jsonwebtoken::Algorithm;
use secrecy::SecretString;
use tokio::{sync::Semaphore, time::timeout};

use super::{Caller, Grant, Role};
use crate::{
    cluster::{Cluster, Standing},
    error::{Code, Error, Result},
    keys,
};

/// How long it is believed whose a token is.
const KNOWN: Duration = Duration::from_secs(60);
/// How long it is believed that it is nobody's.
const UNKNOWN: Duration = Duration::from_secs(10);
/// Most tokens that are remembered.
const MOST: usize = 1024;
/// Longest token, bytes.
const MAX_TOKEN: usize = 8192;
/// Longest name, as long as the audit log takes.
const MAX_NAME: usize = 150;
/// Reviews at once: strangers may not keep the cluster busy.
const REVIEWS: usize = 8;
/// Longest wait for one's turn.
const TURN: Duration = Duration::from_secs(5);
/// A grant's life; a longer stream asks again.
const LIFE: Duration = Duration::from_secs(3600);

/// The cluster's accounts.
pub(super) struct Accounts {
    cluster: Arc<Cluster>,
    known: Mutex<HashMap<String, Known>>,
    turns: Semaphore,
}

/// What is known of a token.
struct Known {
    token: SecretString,
    who: Who,
    since: Instant,
}

/// Whose it is; or why it is nobody's who may come in.
type Who = Result<Caller, &'static str>;

impl Known {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < if self.who.is_ok() { KNOWN } else { UNKNOWN }
    }
}

/// Whether this may be a token of a cluster's: a JWT that is signed by a key pair, as no session of
/// the hub's is.
fn is_foreign(token: &str) -> bool {
    token.len() <= MAX_TOKEN
        && jsonwebtoken::decode_header(token).is_ok_and(|header| {
            !matches!(header.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
        })
}

impl Accounts {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, known: Mutex::default(), turns: Semaphore::new(REVIEWS) }
    }

    /// Whether it is worth asking the cluster.
    pub(super) fn may_know(&self, token: &str) -> bool {
        self.cluster.standing() != Standing::NotConfigured && is_foreign(token)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// API-002 when it is nobody's who may come in, API-009 when the cluster can't say.
    pub(super) async fn grant(&self, token: &str) -> Result<Grant> {
        let hash = keys::sha256_hex(token.as_bytes());
        match self.who(&hash, token.to_owned().into()).await? {
            Ok(caller) => Ok(Grant {
                caller,
                epoch: None,
                until: Some(Timestamp::now().plus(LIFE).micros()),
                token: Some(hash),
            }),
            Err(why) => Err(Error::new(Code::Unauthenticated, why)),
        }
    }

    /// Whether a token that was shown before still is its account's, with the role that it had.
    ///
    /// # Errors
    /// API-009 when the cluster can't say.
    pub(super) async fn holds(&self, hash: &str, caller: &Caller) -> Result<bool> {
        let token = self.known().get(hash).map(|known| known.token.clone());
        // Forgotten: whoever has it can show it again.
        let Some(token) = token else { return Ok(false) };
        let who = self.who(hash, token).await?;
        Ok(who.is_ok_and(|now| now.role() == caller.role()))
    }

    async fn who(&self, hash: &str, token: SecretString) -> Result<Who> {
        if let Some(known) = self.known().get(hash).filter(|known| known.is_fresh()) {
            return Ok(known.who.clone());
        }
        let turn = timeout(TURN, self.turns.acquire()).await;
        let _turn = turn
            .map_err(|_| Error::new(Code::Unavailable, "too many tokens to review: try again"))?
            .map_err(Error::internal)?;
        let who = self.review(&token).await?;
        let mut known = self.known();
        if known.len() >= MOST {
            known.retain(|_, known| known.is_fresh());
        }
        if known.len() >= MOST {
            known.clear();
        }
        let since = Instant::now();
        known.insert(hash.to_owned(), Known { token, who: who.clone(), since });
        Ok(who)
    }

    async fn review(&self, token: &SecretString) -> Result<Who> {
        let Some(account) = self.cluster.account_of(token).await? else {
            return Ok(Err("the token is not valid here, nor in the cluster"));
        };
        if !account.is_service_account() || account.name().len() > MAX_NAME {
            return Ok(Err("the token is no ServiceAccount's that can be known here"));
        }
        for role in [Role::Admin, Role::Operator, Role::Viewer] {
            if self.cluster.may_use(&account, role.as_str()).await? {
                return Ok(Ok(Caller::Account { name: account.name().to_owned(), role }));
            }
        }
        Ok(Err("the ServiceAccount has no role here: the cluster's RBAC has to let it use one of \
                the roles of cloudcore.io"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_cluster_may_have_signed_is_shown_to_it() {
        // {"alg":"RS256"}, {"alg":"HS256"}
        assert!(is_foreign("eyJhbGciOiJSUzI1NiJ9.e30.c2ln"));
        assert!(!is_foreign("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"));
        for garbage in ["", "a.b.c", "ck_1", "....", &"x".repeat(10_000)] {
            assert!(!is_foreign(garbage), "{garbage}");
        }
    }
}
