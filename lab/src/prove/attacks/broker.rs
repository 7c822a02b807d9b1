//! A broker that says what it is told to, in front of a real one.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What it answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Says {
    /// What the broker at this address says.
    Truth(SocketAddr),
    /// A frame of 2 GB is announced, and begun.
    HugeFrame,
    /// A short frame with an array of 2^31 - 1 elements.
    HugeCount,
    /// An answer to another question.
    OtherAnswer,
    /// Nothing.
    Nothing,
}

/// A fake broker; nobody listens on its port any more once it is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    address: SocketAddr,
    says: watch::Sender<Says>,
    task: JoinHandle<()>,
}

impl Broker {
    pub(super) async fn start(says: Says) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let says = watch::Sender::new(says);
        let told = says.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut told = told.subscribe();
                let now = *told.borrow_and_update();
                tokio::spawn(async move {
                    // A connection ends when another thing is to be said.
                    tokio::select! {
                        _ = serve(stream, now) => {}
                        _ = told.changed() => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            says,
            task,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this from now on.
    pub(super) fn say(&self, says: Says) {
        self.says.send_replace(says);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, says: Says) -> io::Result<()> {
    if let Says::Truth(real) = says {
        let mut real = TcpStream::connect(real).await?;
        copy_bidirectional(&mut stream, &mut real).await?;
        return Ok(());
    }
    loop {
        let length = stream.read_i32().await?;
        let mut request = vec![0; usize::try_from(length).unwrap_or_default()];
        stream.read_exact(&mut request).await?;
        // Key, version, correlation id.
        let id = request.get(4..8).unwrap_or(&[0; 4]);
        let id = i32::from_be_bytes(id.try_into().unwrap_or_default());
        match says {
            Says::Truth(_) | Says::Nothing => std::future::pending().await,
            Says::HugeFrame => {
                stream.write_i32(i32::MAX).await?;
                stream.write_i32(id).await?;
                loop {
                    stream.write_all(&[0; 65_536]).await?;
                }
            }
            Says::HugeCount => {
                // Length, correlation id, error 0, and a count: 4 bytes, or a varint of 5.
                stream.write_i32(11).await?;
                stream.write_i32(id).await?;
                stream.write_i16(0).await?;
                stream.write_all(&[0xff, 0xff, 0xff, 0xff, 0x07]).await?;
            }
            Says::OtherAnswer => {
                stream.write_i32(10).await?;
                stream.write_i32(id.wrapping_add(7)).await?;
                stream.write_all(&[0; 6]).await?;
            }
        }
    }
}
