//! `spop bench`: how fast is an agent, and is it right under load?

mod connection;
mod cpu;
mod in_flight;
mod load;
mod progress;
mod run;
mod schedule;
mod socket;
mod summary;
mod tally;
mod template;
mod timeline;
mod timer;

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::num::NonZero;
use std::str::FromStr;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use fastrand::Rng;
use spop_client::ClientError;
use spop_client::spop_codec::Capabilities;

use self::cpu::CpuTimes;
use self::load::Load;
use self::run::Plan;
use self::schedule::Schedule;
use self::socket::Socket;
pub(crate) use self::summary::Faults;
use self::summary::{Asked, Summary};
use self::template::Template;
use super::address::Address;
use super::argument::Argument;
use super::{Agent, CliError, milliseconds};

/// Puts an agent under load, checks every answer, and says how fast it was.
///
/// Opens connections like HAProxy 3.1 and later and sends the same message over and over.
/// Without --rate, each connection keeps --window NOTIFYs in flight and sends the next as soon
/// as one is answered: how much can the agent do? With --rate, NOTIFYs are due at fixed times
/// whatever the agent does, and latency counts from then: how long do its users wait?
///
/// Each ACK must answer a NOTIFY that is in flight, once. A warm-up comes first, in which all
/// this is checked but not measured.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Bench {
    #[command(flatten)]
    agent: Agent,

    /// How many connections to open
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    connections: u32,

    /// How many NOTIFYs each connection has in flight (with --rate: at most)
    ///
    /// HAProxy itself goes up to 20. If the agent does not announce pipelining it is 1, as in
    /// HAProxy.
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    window: u16,

    /// Send N NOTIFYs a second in all, evenly spaced
    #[arg(long, value_name = "N", help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,

    /// Space them at random instead, as independent clients do (a Poisson process)
    #[arg(long, requires = "rate", help_heading = "Load")]
    jitter: bool,

    /// How long to measure: a number and ms, s or m
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Load")]
    #[arg(value_parser = |text: &str| time(text, Duration::from_millis(1)))]
    duration: Duration,

    /// How long to warm up before
    #[arg(long, value_name = "TIME", default_value = "1s", help_heading = "Load")]
    #[arg(value_parser = |text: &str| time(text, Duration::ZERO))]
    warmup: Duration,

    /// The name of the message [default: check-rate]
    ///
    /// Without --message, --arg and --random-ip, it has the argument ip_src=192.0.2.7.
    #[arg(long, value_name = "NAME", help_heading = "Message")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    message: Option<String>,

    /// An argument of the message, as in `spop notify`: NAME=VALUE, NAME:TYPE=VALUE or
    /// NAME:null; may be repeated
    #[arg(long = "arg", value_name = "ARG", help_heading = "Message")]
    arguments: Vec<Argument>,

    /// Add an argument `payload`, a STRING of this many bytes
    #[arg(long, value_name = "BYTES", help_heading = "Message")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=16_380))]
    payload: Option<u16>,

    /// Add an argument NAME, in each NOTIFY one of COUNT IPv4 addresses from 10.0.0.0 on at
    /// random
    #[arg(long, value_name = "NAME=COUNT", help_heading = "Message")]
    random_ip: Option<RandomIp>,

    /// Where --jitter and --random-ip begin: the same number gives the same times and addresses
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Message")]
    seed: u64,

    /// Measure the CPU time of the agent: its process id on this machine (Linux)
    #[arg(long, help_heading = "Measuring")]
    #[arg(value_parser = process)]
    pid: Option<u32>,

    /// Threads that make the load [default: half the CPUs, because the agent needs some too]
    #[arg(long, value_name = "N", help_heading = "Measuring")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,

    /// Print the summary as one JSON object
    #[arg(long, help_heading = "Measuring")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  How much can it do, and at what cost?
    spop bench 127.0.0.1:9000 --pid \"$(pidof spoa-gcra)\"
  How long do users wait at 10000 requests a second from 65536 clients?
    spop bench 127.0.0.1:9000 --rate 10000 --jitter --random-ip ip_src=65536
  As HAProxy 3.x uses it: many connections with one NOTIFY each
    spop bench 127.0.0.1:9000 --connections 64 --window 1
  A message of your own, with 2 KiB that nobody reads
    spop bench unix:/run/agent.sock --message check-body --arg ip=192.0.2.7 --payload 2048

