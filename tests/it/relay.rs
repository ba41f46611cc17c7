//! A NAT between an agent and its hub, which can forget what it knew.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{net::UdpSocket, sync::watch, task::JoinSet};

/// Relays one agent's packets to a hub, from a port that can change.
pub struct Relay {
    pub address: SocketAddr,
    outward: watch::Sender<Arc<UdpSocket>>,
    hub: SocketAddr,
    meter: Arc<Meter>,
    _tasks: JoinSet<()>,
}

/// What has come from the hub, and how much of it is let through before nothing passes any more.
struct Meter {
    passed: AtomicU64,
    most: AtomicU64,
}

impl Meter {
    fn is_shut(&self) -> bool {
        self.passed.load(Ordering::Relaxed) >= self.most.load(Ordering::Relaxed)
    }
}

async fn outward(hub: SocketAddr) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(hub).await.unwrap();
    Arc::new(socket)
}

impl Relay {
    pub async fn start(hub: SocketAddr) -> Self {
        let inward = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = inward.local_addr().unwrap();
        let (outward, sockets) = watch::channel(outward(hub).await);
        let (agent_in, agent) = watch::channel(None);
        let meter = Meter { passed: AtomicU64::new(0), most: AtomicU64::new(u64::MAX) };
        let meter = Arc::new(meter);
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (inward, sockets) = (Arc::clone(&inward), sockets.clone());
            let meter = Arc::clone(&meter);
            async move {
                let mut packet = [0; 2048];
                while let Ok((size, from)) = inward.recv_from(&mut packet).await {
                    agent_in.send_replace(Some(from));
                    let socket = Arc::clone(&sockets.borrow());
                    if meter.is_shut() {
                        continue;
                    }
                    // A lost packet is QUIC's to mend.
                    let _ = socket.send(&packet[..size]).await;
                }
            }
        });
        tasks.spawn({
            let (mut sockets, meter) = (sockets, Arc::clone(&meter));
            async move {
                let mut packet = [0; 2048];
                loop {
                    let socket = Arc::clone(&sockets.borrow_and_update());
                    tokio::select! {
                        received = socket.recv(&mut packet) => {
                            let agent: Option<SocketAddr> = *agent.borrow();
                            if let (Ok(size), Some(agent)) = (received, agent)
                                && !meter.is_shut()
                            {
                                meter.passed.fetch_add(size as u64, Ordering::Relaxed);
                                let _ = inward.send_to(&packet[..size], agent).await;
                            }
                        }
                        changed = sockets.changed() => if changed.is_err() { return },
                    }
                }
            }
        });
        Self { address, outward, hub, meter, _tasks: tasks }
    }

    /// From now on the hub sees another address; what comes to the old one is lost.
    pub async fn change_address(&self) {
        self.outward.send_replace(outward(self.hub).await);
    }

    /// Bytes that have come from the hub.
    pub fn passed(&self) -> u64 {
        self.meter.passed.load(Ordering::Relaxed)
    }

    /// Lets so many more bytes of the hub through, and then nothing in either direction.
    pub fn let_through(&self, more: u64) {
        self.meter.most.store(self.passed().saturating_add(more), Ordering::Relaxed);
    }

    /// Whether nothing passes any more.
    pub fn is_shut(&self) -> bool {
        self.meter.is_shut()
    }
}
