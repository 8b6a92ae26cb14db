//! Fuzz target, see `rpc.rs` of the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| snapgate_fuzz::rpc::run(data));
