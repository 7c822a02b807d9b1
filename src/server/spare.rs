//! One file descriptor kept for the moment when there is no other: whoever comes then is told so,
//! instead of waiting for an answer that nobody can give.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// A caller who waits is there at once; where none is, the descriptor went to somebody else.
const SOON: Duration = Duration::from_millis(10);

/// Between two lines in the log, however many are turned away.
const APART: Duration = Duration::from_secs(10);

/// The descriptor, while it is there.
#[derive(Debug)]
pub(super) struct Spare {
    descriptor: Option<OwnedFd>,
    told: Option<Instant>,
}

impl Spare {
    /// A descriptor beside the listener's own.
    pub(super) fn beside(listener: &TcpListener) -> Self {
        let mut spare = Self {
            descriptor: None,
            told: None,
        };
        spare.keep(listener);
        spare
    }

    /// Has one again, unless none is left.
    pub(super) fn keep(&mut self, listener: &TcpListener) {
        if self.descriptor.is_none() {
            self.descriptor = listener.as_fd().try_clone_to_owned().ok();
        }
    }

    /// After an accept that failed: accepts a caller in the spare one's place.
    pub(super) async fn accept(
        &mut self,
        listener: &TcpListener,
        failed: &io::Error,
    ) -> Option<TcpStream> {
        self.descriptor = None;
        let accepted = timeout(SOON, listener.accept()).await;
        let Ok(Ok((stream, _))) = accepted else {
            self.keep(listener);
            return None;
        };
        let now = Instant::now();
        if self.told.is_none_or(|told| now - told >= APART) {
            self.told = Some(now);
            tracing::warn!(error = %failed, "failed to take a connection; callers are turned away");
        }
        Some(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_descriptor_goes_to_a_caller_and_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut spare = Spare::beside(&listener);
        assert!(spare.descriptor.is_some());
        let failed = io::Error::other("no descriptors");
        // Nobody waits: it is had again at once.
        assert!(spare.accept(&listener, &failed).await.is_none());
        assert!(spare.descriptor.is_some());
        let address = listener.local_addr().unwrap();
        let _caller = TcpStream::connect(address).await.unwrap();
        assert!(spare.accept(&listener, &failed).await.is_some());
        assert!(spare.descriptor.is_none());
        spare.keep(&listener);
        assert!(spare.descriptor.is_some());
    }
}
