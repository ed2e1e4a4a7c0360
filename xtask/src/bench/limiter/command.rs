//! The command that decides, as the agent sends it, and valkey-benchmark sending the same.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use spop_client::Client;
use spop_client::spop_codec::TypedData;
use spop_testkit::tools::{Program, Valkey};
use spop_testkit::valkey::Server;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Bench, CLIENTS, agents};

/// Connections of valkey-benchmark, and commands in flight on each.
const CONNECTIONS: &str = "50";
pub(super) const PIPELINE: &str = "64";

/// The commands that a decision can be.
const DECIDES: [&str; 2] = ["EVALSHA", "FCALL"];

/// Whoever asks when the command is looked at.
const CLIENT: [u8; 4] = [192, 0, 2, 7];
const PATIENCE: Duration = Duration::from_secs(30);

/// valkey-benchmark with the agent's command.
pub(super) struct Benchmark {
    program: Program,
    /// The words of the command, with a random key.
    command: Vec<String>,
}

impl Benchmark {
    /// Looks at what an agent sends this server for one request.
    pub(super) async fn like_the_agent(bench: &Bench, server: &Server) -> Result<Self> {
        let sent = timeout(PATIENCE, one_decision(bench, server)).await;
        let sent = sent.context("MONITOR shows no decision")??;
        let client = TypedData::Ipv4(CLIENT.into()).to_ip();
        let client = client.context("an address")?.to_string();
        let command = sent
            .into_iter()
            // It becomes a random number of twelve digits.
            .map(|word| word.replace(&client, "__rand_int__"))
            .collect();
        Ok(Self {
            program: Valkey::find()?.benchmark,
            command,
        })
    }

    /// The command without its key, to be shown: `EVALSHA … 1 KEY 10000 200000`.
    pub(super) fn shown(&self) -> String {
        let words = self.command.iter().map(|word| match word.len() {
            40 => "SHA1",
            _ if word.contains("__rand_int__") => "KEY",
            _ => word,
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Sends so many and says how many a second that was.
    pub(super) async fn run(&self, bench: &Bench, server: &Server, count: u64) -> Result<f64> {
        let mut command = tokio::process::Command::from(self.program.command());
        command
            .args(["-h", "127.0.0.1", "-p", &server.port().to_string()])
            .args(["-c", CONNECTIONS, "-P", PIPELINE])
            .args(["-n", &count.to_string(), "-r", &CLIENTS.to_string()])
            .arg("--csv")
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().context("valkey-benchmark")?;
        if let Some(id) = child.id() {
            bench.pin_load(id)?;
        }
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        match per_second(&said) {
            Some(per_second) if output.status.success() => Ok(per_second),
            _ => bail!(
                "valkey-benchmark: {said}{}",
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}

/// The second number of the last line: `"EVALSHA …","103602.21","30.363",…`
fn per_second(csv: &str) -> Option<f64> {
    let mut fields = csv.lines().last()?.split("\",\"");
    fields.nth(1)?.parse().ok()
}

/// The words of the command that one request becomes.
async fn one_decision(bench: &Bench, server: &Server) -> Result<Vec<String>> {
    let mut monitor = TcpStream::connect(("127.0.0.1", server.port())).await?;
    monitor.write_all(b"MONITOR\r\n").await?;
    let mut lines = BufReader::new(monitor).lines();
    // Its own answer comes before anything that is to be seen.
    lines.next_line().await?;

    let agent = agents::start(bench, &[("VALKEY_NODES", &server.url())]).await?;
    let mut client = Client::connect(agent.addr()).await?;
    loop {
        // Until the agent has found the server, it decides by itself.
        let address = TypedData::Ipv4(CLIENT.into());
        client.notify("check-rate", [("ip_src", address)]).await?;
        let next = timeout(Duration::from_millis(200), async {
            while let Some(line) = lines.next_line().await? {
                if let Some(words) = words(&line)
                    && words.first().is_some_and(|word| DECIDES.contains(&&**word))
                {
                    return Ok(words);
                }
            }
            bail!("MONITOR ended")
        });
        if let Ok(words) = next.await {
            return words;
        }
    }
}

/// Of a line of MONITOR: `+1764000000.123456 [0 127.0.0.1:4711] "EVALSHA" "…" "1" "gcra:…"`
fn words(line: &str) -> Option<Vec<String>> {
    let (_, quoted) = line.split_once("] \"")?;
    let words = quoted.trim_end_matches('"').split("\" \"");
    Some(words.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_monitor_are_read() {
        let line = "+1764000000.123456 [0 127.0.0.1:4711] \"EVALSHA\" \"ab\" \"1\" \"gcra:x\"";
        assert_eq!(words(line).unwrap(), ["EVALSHA", "ab", "1", "gcra:x"]);
        assert_eq!(words("+OK"), None);
    }

    #[test]
    fn what_valkey_benchmark_prints_is_read() {
        let csv =
            "\"test\",\"rps\",\"avg_latency_ms\"\n\"EVALSHA ab 1 k\",\"103602.21\",\"30.363\"\n";
        assert_eq!(per_second(csv), Some(103_602.21));
        assert_eq!(per_second("\"test\",\"rps\"\n"), None);
    }
}
