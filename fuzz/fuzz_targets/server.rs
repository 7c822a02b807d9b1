#![no_main]

use upgrade_gate_fuzz::{memory::Counting, server};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|input: &[u8]| server::run(input));
