//! How a connection behaves, and when it is to be replaced.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::sasl::{Login, Session};

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// `client.id`, as the brokers' request logs and quotas see it.
    pub client_id: String,
    /// For resolving, connecting and whatever the transport needs besides.
    pub connect_deadline: Duration,
    /// For each step of negotiation after that.
    pub negotiate_deadline: Duration,
    /// The largest answer that is read, in bytes.
    pub largest_frame: usize,
    /// How we log in; `None`: not at all.
    pub login: Option<Arc<Login>>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            client_id: String::from("upgrade-gate"),
            connect_deadline: Duration::from_secs(2),
            negotiate_deadline: Duration::from_secs(2),
            largest_frame: 64 * 1024 * 1024,
            login: None,
        }
    }
}

/// When a session is to be replaced and when it is over. The node closes a connection whose session
/// is over with the next question on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From now on a new connection is wanted.
    pub renew: Instant,
    /// The session is over.
    pub over: Instant,
}

impl Lifetime {
    /// Renewal after 78 to 85 % of the session: all nodes' connections are not made anew at once, and
    /// there is time for more than one try.
    pub(super) fn of(session: Session) -> Option<Self> {
        let lasts = session.lasts?;
        // Random enough for spreading, and no crate for it.
        let part = u32::try_from(RandomState::new().hash_one(0) % 70).unwrap_or(0);
        Some(Self {
            renew: session.began + lasts / 1000 * (780 + part),
            over: session.began + lasts,
        })
    }
}

impl Connection {
    /// When its login ends; `None` where it does not.
    pub const fn lifetime(&self) -> Option<Lifetime> {
        self.lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_replaced_in_time_and_not_by_everybody_at_once() {
        let began = Instant::now();
        let lasts = Some(Duration::from_secs(10));
        let all: Vec<_> = (0..50)
            .filter_map(|_| Lifetime::of(Session { began, lasts }))
            .map(|lifetime| lifetime.renew.duration_since(began).as_millis())
            .collect();
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|at| (7800..=8500).contains(at)), "{all:?}");
        assert!(all.iter().any(|at| *at != all[0]), "{all:?}");
        assert_eq!(Lifetime::of(Session { began, lasts: None }), None);
    }
}
