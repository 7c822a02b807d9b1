#![no_main]

use upgrade_gate_fuzz::{memory::Counting, token};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|input: &[u8]| token::run(input));
