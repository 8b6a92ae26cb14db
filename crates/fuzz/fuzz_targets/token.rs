//! Fuzz target, see `token.rs` of the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| snapgate_fuzz::token::run(data));
