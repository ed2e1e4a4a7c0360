//! A script of bytes, answers and time for the agent's connection: see `spop_codec_fuzz::connection`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spop_codec_fuzz::connection::check(data));
