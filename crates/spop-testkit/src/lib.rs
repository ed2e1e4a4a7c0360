//! Real HAProxy and Valkey processes for tests and for the demo.
