//! The policies in force as JSON, for programs: what `/policies` answers.

use serde::Serialize;
use tracing::error;

use super::policies::{Named, Policies, rate};

/// `{"policies": […]}`, by name.
#[derive(Serialize)]
struct Document<'a> {
    policies: Vec<PolicyDocument<'a>>,
}

#[derive(Serialize)]
struct PolicyDocument<'a> {
    name: &'a str,
    messages: &'a [Box<str>],
    /// None: everything passes.
    limits: Vec<LimitDocument<'a>>,
    cost: u64,
    /// `null` where there is nothing to ask for.
    failure: Option<String>,
    shadow: bool,
    lease: Option<LeaseDocument>,
    /// Networks that are always allowed, and those always denied.
    allow: usize,
    deny: usize,
}

#[derive(Serialize)]
struct LimitDocument<'a> {
    /// As in its key and in the header `RateLimit`; `null` for the one of the agent without a
    /// file.
    name: Option<&'a str>,
    /// µs between two requests: exactly what is in force.
    interval_us: u64,
    /// The same in words.
    rate: String,
    /// Requests at once.
    burst: u64,
}

#[derive(Serialize)]
struct LeaseDocument {
    requests: u32,
    ttl_ms: u128,
}

impl Policies {
    /// All of them as a JSON document: `{"policies":[{"name":"default",…}]}`, sorted by name,
    /// with their messages, limits, cost, failure policy, shadow, lease and how many networks
    /// their lists hold.
    pub fn json(&self) -> String {
        let policies = self.all().iter().map(document).collect();
        serde_json::to_string(&Document { policies }).unwrap_or_else(|error| {
            error!(%error, "no policies; this is a defect, please report it");
            "{}".to_owned()
        })
    }
}

fn document(Named { policy, messages }: &Named) -> PolicyDocument<'_> {
    let limits = policy.limits().iter().map(|limit| {
        let quota = limit.quota();
        LimitDocument {
            name: limit.name(),
            interval_us: quota.interval(),
            rate: rate(quota),
            burst: quota.limit(),
        }
    });
    let (allow, deny) = policy.networks.counts();
    PolicyDocument {
        name: &policy.name,
        messages,
        limits: limits.collect(),
        cost: policy.cost,
        failure: (!policy.limits().is_empty()).then(|| policy.failure.to_string()),
        shadow: policy.shadow,
        lease: policy.lease.map(|lease| LeaseDocument {
            requests: lease.tokens(),
            ttl_ms: lease.ttl().as_millis(),
        }),
        allow,
        deny,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::gcra::Quota;
    use crate::policy::{Limit, LimitId, Policy};
    use crate::store::failure::FailurePolicy;

    #[test]
    fn what_is_in_force_is_told() {
        let quota = |interval, burst| Quota::new(interval, burst).unwrap();
        let id = LimitId::new(NonZeroU32::MIN);
        let hour = Limit::named("login.hour", id, quota(36_000_000, 1_800_000_000));
        let login = Policy::new("login", vec![hour]).unwrap();
        let login = Named {
            policy: Arc::new(login.with_failure(FailurePolicy::Closed).with_cost(2)),
            messages: Box::new(["check-login".into()]),
        };
        let free = Named {
            policy: Arc::new(Policy::new("free", Vec::new()).unwrap().with_shadow(true)),
            messages: Box::default(),
        };
        let policies = Policies::new([login, free], || Policy::of_one(quota(10_000, 200_000)));
        let read: Value = serde_json::from_str(&policies.json()).unwrap();
        let plain = json!({
            "messages": [], "cost": 1, "shadow": false, "lease": null, "allow": 0, "deny": 0,
        });
        let with = |more: Value| {
            let mut all = plain.as_object().unwrap().clone();
            all.extend(more.as_object().unwrap().clone());
            Value::Object(all)
        };
        let default = json!({
            "name": null, "interval_us": 10_000, "rate": "100 req/s", "burst": 20,
        });
        let hour = json!({
            "name": "login.hour", "interval_us": 36_000_000, "rate": "1 req every 36 s",
            "burst": 50,
        });
        let expected = json!({ "policies": [
            with(json!({ "name": "default", "limits": [default], "failure": "local" })),
            with(json!({ "name": "free", "limits": [], "failure": null, "shadow": true })),
            with(json!({
                "name": "login", "limits": [hour], "failure": "closed", "cost": 2,
                "messages": ["check-login"],
            })),
        ] });
        assert_eq!(read, expected);
    }
}
