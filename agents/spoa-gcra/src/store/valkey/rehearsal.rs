//! What a decision needs of a primary, asked for one by one without deciding anything: a way
//! to it, and rights. Nothing is written.

use redis::aio::MultiplexedConnection;
use redis::cluster_routing::Slot;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, ServerError, Value,
    cmd,
};

use super::connector::reason;
use super::layout::{Layout, told};
use super::script::{Call, LOAD, Reply, rehearsed};
use super::tls::provide_cryptography;

/// Keys to look for one of a slot among. Each slot is that of one of 16 384, on average.
const KEYS: u32 = 1 << 20;

/// A primary that decisions would be asked of.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    info: ConnectionInfo,
    /// No client's, and in a slot of the primary's.
    key: String,
    in_cluster: bool,
}

impl Rehearsal {
    /// Asks a node whom decisions would be asked of: itself, or the primaries of its cluster.
    /// Waits for as long as that takes.
    ///
    /// # Errors
    /// Why there is no usable answer, as text.
    pub async fn named_by(node: &ConnectionInfo) -> Result<Vec<Self>, String> {
        provide_cryptography();
        let connection = connect(node).await.map_err(|error| reason(&error))?;
        let (layout, _) = told(connection, node).await?;
        let Layout::Cluster(assignments) = layout else {
            return Ok(vec![Self {
                info: node.clone(),
                key: key(0),
                in_cluster: false,
            }]);
        };
        let mut primaries: Vec<Self> = Vec::new();
        for assignment in assignments {
            let info = assignment.primary.connection_info(node);
            if primaries
                .iter()
                .all(|known| known.info.addr() != info.addr())
            {
                primaries.push(Self {
                    info,
                    key: key_in(*assignment.slots.start()),
                    in_cluster: true,
                });
            }
        }
        Ok(primaries)
    }

    /// The primary, as `host:port`.
    pub fn primary(&self) -> String {
        self.info.addr().to_string()
    }

    /// Whether it is a cluster's, and not a single server.
    pub fn is_in_cluster(&self) -> bool {
        self.in_cluster
    }

    /// Asks for all that a decision by `call` needs. Waits for as long as that takes.
    ///
    /// # Errors
    /// What is in the way, as text: all the rights that the user lacks, as the server writes
    /// them, or else the first error.
    pub async fn run(&self, call: Call) -> Result<(), String> {
        provide_cryptography();
        let needs = self.needs(call);
        let mut commands = Pipeline::with_capacity(needs.len());
        for (_, command) in &needs {
            commands.add_command(command.clone());
        }
        let replies = async {
            let mut connection = connect(&self.info).await?;
            let said = connection.send_packed_commands(&commands, 0, needs.len());
            said.await
        };
        let replies = replies.await.map_err(|error| reason(&error))?;
        let mut missing: Vec<&str> = Vec::new();
        let mut refused = None;
        for ((right, _), reply) in needs.iter().zip(replies) {
            let Value::ServerError(error) = &reply else {
                continue;
            };
            if let Some(right) = lacking(right, error) {
                if !missing.contains(&right) {
                    missing.push(right);
                }
            } else if *right != LOAD && !is_dealt_with(&reply) {
                let command = right.trim_start_matches('+').to_uppercase();
                refused.get_or_insert_with(|| format!("answered {} to {command}", error.code()));
            }
        }
        if !missing.is_empty() {
            return Err(format!("the user lacks {}", missing.join(" ")));
        }
        refused.map_or(Ok(()), Err)
    }

    /// Each right with a command that takes it.
    fn needs(&self, call: Call) -> Vec<(&'static str, Cmd)> {
        let mut get = cmd("GET");
        get.arg(&self.key);
        // XX: only if it is there, which it is not.
        let mut set = cmd("SET");
        set.arg(&self.key).arg(0).arg("XX").arg("PX").arg(1);
        let mut needs = vec![("+time", cmd("TIME")), ("+get", get), ("+set", set)];
        needs.extend(rehearsed(call, &self.key));
        if self.in_cluster {
            // Last: it is about the command after it.
            needs.push(("+asking", cmd("ASKING")));
        }
        needs
    }
}

/// The right that this error says is missing, of a command that takes `right`.
fn lacking(right: &'static str, error: &ServerError) -> Option<&'static str> {
    let about_keys = error
        .details()
        .is_some_and(|said| said.contains(" to access "));
    match error.code() {
        "NOPERM" if about_keys => Some("~gcra:*"),
        "NOPERM" => Some(right),
        _ => None,
    }
}

/// Whether a store has an answer to this error: it gives the server the script, or follows the
/// slot.
fn is_dealt_with(reply: &Value) -> bool {
    let read = Reply::read(reply.clone(), 1, "");
    matches!(read, Reply::NoScript | Reply::Moved(_) | Reply::Ask(_))
}

/// For who waits himself.
async fn connect(info: &ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let client = Client::open(info.clone())?;
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// No address, so no client's.
fn key(number: u32) -> String {
    format!("gcra:check-{number}")
}

/// Such a key in this slot.
fn key_in(slot: u16) -> String {
    let is_there = |key: &String| Slot::new(slot) == Some(Slot::for_key(key));
    let found = (0..KEYS).map(key).find(is_there);
    // Of another slot the primary says so.
    found.unwrap_or_else(|| key(0))
}

#[cfg(test)]
mod tests {
    use super::super::layout::SLOTS;
    use super::*;

    #[test]
    fn there_is_a_key_in_each_slot() {
        for slot in [0, 1, 5460, SLOTS - 1] {
            assert_eq!(Some(Slot::for_key(key_in(slot))), Slot::new(slot));
        }
    }
}
