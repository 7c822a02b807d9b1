//! The real program among callers that mean no good, for a moment each; and the long proof of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lab::prove::attacks::{
    CAME_ABOUT, Came, Row, Stand, brokers, callers, descriptors, dripping, handshakes,
    keeps_new_callers_waiting, lacks, pages_for, stopped, there_and_back,
};
use tokio::time::Instant;
use upgrade_gate::server::endpoint::Endpoint;

use crate::proofs::{number, proof};

/// What 99 of 100 answers may take beyond what this machine itself was late by, milliseconds; and what
/// each may. The proof, made on a machine that does nothing else, has 50 ms for each.
const USUAL_MS: f64 = 50.0;
const WORST_MS: f64 = 250.0;

/// The same of [`CAME_ABOUT`] for a moment: what is refused at once, and as many connections as that
/// takes.
const AT_ONCE: [Came; 7] = [
    ("slow headers", 100.0, None),
    ("slow bodies", 100.0, None),
    (
        "10,000 idle connections",
        500.0,
        Some("connections_per_peer"),
    ),
    ("huge headers", 100.0, Some("header_size")),
    ("malformed HTTP", 100.0, None),
    ("a flood of requests", 1.0, None),
    (
        "stalled TLS handshakes",
        500.0,
        Some("connections_per_peer"),
    ),
];

/// A caller and a server that do nothing but answer each other, over a new connection each time, beside
/// the attacks: what they take is this machine's doing and not the gate's.
struct Machine {
    end: Arc<AtomicBool>,
    took: Arc<Mutex<Vec<f64>>>,
}

impl Machine {
    fn watch() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut byte = [0];
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // A caller who is gone ends the test.
                if stream.read_exact(&mut byte).is_err() || stream.write_all(&byte).is_err() {
                    return;
                }
            }
        });
        let end = Arc::new(AtomicBool::default());
        let took = Arc::new(Mutex::new(Vec::new()));
        let (ended, taken) = (Arc::clone(&end), Arc::clone(&took));
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&[0]).unwrap();
                stream.read_exact(&mut [0]).unwrap();
                let spent = began.elapsed();
                taken.lock().unwrap().push(spent.as_secs_f64() * 1000.0);
                thread::sleep(Duration::from_millis(10));
            }
            // So that the server looks up.
            drop(TcpStream::connect(address));
        });
        Self { end, took }
    }

    /// What 99 of 100 answers took at most, and the worst.
    fn late_ms(&self) -> (f64, f64) {
        let mut took = self.took.lock().unwrap().clone();
        took.sort_by(f64::total_cmp);
        let at = |index: usize| took.get(index).copied().unwrap_or_default();
        (at(took.len() * 99 / 100), at(took.len().saturating_sub(1)))
    }

    /// The gate said what it should, in time and with little memory.
    fn judge(&self, row: &Row) {
        let (usual, worst) = self.late_ms();
        assert!(row.ok, "{row:#?}");
        assert!(
            row.check_ms(0.99) < USUAL_MS + usual,
            "{usual} ms: {row:#?}"
        );
        assert!(
            row.worst_check_ms() < WORST_MS + worst,
            "{worst} ms: {row:#?}"
        );
        let in_time = row.worst_new_connection_ms() < WORST_MS + worst;
        assert!(
            in_time || keeps_new_callers_waiting(&row.name),
            "{worst} ms: {row:#?}"
        );
        assert!(row.peak_memory < 256 << 20, "{row:#?}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_mean_no_good_do_not_keep_the_verdict_from_others() {
    let stand = Stand::start(|_| ()).await.unwrap();
    let machine = Machine::watch();
    let rows = callers(&stand, Duration::from_secs(1), &AT_ONCE).await;
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        came_about(&row);
        machine.judge(&row);
    }
}

/// The attack was one.
fn came_about(row: &Row) {
    let of_it = AT_ONCE.iter().find(|(of, ..)| *of == row.name);
    let (_, connections, by) = of_it.unwrap();
    assert!(row.measured["connections_made"] >= *connections, "{row:#?}");
    assert!(by.is_none_or(|by| row.refused(by) > 0), "{row:#?}");
}

#[test]
fn every_attack_that_has_to_come_about_does_so_here_as_well() {
    let names = |all: [Came; 7]| all.map(|(name, ..)| name);
    assert_eq!(names(AT_ONCE), names(CAME_ABOUT));
}

