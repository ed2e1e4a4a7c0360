//! Any bytes as an integer: see `spop_codec_fuzz::varint`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spop_codec_fuzz::varint::check(data));
