//! Fuzz target, see `scion_view.rs` of the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| snapgate_fuzz::scion_view::run(data));
