//! A tokio engine for HAProxy SPOE agents: handlers are tower services.
