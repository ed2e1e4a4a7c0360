//! Who is denied most: what counting a denial costs, by one client that does not stop, by fewer
//! clients than there are counters, and by so many that nearly each of them takes over another's.

use std::error::Error;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::thread;
use std::time::Instant;

use spoa_gcra::store::Client;
use spoa_gcra::top::{Names, Top};

use crate::checks::default_policy;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Threads that count at the same time, as fast as they can
    #[arg(long, default_value = "1")]
    threads: NonZeroU32,

    /// Denials that each of them counts
    #[arg(long, default_value = "4000000")]
    denials: NonZeroU32,
}

pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut costs = Vec::new();
    for clients in [1, 200, 1_000_000] {
        let nanos = nanos_a_denial(options, clients)?;
        costs.push(format!("\"clients_{clients}\": {nanos}"));
    }
    let reading = nanos_a_reading();
    let costs = costs.join(", ");
    println!("{{\"nanos_a_denial\": {{{costs}}}, \"nanos_a_reading\": {reading}}}");
    Ok(())
}

/// Of each thread's own time, choosing a client at random included.
fn nanos_a_denial(options: &Options, clients: u32) -> Result<f64, Box<dyn Error>> {
    let top = Top::new(Names::Clients, 64);
    let policy = default_policy();
    let count = || {
        let mut random = fastrand::Rng::new();
        let since = Instant::now();
        for _ in 0..options.denials.get() {
            let client = Ipv4Addr::from(random.u32(..clients));
            top.denied(Client(client.into()), &policy, since);
        }
        since.elapsed().as_nanos() as f64 / f64::from(options.denials.get())
    };
    thread::scope(|scope| {
        let threads = (0..options.threads.get()).map(|_| scope.spawn(count));
        let mut sum = 0.0;
        for thread in threads.collect::<Vec<_>>() {
            sum += thread.join().map_err(|_| "a thread panicked")?;
        }
        Ok(sum / f64::from(options.threads.get()))
    })
}

/// With every counter in use.
fn nanos_a_reading() -> f64 {
    const TIMES: u32 = 100;
    let top = Top::new(Names::Clients, 64);
    let policy = default_policy();
    for client in 0..100_000_u32 {
        top.denied(
            Client(Ipv4Addr::from(client).into()),
            &policy,
            Instant::now(),
        );
    }
    let since = Instant::now();
    for _ in 0..TIMES {
        std::hint::black_box(top.json(since));
    }
    since.elapsed().as_nanos() as f64 / f64::from(TIMES)
}
