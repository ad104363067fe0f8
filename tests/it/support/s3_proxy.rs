//! A way to an S3 store on which answers go wrong.

use super::flaky::Dice;
use oma_worker::stores::s3::S3Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a connection.
#[derive(Clone, Copy)]
pub(crate) enum Treatment {
    /// All goes well.
    Pass,
    /// The first request gets this answer and no other follows.
    Refuse(&'static str),
    /// The answers end after so many bytes.
    Cut(u64),
}

/// A way to the store on which a third of the connections get a wrong answer or break; its address.
pub(crate) async fn unreliable(store: &S3Settings) -> String {
    let dice = Dice::new(5);
    let treatment = move || match dice.below(6) {
        0 => Treatment::Refuse("500 Internal Server Error"),
        1 => Treatment::Refuse("503 Slow Down"),
        2 => Treatment::Cut(dice.below(100_000) as u64),
        // A connection that is used for long would see no fault for long.
        3 => Treatment::Cut(400_000),
        _ => Treatment::Pass,
    };
    start(store, treatment).await
}

/// A way to the store with this treatment for each connection; its address.
pub(crate) async fn start(store: &S3Settings, treatment: impl Fn() -> Treatment + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let target = store.endpoint.clone().unwrap().replace("http://", "");
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            tokio::spawn(treat(near, target.clone(), treatment()));
        }
    });
    address
}

async fn treat(mut near: TcpStream, target: String, treatment: Treatment) {
    if let Treatment::Refuse(status) = treatment {
        let mut request = [0; 4096];
        let _ = near.read(&mut request).await;
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = near.write_all(answer.as_bytes()).await;
        let _ = near.shutdown().await;
        return;
    }
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    match treatment {
        Treatment::Cut(bytes) => {
            let (mut from_near, mut to_near) = near.split();
            let (from_far, mut to_far) = far.split();
            let mut answers = from_far.take(bytes);
            // Whichever ends first ends the connection.
            tokio::select! {
                _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
                _ = tokio::io::copy(&mut answers, &mut to_near) => {}
            }
        }
        _ => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
    }
}
