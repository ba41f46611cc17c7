//! A NAT between an agent and its hub, which can forget what it knew.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::UdpSocket, sync::watch, task::JoinSet};

/// Relays one agent's packets to a hub, from a port that can change.
pub struct Relay {
    pub address: SocketAddr,
    outward: watch::Sender<Arc<UdpSocket>>,
    hub: SocketAddr,
    _tasks: JoinSet<()>,
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
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (inward, sockets) = (Arc::clone(&inward), sockets.clone());
            async move {
                let mut packet = [0; 2048];
                while let Ok((size, from)) = inward.recv_from(&mut packet).await {
                    agent_in.send_replace(Some(from));
                    let socket = Arc::clone(&sockets.borrow());
                    // A lost packet is QUIC's to mend.
                    let _ = socket.send(&packet[..size]).await;
                }
            }
        });
        tasks.spawn({
            let mut sockets = sockets;
            async move {
                let mut packet = [0; 2048];
                loop {
                    let socket = Arc::clone(&sockets.borrow_and_update());
                    tokio::select! {
                        received = socket.recv(&mut packet) => {
                            let agent: Option<SocketAddr> = *agent.borrow();
                            if let (Ok(size), Some(agent)) = (received, agent) {
                                let _ = inward.send_to(&packet[..size], agent).await;
                            }
                        }
                        changed = sockets.changed() => if changed.is_err() { return },
                    }
                }
            }
        });
        Self { address, outward, hub, _tasks: tasks }
    }

    /// From now on the hub sees another address; what comes to the old one is lost.
    pub async fn change_address(&self) {
        self.outward.send_replace(outward(self.hub).await);
    }
}
