#![no_main]

use upgrade_gate_fuzz::{kafka, memory::Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|input: &[u8]| kafka::run(input));
