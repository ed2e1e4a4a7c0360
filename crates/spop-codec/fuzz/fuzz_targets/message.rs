//! Any bytes as the payload of a NOTIFY: see `spop_codec_fuzz::message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spop_codec_fuzz::message::check(data));
