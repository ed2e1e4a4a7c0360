//! SPOP, HAProxy's Stream Processing Offload Protocol: frames, values and connection state without I/O.