/// An exporter that drips, a gate without file descriptors, and one that was stopped while a broker
/// died: the first answer after that is not the one from before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_targets_nor_the_machine_keep_the_verdict_from_anybody() {
    let stand = Stand::start(|_| ()).await.unwrap();
    let machine = Machine::watch();
    let second = Duration::from_secs(1);
    machine.judge(&dripping(&stand, 2 * second).await.unwrap());
    machine.judge(&descriptors(&stand, 2 * second).await.unwrap());
    // How long the first answer takes is the machine's doing: everything begins anew.
    let row = stopped(&stand, 3 * second, 2 * second).await.unwrap();
    assert!(row.ok, "{row:#?}");
}

/// Exporters and brokers that mean no good; a broker's lies shut the gate at once. A page's may not before
/// the page before it is too old: the proof waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nodes_say_costs_neither_the_verdict_nor_memory() {
    let stand = Stand::start(|_| ()).await.unwrap();
    let machine = Machine::watch();
    let rows = pages_for(&stand, Duration::from_secs(7)).await.unwrap();
    assert_eq!(rows.len(), 4);
    let told = brokers(&stand, Duration::from_secs(5)).await.unwrap();
    assert_eq!(told.len(), 5);
    for row in rows.iter().chain(&told) {
        machine.judge(row);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_stop_half_way_keep_nobody_out() {
    let machine = Machine::watch();
    let row = handshakes(Duration::from_secs(3), &AT_ONCE).await.unwrap();
    came_about(&row);
    machine.judge(&row);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_the_wall_clock_shuts_the_gate_until_all_is_heard_anew() {
    let stand = Stand::start(|_| ()).await.unwrap();
    let row = there_and_back(&stand, -3600, Duration::from_secs(12)).await;
    let row = row.unwrap();
    // That nothing else shuts it meanwhile is for the proof, on a machine that does nothing else.
    for (noticed, again) in [
        ("noticed_s", "open_again_s"),
        ("back_noticed_s", "back_open_again_s"),
    ] {
        assert!(row.measured[noticed] < 5.0, "{row:#?}");
        assert!(row.measured[again] > 2.0, "{row:#?}");
    }
}

/// Every attack, in order.
const ATTACKS: [&str; 23] = [
    "slow headers",
    "slow bodies",
    "10,000 idle connections",
    "huge headers",
    "malformed HTTP",
    "a flood of requests",
    "a gzip bomb as a page",
    "an endless page",
    "a dripping page",
    "a redirect to another host",
    "a frame of 2 GB",
    "a short frame with a huge count",
    "an answer to another question",
    "a broker that never answers",
    CROWD,
    "no file descriptors left",
    "SIGSTOP for 60 s, while a broker dies",
    "stalled TLS handshakes",
    "the wall clock steps by +1 h and back",
    "the wall clock steps by -1 h and back",
    "the wall clock steps while an exporter hangs",
    "a lease runs while the wall clock steps by +1 h",
    "a lease runs while the wall clock steps by -1 h",
];
const CROWD: &str = "an answer that names 100000 brokers";
#[test]
fn the_attack_table_holds() {
    let Some(proof) = proof("attacks") else {
        return;
    };
    let rows = proof["rows"].as_array().expect("rows");
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ATTACKS);
    // Each row has its own peak, not the largest so far.
    let peak = |row: &serde_json::Value| number(row, "/peak_memory");
    let calmer = rows.windows(2).any(|two| peak(&two[1]) < peak(&two[0]));
    assert!(calmer, "peaks that only grow");
    let lacking: Vec<_> = rows.iter().flat_map(lacks).collect();
    assert!(lacking.is_empty(), "{lacking:#?}");
}

#[test]
fn answers_are_what_the_openapi_document_says() {
    let Some(proof) = proof("openapi") else {
        return;
    };
    assert_eq!(number(&proof, "/server_errors"), 0.0);
    assert_eq!(proof["passed"], true);
    assert!(number(&proof, "/requests") >= 1000.0);
    let reader = &proof["to_a_reader"];
    assert!(number(reader, "/requests") >= 1000.0);
    for endpoint in Endpoint::ALL {
        let row = endpoint.row();
        let path = ["{gate}", "{lease}", "{node}"]
            .iter()
            .fold(row.path.to_owned(), |path, name| path.replace(name, "*"));
        for method in row.methods {
            let name = format!("{method} {path}");
            let succeeded = |of: &serde_json::Value| {
                let statuses = of[&name].as_object();
                statuses.is_some_and(|all| all.keys().any(|status| status.starts_with('2')))
            };
            assert!(
                succeeded(&proof["operations"]) || succeeded(&proof["by_hand"]),
                "{name} has never succeeded"
            );
            let lets_readers = succeeded(&reader["operations"]);
            assert!(!endpoint.changes() || !lets_readers, "{name} by a reader");
        }
    }
    // A configuration that could not be used, too.
    assert!(number(&proof["by_hand"]["POST /-/reload"], "/503") >= 1.0);
}
