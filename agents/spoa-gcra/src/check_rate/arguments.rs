//! What a message says: whose request it is, which policy it asks for, what it costs.

use spop_server::{Request, TypedData};

use crate::gcra::MAX_COST;
use crate::identity::{Evidence, Header, address};

/// The arguments of one message, borrowed from it. Of several with one name the last counts;
/// those of other names, types or without a value are as good as none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arguments<'a> {
    /// `ip_src`, `ip_xff` and `ip_fwd`.
    pub(super) evidence: Evidence<'a>,
    /// The name of a policy.
    pub(super) policy: Option<&'a [u8]>,
    /// 0 to [`MAX_COST`], as which anything beyond counts.
    pub(super) cost: Option<u64>,
}

impl<'a> Arguments<'a> {
    pub(super) fn read(request: &'a Request) -> Self {
        let mut arguments = Self::default();
        let evidence = &mut arguments.evidence;
        for arg in request.args() {
            match arg.name.as_bytes() {
                b"ip_fwd" => evidence.forwarded = header(arg.value),
                b"ip_xff" => evidence.x_forwarded_for = header(arg.value),
                // HAProxy sends an address; text serves tests by hand.
                b"ip_src" => {
                    evidence.source = arg.value.to_ip().or_else(|| address(arg.value.to_bytes()?));
                }
                b"policy" => arguments.policy = arg.value.to_bytes(),
                // Negative is no cost at all.
                b"cost" => arguments.cost = arg.value.to_u64().map(|cost| cost.min(MAX_COST)),
                _ => {}
            }
        }
        arguments
    }
}

fn header(value: TypedData<'_>) -> Option<Header<'_>> {
    match value.to_ip() {
        Some(ip) => Some(Header::Address(ip)),
        None => value.to_bytes().map(Header::Text),
    }
}
