//! Which connections there are, who has which client id, and how many may be in.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Client, Refused};

/// Connections that have not authenticated; more are closed at once. They take no place of a
/// client's.
const MAX_PENDING: usize = 256;
/// Of those, from one address: all clients behind one router may come back at once.
const MAX_PENDING_PER_ADDRESS: usize = 128;
/// Sessions kept for clients that are away, of one owner: nobody takes the places of all.
const MAX_KEPT_PER_OWNER: usize = 50;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, as relay and hooks share it.
pub(super) struct Connection<I> {
    /// The client's real address.
    pub peer: SocketAddr,
    /// What the relay answers instead of the engine.
    pub refusal: OnceLock<Vec<u8>>,
    client: OnceLock<Arc<Client<I>>>,
    /// Whether the engine has a session for it.
    began: AtomicBool,
    /// Whether its relay has ended.
    gone: AtomicBool,
    admitted: Notify,
    place: Mutex<Option<OwnedSemaphorePermit>>,
    cut: CancellationToken,
}

impl<I> Connection<I> {
    /// Ends the connection.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Returns when the connection has to end.
    pub async fn cutting(&self) {
        self.cut.cancelled().await;
    }

    /// Whether its relay has this address.
    pub fn is_of(&self, source: SocketAddr) -> bool {
        self.client.get().is_some_and(|client| client.source == source)
    }

    /// Whether it has authenticated.
    pub fn is_admitted(&self) -> bool {
        self.client.get().is_some()
    }

    /// Returns when it has authenticated.
    pub async fn admitted(&self) {
        while !self.is_admitted() {
            self.admitted.notified().await;
        }
    }
}

/// On what terms a client comes in.
pub(super) struct Terms {
    /// Whose its client id is.
    pub owner: String,
    /// How many clients of this owner may be connected at once.
    pub at_once: Option<usize>,
    /// Whether its session outlives the connection.
    pub keeps: bool,
}

/// Who has a client id.
struct Holder<I> {
    owner: String,
    /// Whether its session outlives the connection.
    keeps: bool,
    connection: Arc<Connection<I>>,
    /// Who had it before, until the new session has begun.
    before: Option<Box<Self>>,
}

/// The connections.
pub(super) struct Connections<I> {
    /// By the relay's address.
    by_source: Mutex<HashMap<SocketAddr, Arc<Connection<I>>>>,
    by_client: Mutex<HashMap<String, Holder<I>>>,
    places: Arc<Semaphore>,
    most: usize,
    pending: Mutex<HashMap<std::net::IpAddr, usize>>,
}

/// A connection that has not authenticated, counted as long as this lives.
pub(super) struct Pending<I> {
    connections: Arc<Connections<I>>,
    peer: SocketAddr,
}

impl<I> Drop for Pending<I> {
    fn drop(&mut self) {
        let mut pending = lock(&self.connections.pending);
        if let Some(n) = pending.get_mut(&self.peer.ip()) {
            *n -= 1;
            if *n == 0 {
                pending.remove(&self.peer.ip());
            }
        }
    }
}

/// A connection that the hooks know, as long as this lives.
pub(super) struct Registered<I> {
    connections: Arc<Connections<I>>,
    source: SocketAddr,
    /// The connection.
    pub connection: Arc<Connection<I>>,
}

impl<I> Drop for Registered<I> {
    fn drop(&mut self) {
        self.connection.gone.store(true, Ordering::Release);
        lock(&self.connections.by_source).remove(&self.source);
        // The client's place is free again, unless a newer connection of it took it over.
        let place = lock(&self.connection.place).take();
        if let Some(client) = self.connection.client.get()
            && !self.connection.began.load(Ordering::Acquire)
        {
            self.connections.release(&client.id, &self.connection, place);
        }
    }
}

impl<I> Connections<I> {
    /// For at most `most` clients at once.
    pub fn new(most: usize) -> Self {
        Self {
            by_source: Mutex::default(),
            by_client: Mutex::default(),
            places: Arc::new(Semaphore::new(most)),
            most,
            pending: Mutex::default(),
        }
    }

    /// How many clients are connected.
    pub fn taken(&self) -> usize {
        self.most - self.places.available_permits()
    }

    /// A place for a connection that has not authenticated yet; `None` where all are taken.
    pub fn arrive(self: &Arc<Self>, peer: SocketAddr) -> Option<Pending<I>> {
        let mut pending = lock(&self.pending);
        if pending.values().sum::<usize>() >= MAX_PENDING {
            return None;
        }
        let same = pending.entry(peer.ip()).or_default();
        if *same >= MAX_PENDING_PER_ADDRESS {
            return None;
        }
        *same += 1;
        Some(Pending { connections: Arc::clone(self), peer })
    }

