//! A script for both connections, one against the other: see
//! `spop_codec_fuzz::pair`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spop_codec_fuzz::pair::check(data));
