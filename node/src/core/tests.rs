//! Scripted whole nodes in memory.
