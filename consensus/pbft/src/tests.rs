//! Scripted clusters: see `tests/`.
