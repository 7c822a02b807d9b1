//! How much of the server one address may take.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::handle::QUEUE;
use crate::gate::state::GateName;

/// Below so many addresses nobody looks for those that can be forgotten.
const FEW: usize = 1024;

/// How many passwords of one address may wait to be checked: a quarter of those that may wait at
/// all, so that none keeps the others out.
const PASSWORDS: usize = 4;

/// How many questions of one address may wait for one gate's engine: a quarter of those that may. A
/// gate whose engine takes nothing out of its queue takes no other gate's places.
const QUESTIONS: usize = QUEUE / 4;

/// The addresses that have asked lately.
#[derive(Debug)]
pub(super) struct Peers {
    connections: usize,
    waiters: usize,
    /// Requests in a second; `None`: as many as it likes.
    rate: Option<u32>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    peers: BTreeMap<IpAddr, Peer>,
    /// With so many, those that can be forgotten are.
    tidy_at: usize,
}

#[derive(Debug)]
struct Peer {
    connections: usize,
    waiters: usize,
    passwords: usize,
    questions: BTreeMap<GateName, usize>,
    /// What is left of the second's requests, as of `at`.
    left: f64,
    at: Instant,
}

/// What an address has a share of.
#[derive(Clone, Debug)]
enum Share {
    Connections,
    Waiters,
    Passwords,
    Questions(GateName),
}

/// One connection's, long poll's, password's or question's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Arc<Peers>,
    peer: IpAddr,
    share: Share,
}

impl Peers {
    pub(super) fn new(connections: usize, waiters: usize, rate: Option<u32>) -> Self {
        Self {
            connections,
            waiters,
            rate,
            known: Mutex::default(),
        }
    }

    /// A place for one more connection of this address, unless it has enough.
    pub(super) fn connect(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        self.take(peer, Share::Connections, self.connections)
    }

    /// A place for one more long poll of this address, unless it has enough.
    pub(super) fn wait(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        self.take(peer, Share::Waiters, self.waiters)
    }

    /// A place for one more password of this address that is to be checked, unless it has enough.
    pub(super) fn claim(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        self.take(peer, Share::Passwords, PASSWORDS)
    }

    /// A place for one more question of this address that waits for this gate's engine, unless it has
    /// enough.
    pub(super) fn ask(self: &Arc<Self>, peer: IpAddr, gate: &GateName) -> Option<Place> {
        self.take(peer, Share::Questions(gate.clone()), QUESTIONS)
    }

    fn take(self: &Arc<Self>, peer: IpAddr, share: Share, most: usize) -> Option<Place> {
        let peer = whole(peer);
        let mut known = self.lock();
        let taken = known.peer(peer, self.full()).taken(&share);
        if *taken >= most {
            return None;
        }
        *taken += 1;
        drop(known);
        Some(Place {
            peers: Arc::clone(self),
            peer,
            share,
        })
    }

    /// Whether this address may ask once more now. It may ask a second's worth at once.
    pub(super) fn may_ask(&self, peer: IpAddr) -> bool {
        let Some(rate) = self.rate.map(f64::from) else {
            return true;
        };
        let mut known = self.lock();
        let there = known.peer(whole(peer), rate);
        there.refill(rate);
        if there.left < 1.0 {
            return false;
        }
        there.left -= 1.0;
        true
    }

    fn full(&self) -> f64 {
        self.rate.map_or(0.0, f64::from)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The peer at this address, which has asked nothing yet where it is new.
    fn peer(&mut self, peer: IpAddr, full: f64) -> &mut Peer {
        let now = Instant::now();
        if self.peers.len() >= self.tidy_at.max(FEW) {
            // After a second it may ask a whole second's worth again, as if it were new.
            self.peers.retain(|_, peer| {
                let places = [peer.connections, peer.waiters, peer.passwords];
                let mut places = places.iter().chain(peer.questions.values());
                let busy = places.any(|taken| *taken > 0);
                busy || now - peer.at < Duration::from_secs(1)
            });
            self.tidy_at = self.peers.len().saturating_mul(2);
        }
        self.peers.entry(peer).or_insert(Peer {
            connections: 0,
            waiters: 0,
            passwords: 0,
            questions: BTreeMap::new(),
            left: full,
            at: now,
        })
    }
}

impl Peer {
    /// How many places of this kind it has.
    fn taken(&mut self, share: &Share) -> &mut usize {
        match share {
            Share::Connections => &mut self.connections,
            Share::Waiters => &mut self.waiters,
            Share::Passwords => &mut self.passwords,
            Share::Questions(gate) => self.questions.entry(gate.clone()).or_default(),
        }
    }

