//! Integration tests over real processes.