    /// Makes a connection known to the hooks by the address that its relay connects from.
    pub fn register(self: &Arc<Self>, source: SocketAddr, peer: SocketAddr) -> Registered<I> {
        let connection = Arc::new(Connection {
            peer,
            refusal: OnceLock::new(),
            client: OnceLock::new(),
            began: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            admitted: Notify::new(),
            place: Mutex::default(),
            cut: CancellationToken::new(),
        });
        lock(&self.by_source).insert(source, Arc::clone(&connection));
        Registered { connections: Arc::clone(self), source, connection }
    }

    /// The connection whose relay has this address.
    pub fn from(&self, source: SocketAddr) -> Option<Arc<Connection<I>>> {
        lock(&self.by_source).get(&source).cloned()
    }

    /// The connection that has, or last had, this client id.
    pub fn of(&self, client_id: &str) -> Option<Arc<Connection<I>>> {
        lock(&self.by_client).get(client_id).map(|holder| Arc::clone(&holder.connection))
    }

    /// Gives the connection its client id and its place. A client that comes again takes the
    /// place of its older connection, so that it never waits for that one to be found dead.
    pub fn admit(
        &self,
        connection: &Arc<Connection<I>>,
        client: Client<I>,
        Terms { owner, at_once, keeps }: Terms,
    ) -> Result<(), Refused> {
        let mut holders = lock(&self.by_client);
        let known = holders.get(&client.id);
        if known.is_some_and(|holder| holder.owner != owner) {
            return Err(Refused::Forbidden);
        }
        let kept = || holders.values().filter(|h| h.keeps && h.owner == owner).count();
        if keeps && !known.is_some_and(|h| h.keeps) && kept() >= MAX_KEPT_PER_OWNER {
            return Err(Refused::Full);
        }
        let connected = || {
            let is_in = |h: &&Holder<I>| lock(&h.connection.place).is_some();
            let others = holders.iter().filter(|(id, h)| **id != client.id && h.owner == owner);
            others.filter(|(_, h)| is_in(h)).count()
        };
        if at_once.is_some_and(|most| connected() >= most) {
            return Err(Refused::Full);
        }
        let inherited = known.and_then(|holder| lock(&holder.connection.place).take());
        let place = inherited
            .or_else(|| Arc::clone(&self.places).try_acquire_owned().ok())
            .ok_or(Refused::Full)?;
        *lock(&connection.place) = Some(place);
        let before = holders.remove(&client.id).map(Box::new);
        let holder = Holder { owner, keeps, connection: Arc::clone(connection), before };
        holders.insert(client.id.clone(), holder);
        let _ = connection.client.set(Arc::new(client));
        connection.admitted.notify_one();
        Ok(())
    }

    /// The engine has a session for the connection with this address: its client, and the older
    /// connection that it takes over from is cut. `None` where the connection is gone already.
    pub fn began(&self, client_id: &str, source: SocketAddr) -> Option<Arc<Client<I>>> {
        let mut holders = lock(&self.by_client);
        let holder = holders.get_mut(client_id)?;
        let client = holder.connection.client.get().filter(|c| c.source == source)?;
        holder.connection.began.store(true, Ordering::Release);
        if let Some(before) = holder.before.take() {
            before.connection.cut();
        }
        Some(Arc::clone(client))
    }

    /// Whether this is the client's newest connection.
    pub fn is_current(&self, client: &Client<I>) -> bool {
        lock(&self.by_client)
            .get(&client.id)
            .and_then(|holder| holder.connection.client.get())
            .is_some_and(|newest| newest.source == client.source)
    }

    /// The client's session has ended: its id is free.
    pub fn ended(&self, client: &Client<I>) {
        let mut holders = lock(&self.by_client);
        let same = holders
            .get(&client.id)
            .and_then(|holder| holder.connection.client.get())
            .is_some_and(|newest| newest.source == client.source);
        if same {
            holders.remove(&client.id);
        }
    }

    /// The connection got a client id and a place, and never a session: whoever had them before
    /// has them again.
    fn release(
        &self,
        client_id: &str,
        connection: &Arc<Connection<I>>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let mut holders = lock(&self.by_client);
        if holders.get(client_id).is_some_and(|h| Arc::ptr_eq(&h.connection, connection))
            && let Some(holder) = holders.remove(client_id)
            && let Some(before) = holder.before
        {
            if !before.connection.gone.load(Ordering::Acquire) {
                *lock(&before.connection.place) = place;
            }
            holders.insert(client_id.to_owned(), *before);
        }
    }
}
