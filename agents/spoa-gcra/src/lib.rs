//! An exact, distributed rate limiter for HAProxy: GCRA over Valkey.
