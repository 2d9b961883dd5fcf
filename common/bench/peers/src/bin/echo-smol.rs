//! The echo on smol, on one thread: a task for each client.

use std::net::TcpListener;

use anyhow::Result;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor};

async fn serve(mut stream: Async<std::net::TcpStream>) {
    let _ = stream.get_ref().set_nodelay(true);
    let mut buffer = vec![0; peers::BUFFER];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}

fn main() -> Result<()> {
    let listener = Async::<TcpListener>::new(peers::listener()?)?;
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                executor.spawn(serve(stream)).detach();
            }
        }
    }))
}
