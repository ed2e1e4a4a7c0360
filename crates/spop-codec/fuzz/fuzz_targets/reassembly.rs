//! Fragments for the agent's connection, against the NOTIFY that they make: see
//! `spop_codec_fuzz::reassembly`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spop_codec_fuzz::reassembly::check(data));
