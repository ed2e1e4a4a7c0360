//! Time of decoding, visiting and encoding, with the published crate `spop` beside it.
//!
//! `cargo xtask bench codec` runs this and prints the ratios.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod support;

use support::BATCH;

fn codec(criterion: &mut Criterion) {
    let small = support::batch(&support::notify());
    let large = support::batch(&support::large_notify());
    let hello = support::hello();
    let frames = Throughput::Elements(BATCH as u64);

    let mut group = criterion.benchmark_group("notify");
    group.throughput(frames.clone());
    let mut input = BytesMut::with_capacity(2 * large.len());
    group.bench_function("decode+visit", |bench| {
        bench.iter(|| support::decode_and_visit(&mut input, black_box(&small)));
    });
    group.bench_function("decode+visit (spop)", |bench| {
        bench.iter(|| support::spop_decode_and_visit(black_box(&small)));
    });
    group.bench_function("decode 2 KiB", |bench| {
        bench.iter(|| support::decode(&mut input, black_box(&large)));
    });
    group.bench_function("decode 2 KiB (spop)", |bench| {
        bench.iter(|| support::spop_decode_and_visit(black_box(&large)));
    });
    group.finish();

    let mut group = criterion.benchmark_group("ack");
    let mut out = BytesMut::with_capacity(64);
    group.bench_function("encode", |bench| {
        bench.iter(|| {
            out.clear();
            support::encode_ack(&mut out);
            black_box(&out);
        });
    });
    group.bench_function("encode (spop)", |bench| {
        bench.iter(support::spop_encode_ack)
    });
    group.finish();

    let mut group = criterion.benchmark_group("connection");
    group.throughput(frames);
    group.bench_function("hello and 16 notify", |bench| {
        bench.iter(|| support::exchange(black_box(&hello), black_box(&small)));
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
