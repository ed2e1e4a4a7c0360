//! Any bytes as a stream of frames: see `spop_codec_fuzz::frame`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spop_codec_fuzz::frame::check(data));