Prints:
  127.0.0.1:9000: 8 connections, 16 in flight each, closed loop
    throughput  412345 NOTIFY/s over 5.000 s; 17.731 MB/s out, 41.647 MB/s in
    latency     p50 0.264 ms, p90 0.371 ms, p99 0.585 ms, p99.9 1.201 ms, max 4.092 ms
    CPU         agent 2.150 µs a NOTIFY (0.89 cores), spop 0.440 µs a NOTIFY (0.18 cores)
    in all      2474070 sent: 2474070 answered, 0 late, 0 missing; 0 unexpected

  late: answered after --timeout; missing: not answered at all; unexpected: an ACK for what
  nobody asked, or for what was answered before. Percentiles are of the NOTIFYs that were
  answered. Progress goes to standard error. Ctrl-C ends the run early, with its summary.

Exit status:
  0  every NOTIFY was answered once and in time
  1  not so, or the agent ended a connection; one line on standard error says what happened
  2  the command line is wrong";

/// The message if none is given.
const MESSAGE: &str = "check-rate";

impl Bench {
    pub(super) async fn run(&self, out: &mut impl Write) -> Result<(), CliError> {
        let failed = |error| CliError::Agent {
            address: self.agent.address.clone(),
            error,
        };
        let template = self.template().map_err(failed)?;
        let (sockets, window) = self.connect().await.map_err(failed)?;
        let connections = self.load(&template, sockets, window).map_err(failed)?;
        let asked = Asked {
            address: self.agent.address.to_string(),
            message: self.message().to_owned(),
            connections: self.connections,
            window,
            threads: self.threads().min(connections.len()),
            rate: self.rate,
        };
        let plan = Plan {
            connections,
            threads: asked.threads,
            warmup: self.warmup,
            duration: self.duration,
            timeout: self.timeout(),
            pid: self.pid,
        };
        let outcome = run::run(plan).await.map_err(CliError::Start)?;
        let summary = Summary::new(asked, outcome);
        if self.json {
            writeln!(out, "{}", summary.json())?;
        } else {
            summary.print(out)?;
        }
        summary.verdict().map_err(|faults| CliError::Bench {
            address: self.agent.address.clone(),
            faults,
        })
    }

    /// Opens the connections, and settles how many NOTIFYs each has in flight.
    async fn connect(&self) -> Result<(Vec<(Socket, u32)>, usize), ClientError> {
        let mut sockets = Vec::new();
        let mut window = self.window.into();
        for _ in 0..self.connections {
            let (socket, agreed) = Socket::open(&self.agent.address, self.agent.timeout()).await?;
            if !agreed.capabilities.contains(Capabilities::PIPELINING) && window > 1 {
                window = 1;
                // Nowhere is left to say that standard error is gone.
                let why = "the agent does not announce pipelining: one NOTIFY in flight each";
                writeln!(io::stderr(), "spop: {}: {why}", self.agent.address).ok();
            }
            sockets.push((socket, agreed.max_frame_size));
        }
        Ok((sockets, window))
    }

    /// Gives each connection its share of the load.
    fn load(
        &self,
        template: &Template,
        sockets: Vec<(Socket, u32)>,
        window: usize,
    ) -> Result<Vec<(Socket, u32, Load)>, ClientError> {
        let mut rng = Rng::with_seed(self.seed);
        let mut connections = Vec::new();
        for ((socket, limit), number) in sockets.into_iter().zip(0..) {
            let length = template.max_length();
            if length > limit as usize {
                return Err(ClientError::TooBig { length, limit });
            }
            let mut template = template.clone();
            if let Some(ip) = &self.random_ip {
                template = template.with_random_ip(ip.count, rng.fork());
            }
            let schedule = self.rate.map(|rate| {
                let jitter = self.jitter.then(|| rng.fork());
                Schedule::new(rate, self.connections, number, jitter)
            });
            let load = Load::new(template, schedule, window, self.timeout());
            connections.push((socket, limit, load));
        }
        Ok(connections)
    }

