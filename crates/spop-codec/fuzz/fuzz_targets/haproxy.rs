//! A script of questions, bytes and time for HAProxy's connection: see
//! `spop_codec_fuzz::haproxy`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spop_codec_fuzz::haproxy::check(data));
