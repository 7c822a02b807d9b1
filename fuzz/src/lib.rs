//! What each fuzz target does with one input, and what has to hold then.
//!
//! One place, two callers: the targets of cargo-fuzz beside this folder, and `tests/fast/fuzz.rs`,
//! which includes this file and runs the committed corpora and mutations of them on stable.
//! Every `run` panics when something does not hold.

pub mod config;
pub mod jmx;
pub mod kafka;
pub mod memory;
pub mod scram;
pub mod served;
pub mod server;
pub mod token;

/// Does `work` on `input` bytes and demands that it never holds more than `fixed` bytes and
/// `per_byte` for each byte of the input.
///
/// # Panics
/// When it holds more.
fn bounded<T>(fixed: usize, per_byte: usize, input: usize, work: impl FnOnce() -> T) -> T {
    let (done, taken) = memory::taken(work);
    let limit = fixed + per_byte * input;
    let peak = taken.peak;
    assert!(
        peak <= limit,
        "{peak} bytes held for an input of {input}; {limit} are allowed"
    );
    done
}
