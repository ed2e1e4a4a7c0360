//! HAProxy's side of SPOP on tokio, and `spop`, the command that talks to agents.
