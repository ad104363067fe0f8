//! Ways to a server: from a port of a test's choice, and as slow as it likes.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Leads each connection to `target`, for ever; every piece of it takes so long.
pub(crate) async fn lead(listener: TcpListener, target: String, delay: Duration) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let target = target.clone();
        tokio::spawn(async move {
            // A server that is down shows as a connection that ends.
            let Ok(far) = TcpStream::connect(target).await else { return };
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            tokio::join!(carry(from_near, to_far, delay), carry(from_far, to_near, delay));
        });
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(delay).await;
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
