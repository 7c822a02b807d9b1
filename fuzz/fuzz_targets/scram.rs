#![no_main]

use upgrade_gate_fuzz::{memory::Counting, scram};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|input: &[u8]| scram::run(input));
