//! `cargo bench -p spoa-ip-reputation`: how long a million networks take to load, what memory
//! they need, and what a lookup costs.
//!
//! A tenth are IPv6, seven in ten of the others single addresses, the rest networks from /16 to
//! /31; in random order, so that they nest as they happen to. Memory is what is asked for: what a
//! process has of it, after several readings, depends on the allocator (`MALLOC_MMAP_THRESHOLD_`).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use fastrand::Rng;
use spoa_ip_reputation::lists::{Lists, Sources};

const NETWORKS: usize = 1_000_000;
const LOOKUPS: usize = 1_000_000;
const ROUNDS: usize = 5;

fn main() {
    let mut rng = Rng::with_seed(7);
    let dir = tempfile::tempdir().unwrap();
    let scores = [100, 50];
    let mut addresses = Vec::new();
    let sources = scores.map(|score| {
        let path = dir.path().join(format!("{score}.txt"));
        let mut file = BufWriter::new(File::create(&path).unwrap());
        for _ in 0..NETWORKS / scores.len() {
            let (address, length) = network(&mut rng);
            writeln!(file, "{address}/{length}").unwrap();
            addresses.push(address);
        }
        file.flush().unwrap();
        (score, path)
    });
    let sources = Sources(sources.into());

    let lists = || Lists::read(&sources).unwrap();
    let loaded: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            black_box(lists());
            begin.elapsed()
        })
        .collect();
    let mut last = None;
    let memory = measure(|| last = Some(lists()));
    let lists = last.unwrap();
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let (stays, most) = (memory.bytes_current as f64, memory.bytes_max as f64);
    println!("{NETWORKS} networks, {ROUNDS} rounds");
    println!(
        "load, text to table  {} ms (best {} ms)",
        middle(loaded.clone()).as_millis(),
        loaded.iter().min().unwrap().as_millis()
    );
    println!("memory               {:.1} MiB", mib(stays));
    println!("memory while loading {:.1} MiB", mib(most));

    for (what, listed) in [("of listed addresses", true), ("of any addresses", false)] {
        let asked: Vec<IpAddr> = (0..LOOKUPS)
            .map(|_| {
                if listed {
                    addresses[rng.usize(..addresses.len())]
                } else {
                    network(&mut rng).0
                }
            })
            .collect();
        let times = (0..ROUNDS).map(|_| {
            let begin = Instant::now();
            for address in &asked {
                black_box(lists.score(black_box(*address)));
            }
            begin.elapsed()
        });
        let each = middle(times.collect()).as_nanos() / LOOKUPS as u128;
        println!("lookups              {each} ns, {what}");
    }
}

fn network(rng: &mut Rng) -> (IpAddr, u8) {
    if rng.u8(..10) == 0 {
        let address = Ipv6Addr::from_bits(rng.u128(..) >> 3 | 1 << 125);
        return (address.into(), [32, 48, 64, 128][rng.usize(..4)]);
    }
    let length = if rng.u8(..10) < 7 { 32 } else { rng.u8(16..32) };
    (Ipv4Addr::from_bits(rng.u32(..)).into(), length)
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
