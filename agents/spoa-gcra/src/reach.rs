//! What an agent with these settings would reach, asked without serving: addresses to listen
//! on, and Valkey.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use spoa_process::{Listen, listen_spop};
use spop_server::Endpoint;
use tokio::time::timeout;

use crate::settings::{Settings, ValkeyNode};
use crate::store::valkey::{Call, Rehearsal};

/// For each Valkey node, and then for each primary; all of a kind are asked at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of one address. Its text form is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The variable, and the address as it may be shown; or a primary that a node named.
    pub what: String,
    /// What was found, or what is in the way.
    pub found: Result<String, String>,
}

impl Finding {
    /// Whether an agent could use it.
    pub fn is_good(&self) -> bool {
        self.found.is_ok()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Ok(found) => write!(f, "{}: {found}", self.what),
            Err(error) => write!(f, "{}: OUT OF REACH: {error}", self.what),
        }
    }
}

/// Tries all of them. Takes a few seconds at most.
pub async fn all(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![spop(settings).await];
    findings.extend(admin(settings).await);
    findings.extend(valkey(settings).await);
    findings
}

async fn spop(settings: &Settings) -> Finding {
    let found = if let Listen::At(Endpoint::Inherited(_)) = &settings.listen {
        Ok("systemd is to listen there".to_owned())
    } else {
        let listener = listen_spop(&settings.listen).await;
        listener.map(free).map_err(|error| {
            let said = error.to_string();
            // It begins with the variable, which is shown anyway.
            let reason = said.split_once(": ").map(|(_, reason)| reason.to_owned());
            reason.unwrap_or(said)
        })
    };
    Finding {
        what: format!("SPOE_ADDR {}", settings.listen),
        found,
    }
}

async fn admin(settings: &Settings) -> Option<Finding> {
    let addr = settings.admin.addr()?;
    let listener = tokio::net::TcpListener::bind(addr).await;
    Some(Finding {
        what: format!("SPOA_ADMIN_ADDR {addr}"),
        found: match listener {
            Ok(listener) => Ok(free(listener)),
            Err(error) if settings.admin.is_required() => Err(format!("cannot listen: {error}")),
            Err(error) => Ok(format!("would go on without metrics: {error}")),
        },
    })
}

/// It is given back.
fn free<L>(_listener: L) -> String {
    "can be listened on".to_owned()
}

/// The nodes, and the primaries that they name.
async fn valkey(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut primaries: Vec<Rehearsal> = Vec::new();
    let only = settings.valkey.len() == 1;
    let nodes = settings.valkey.iter().map(|one| node(one, only));
    for (finding, named) in join_all(nodes).await {
        findings.push(finding);
        primaries.extend(named);
    }
    primaries.sort_by_key(Rehearsal::primary);
    primaries.dedup_by_key(|rehearsal| rehearsal.primary());
    let call = settings.valkey_call;
    let asked = primaries.iter().map(|one| primary(one, call));
    findings.extend(join_all(asked).await);
    findings
}

/// `only`: there is no other.
async fn node(node: &ValkeyNode, only: bool) -> (Finding, Vec<Rehearsal>) {
    let begin = Instant::now();
    let asked = in_time(Rehearsal::named_by(&node.info)).await;
    let (found, named) = match asked {
        // Agents use none of several: each would allow the whole limit.
        Ok(named) if !only && !named.iter().all(Rehearsal::is_in_cluster) => {
            let error = "it is a single server, and not the only one in VALKEY_NODES";
            (Err(error.to_owned()), Vec::new())
        }
        Ok(named) => (Ok(format!("answered in {:.1?}", begin.elapsed())), named),
        Err(error) => (Err(error), Vec::new()),
    };
    let what = format!("VALKEY_NODES {node}");
    (Finding { what, found }, named)
}

async fn primary(rehearsal: &Rehearsal, call: Call) -> Finding {
    let asked = in_time(rehearsal.run(call)).await;
    Finding {
        what: format!("primary {}", rehearsal.primary()),
        found: asked.map(|()| "would decide".to_owned()),
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let asked = timeout(PATIENCE, asked).await;
    asked.unwrap_or_else(|_elapsed| Err(format!("no answer within {PATIENCE:?}")))
}
