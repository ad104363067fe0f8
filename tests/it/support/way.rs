//! Ways to a server: from a port of a test's choice, and as slow as it likes.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the next piece on its way to the server that has certain bytes in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Customs {
    /// It passes.
    Open,
    /// It will be held.
    Waiting,
    /// It is held until the customs are open, and all that follows it on its connection.
    Holding,
}

/// Leads each connection to `target`, for ever; every piece of it takes so long.
pub(crate) async fn lead(listener: TcpListener, target: String, delay: Duration) {
    lead_past(listener, target, delay, "", watch::Sender::new(Customs::Open)).await;
}

/// The same past customs that look for `wanted`.
async fn lead_past(
    listener: TcpListener,
    target: String,
    delay: Duration,
    wanted: &'static str,
    customs: watch::Sender<Customs>,
) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let (target, customs) = (target.clone(), customs.clone());
        tokio::spawn(async move {
            // A server that is down shows as a connection that ends.
            let Ok(far) = TcpStream::connect(target).await else { return };
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            let gate = Gate { wanted, customs };
            tokio::join!(carry(from_near, to_far, delay, Some(&gate)), carry(from_far, to_near, delay, None));
        });
    }
}

/// Where a piece may be held.
struct Gate {
    wanted: &'static str,
    customs: watch::Sender<Customs>,
}

impl Gate {
    async fn pass(&self, piece: &[u8]) {
        let is_wanted = piece.windows(self.wanted.len().max(1)).any(|bytes| bytes == self.wanted.as_bytes());
        let hold = |now: &mut Customs| {
            let is_next = *now == Customs::Waiting;
            if is_next {
                *now = Customs::Holding;
            }
            is_next
        };
        if is_wanted && self.customs.send_if_modified(hold) {
            self.customs.subscribe().wait_for(|now| *now == Customs::Open).await.unwrap();
        }
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
    gate: Option<&Gate>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(delay).await;
        if let Some(gate) = gate {
            gate.pass(&piece[..length]).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// The address of a slow way to `target`.
pub(crate) async fn slow(target: String, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(lead(listener, target, delay));
    address
}

/// The address of a way to `target` past customs that look for `wanted`, and the customs.
pub(crate) async fn past_customs(target: String, wanted: &'static str) -> (SocketAddr, watch::Sender<Customs>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let customs = watch::Sender::new(Customs::Open);
    tokio::spawn(lead_past(listener, target, Duration::ZERO, wanted, customs.clone()));
    (address, customs)
}
