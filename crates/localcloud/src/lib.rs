//! A simulated cloud on loopback for tests and the demo.