    fn template(&self) -> Result<Template, ClientError> {
        let default =
            self.message.is_none() && self.arguments.is_empty() && self.random_ip.is_none();
        let default = default.then_some(("ip_src", Ipv4Addr::new(192, 0, 2, 7).into()));
        let payload = "x".repeat(self.payload.unwrap_or_default().into());
        let payload = self.payload.map(|_| ("payload", payload.as_str().into()));
        let random_ip = self.random_ip.as_ref();
        // Last, as `Template::with_random_ip` wants it.
        let random_ip = random_ip.map(|ip| (ip.name.as_str(), Ipv4Addr::UNSPECIFIED.into()));
        let given = self.arguments.iter().map(Argument::as_pair);
        let args = default
            .into_iter()
            .chain(given)
            .chain(payload)
            .chain(random_ip);
        Ok(Template::new(self.message(), args)?)
    }

    fn message(&self) -> &str {
        self.message.as_deref().unwrap_or(MESSAGE)
    }

    const fn timeout(&self) -> Duration {
        Duration::from_millis(self.agent.timeout)
    }

    fn threads(&self) -> usize {
        let half = || available_parallelism().map_or(1, NonZero::get).div_ceil(2);
        self.threads.map_or_else(half, usize::from)
    }
}

/// `ip_src=65536`: a name and how many addresses there are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RandomIp {
    name: String,
    count: u32,
}

impl FromStr for RandomIp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (name, count) = text.split_once('=')?;
            let count = count
                .parse()
                .ok()
                .filter(|count| (1..=1 << 24).contains(count))?;
            let name = name.to_owned();
            Some(Self { name, count })
        };
        parse().ok_or("expected NAME=COUNT, COUNT from 1 to 16777216, such as ip_src=65536")
    }
}

/// A duration as it is typed: `500ms`, `5s`, `2m`; at least `min`, at most a day.
fn time(text: &str, min: Duration) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let parse = || {
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(unit_at)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(millis)
    };
    let time = parse().map(Duration::from_millis);
    time.filter(|time| (min..=DAY).contains(time))
        .ok_or_else(|| {
            format!("expected a number and ms, s or m, such as 500ms or 5s, from {min:?} to 1440m")
        })
}

/// The id of a process whose CPU time can be read.
fn process(text: &str) -> Result<u32, String> {
    let pid = text.parse().map_err(|_| "expected the id of a process")?;
    match CpuTimes::of(pid) {
        Ok(_) => Ok(pid),
        Err(error) => Err(format!(
            "cannot read the CPU time of process {pid}: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let parse = |text| time(text, Duration::from_millis(1)).ok();
        assert_eq!(parse("1ms"), Some(Duration::from_millis(1)));
        assert_eq!(parse("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse("1440m"), Some(Duration::from_secs(86_400)));
        for bad in [
            "",
            "s",
            "5",
            "0s",
            "1441m",
            "-1s",
            "1.5s",
            "5 s",
            "5h",
            "18446744073709551615m",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(time("0s", Duration::ZERO), Ok(Duration::ZERO));
    }

    #[test]
    fn random_addresses() {
        let parse = |text: &str| text.parse::<RandomIp>().ok().map(|ip| (ip.name, ip.count));
        assert_eq!(parse("ip_src=65536"), Some(("ip_src".to_owned(), 65_536)));
        assert_eq!(parse("=1"), Some((String::new(), 1)));
        for bad in [
            "",
            "ip_src",
            "ip_src=",
            "ip_src=0",
            "ip_src=16777217",
            "ip_src=x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn processes() {
        assert!(process("x").is_err());
        assert!(process("4294967295").is_err());
        #[cfg(target_os = "linux")]
        {
            let own = std::process::id();
            assert_eq!(process(&own.to_string()), Ok(own));
        }
    }
}
