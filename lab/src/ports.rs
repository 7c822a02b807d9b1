//! One free block of 500 ports per cluster, so that labs on one machine do not collide.
//!
//! | port | what |
//! |---|---|
//! | base + 0 | held by the lab: the reservation |
//! | base + id (1..) | client listener of a broker: what the gate and `bootstrap()` use |
//! | base + 20 + id | inter-broker listener (relays or ACLs only) |
//! | base + 40 + id | real client listener behind the gate's relay (relays only) |
//! | base + 60 + id | listener for load and the lab itself, never cut (relays or ACLs only) |
//! | base + 100 + i (101..) | controller listener of the i-th controller |
//! | base + 140 + i | real controller listener behind the gate's relay (relays only) |
//! | client or controller port + 200 | JMX exporter of that node |
//! | JMX port + 40 | real JMX exporter behind the gate's relay (relays only) |
//! | base + 401 | ZooKeeper |

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Ports per block.
pub const BLOCK: u16 = 500;
/// First and last base tried. The end stays below 32768, where Linux starts to hand out ports for
/// outgoing connections: a node that restarts must find its own port free.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;
/// Most brokers, and most controllers, of one cluster: the distance between two port families.
pub const MOST_NODES: u8 = 19;

/// Why there is no block of ports.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error(
        "find a free block of {BLOCK} ports between {FIRST} and {LAST}: end other labs (`lab down`)"
    )]
    NoneFree,
}

/// A reserved block. The bound socket at `base + 0` is the reservation: the kernel gives it up
/// when the process ends in whatever way, and it holds across cache folders and worktrees.
#[derive(Debug)]
pub struct Block {
    base: u16,
    _reserved: TcpListener,
}

impl Block {
    /// Reserves the first block whose ports are all free, checking the given offsets.
    ///
    /// # Errors
    /// When no block is free.
    pub fn claim(offsets: &[u16]) -> Result<Self, PortError> {
        (FIRST..=LAST)
            .step_by(usize::from(BLOCK))
            .find_map(|base| Self::claim_at(base, offsets))
            .ok_or(PortError::NoneFree)
    }

    fn claim_at(base: u16, offsets: &[u16]) -> Option<Self> {
        let reserved = bind(base).ok()?;
        let free = offsets
            .iter()
            .all(|offset| bind(base.saturating_add(*offset)).is_ok());
        free.then_some(Self {
            base,
            _reserved: reserved,
        })
    }

    pub fn base(&self) -> u16 {
        self.base
    }
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_never_overlap() {
        let one = Block::claim(&[1, 2]).unwrap();
        let two = Block::claim(&[1, 2]).unwrap();
        assert!(one.base().abs_diff(two.base()) >= BLOCK);
        assert!(one.base() + BLOCK <= 32_768 && two.base() + BLOCK <= 32_768);
    }

    #[test]
    fn a_block_with_a_taken_port_is_passed_over() {
        let first = Block::claim(&[1]).unwrap().base();
        let _taken = bind(first + 7).unwrap();
        assert!(Block::claim_at(first, &[7]).is_none());
        assert!(Block::claim_at(first, &[8]).is_some());
    }
}
