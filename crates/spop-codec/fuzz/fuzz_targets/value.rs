//! Any bytes as a value, wherever a frame may hold one: see `spop_codec_fuzz::value`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spop_codec_fuzz::value::check(data));
