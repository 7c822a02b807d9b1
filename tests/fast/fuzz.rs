//! A smoke over the committed corpora of `fuzz/`: every input as it is, then mutations of them, a
//! fixed number and always the same. The targets themselves are those of cargo-fuzz, included.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use upgrade_gate::server::endpoint::Endpoint;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library of its own for cargo-fuzz")]
pub(crate) mod targets;

use targets::memory::{Counting, taken};
use targets::server::{Manner, Reached};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All six targets together have 20 seconds in `scripts/test`; mutations of each stop here.
const LONGEST: Duration = Duration::from_secs(3);

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(path)
}

/// A committed corpus, in a fixed order.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = file(&format!("corpus/{target}"));
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
    assert!(corpus.len() > 35, "{target}: {} inputs", corpus.len());
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
fn messages_of_scram() {
    smoke("scram", 40_000, targets::scram::run);
}

#[test]
fn tokens() {
    smoke("token", 100_000, targets::token::run);
}

#[test]
fn configurations() {
    smoke("config", 1_000, targets::config::run);
}

/// What is committed is what the code makes of its tables; `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn what_fuzzing_begins_with_is_made_of_the_tables() {
    let seeds = [
        ("server", targets::server::seeds()),
        ("scram", targets::scram::seeds()),
        ("token", targets::token::seeds()),
    ];
    let dictionary = targets::server::dictionary().into_bytes();
    let mut wanted = vec![(String::from("dictionaries/server"), dictionary)];
    for (target, seeds) in seeds {
        let named = |(name, input)| (format!("corpus/{target}/seed-{name}"), input);
        wanted.extend(seeds.into_iter().map(named));
    }
    for (path, content) in wanted {
        let path = file(&path);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &content).unwrap();
        }
        let there = fs::read(&path).unwrap_or_default();
        assert!(there == content, "{}: UPDATE_GOLDEN=1", path.display());
    }
}

/// Fuzzing of a server is worth what it reaches: every handler with every method, and every answer
/// of the engine through every handler that asks it.
#[test]
fn the_corpus_of_the_server_reaches_every_handler_and_every_answer_of_the_engine() {
    let corpus = corpus("server");
    let reached = corpus.iter().filter_map(|it| targets::server::reached(it));
    let reached: Vec<Reached> = reached.collect();
    let any = |fits: &dyn Fn(&Reached) -> bool| reached.iter().any(fits);
    for endpoint in Endpoint::ALL.iter().copied() {
        let here = |it: &Reached| it.endpoint == Some(endpoint);
        for method in endpoint.row().methods {
            let good = |it: &Reached| here(it) && it.method == *method && it.status == 200;
            assert!(any(&good), "{method} {endpoint:?}");
        }
        if !targets::server::asks(endpoint) {
            continue;
        }
        let refused = |it: &Reached| here(it) && it.asked && (400..500).contains(&it.status);
        assert!(any(&refused), "no {endpoint:?} is refused by the engine");
        for manner in Manner::ALL {
            let asked = |it: &Reached| here(it) && it.asked && it.manner == *manner;
            assert!(
                any(&asked),
                "{endpoint:?} of an engine that answers {manner:?}"
            );
        }
    }
}
