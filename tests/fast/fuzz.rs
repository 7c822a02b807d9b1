//! A smoke over the committed corpora of `fuzz/`: every input as it is, then mutations of them, a
//! fixed number and always the same. The targets themselves are those of cargo-fuzz, included.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library of its own for cargo-fuzz")]
pub(crate) mod targets;

use targets::memory::{Counting, taken};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All targets together have 20 seconds in `scripts/test`; mutations stop at a quarter of that.
const LONGEST: Duration = Duration::from_secs(4);

/// A committed corpus, in a fixed order.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a committed corpus")
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Numbers that are the same on every run (xorshift, by George Marsaglia).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit.max(1)
    }

    /// One to four changes: a byte set, removed or put in, a cut, or a piece of another input.
    fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        const BYTES: [u8; 12] = [
            0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'{', b'}', b' ', b'#', b'9',
        ];
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            let byte = BYTES[self.below(BYTES.len())];
            match self.below(5) {
                _ if input.is_empty() => input.push(byte),
                0 => input[at] = byte,
                1 => drop(input.remove(at)),
                2 => input.insert(at, byte),
                3 => input.truncate(at),
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len());
                    let piece = &other[from..other.len().min(from + self.below(64))];
                    input.splice(at..at, piece.iter().copied());
                }
            }
        }
        input
    }
}

fn smoke(target: &str, mutations: usize, run: fn(&[u8])) {
    let began = Instant::now();
    let corpus = corpus(target);
    assert!(corpus.len() > 50, "{target}: {} inputs", corpus.len());
    for input in &corpus {
        run(input);
    }
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut done = 0;
    while done < mutations && began.elapsed() < LONGEST {
        run(&chance.mutated(&corpus));
        done += 1;
    }
    let took = began.elapsed();
    println!(
        "{target}: {} inputs and {done} mutations in {took:?}",
        corpus.len()
    );
}

#[test]
fn the_allocator_counts() {
    let ((), one) = taken(|| drop(std::hint::black_box(vec![0_u8; 1000])));
    assert_eq!((one.allocations, one.bytes, one.peak), (1, 1000, 1000));
}

#[test]
fn pages() {
    smoke("jmx", 40_000, targets::jmx::run);
}

#[test]
fn answers_of_kafka() {
    smoke("kafka", 100_000, targets::kafka::run);
}

#[test]
fn connections_to_the_server() {
    smoke("server", 10_000, targets::server::run);
}

#[test]
fn configurations() {
    smoke("config", 1_000, targets::config::run);
}