    fn refill(&mut self, rate: f64) {
        let now = Instant::now();
        let more = (now - self.at).as_secs_f64() * rate;
        self.left = (self.left + more).min(rate);
        self.at = now;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.peers.lock();
        if let Some(peer) = known.peers.get_mut(&self.peer) {
            let taken = peer.taken(&self.share);
            *taken = taken.saturating_sub(1);
            peer.questions.retain(|_, taken| *taken > 0);
        }
    }
}

/// One caller may have a whole IPv6 network of 64 bits to itself: it counts as one address.
fn whole(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_has_its_share_and_no_more() {
        let peers = Arc::new(Peers::new(2, 0, None));
        let first = peers.connect(ip("10.0.0.1"));
        let second = peers.connect(ip("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(peers.connect(ip("10.0.0.1")).is_none());
        assert!(peers.connect(ip("10.0.0.2")).is_some());
        drop(first);
        assert!(peers.connect(ip("10.0.0.1")).is_some());
        let network = [peers.connect(ip("fd00::1")), peers.connect(ip("fd00::2"))];
        assert!(network.iter().all(Option::is_some));
        assert!(peers.connect(ip("fd00::3")).is_none());
        assert!(peers.connect(ip("fd00:0:0:1::3")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn long_polls_are_a_share_of_their_own() {
        let peers = Arc::new(Peers::new(1, 2, None));
        let first = peers.wait(ip("10.0.0.1"));
        assert!(first.is_some());
        let second = peers.wait(ip("10.0.0.1"));
        assert!(second.is_some());
        assert!(peers.wait(ip("10.0.0.1")).is_none());
        assert!(peers.connect(ip("10.0.0.1")).is_some());
        assert!(peers.wait(ip("10.0.0.2")).is_some());
        drop(second);
        let third = peers.wait(ip("10.0.0.1"));
        assert!(third.is_some());
        assert!(peers.wait(ip("10.0.0.1")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn passwords_of_one_address_leave_places_for_others() {
        let peers = Arc::new(Peers::new(1, 1, None));
        let mine: Vec<_> = (0..5).map(|_| peers.claim(ip("10.0.0.1"))).collect();
        assert_eq!(mine.iter().flatten().count(), PASSWORDS);
        assert!(peers.claim(ip("10.0.0.2")).is_some());
        drop(mine);
        assert!(peers.claim(ip("10.0.0.1")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_of_one_address_leave_most_of_the_queue_to_others() {
        let peers = Arc::new(Peers::new(1, 1, None));
        let [one, two] = ["one", "two"].map(|name| GateName::try_from(name.to_owned()).unwrap());
        let ask = |peer: &str, gate| peers.ask(ip(peer), gate);
        let mine: Vec<_> = (0..QUEUE).map(|_| ask("10.0.0.1", &one)).collect();
        assert_eq!(mine.iter().flatten().count(), QUEUE / 4);
        assert!(ask("10.0.0.2", &one).is_some());
        let other: Vec<_> = (0..QUEUE).map(|_| ask("10.0.0.1", &two)).collect();
        assert_eq!(other.iter().flatten().count(), QUEUE / 4);
        drop(mine);
        assert!(ask("10.0.0.1", &one).is_some() && ask("10.0.0.1", &two).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_come_back_with_time() {
        let peers = Peers::new(1, 1, Some(10));
        let asked = |peer: &str| (0..100).filter(|_| peers.may_ask(ip(peer))).count();
        assert_eq!(asked("10.0.0.1"), 10);
        assert_eq!(asked("10.0.0.2"), 10);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(asked("10.0.0.1"), 5);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(asked("10.0.0.1"), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_are_gone_are_forgotten() {
        let peers = Arc::new(Peers::new(1, 1, Some(10)));
        let stays = peers.connect(ip("10.0.0.1"));
        for number in 0..200_000_u32 {
            let address = IpAddr::from(Ipv6Addr::from(u128::from(number) << 64));
            assert!(peers.may_ask(address));
            if number % 1000 == 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        assert!(peers.lock().peers.len() <= 4 * FEW);
        assert!(peers.connect(ip("10.0.0.1")).is_none());
        drop(stays);
    }
}
