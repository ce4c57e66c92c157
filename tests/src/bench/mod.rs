//! **What a load costs**: the parts of the benchmark `bench`, one subject each.
//!
//! | module | subject |
//! |---|---|
//! | [`workload`] | what the load asks for |
//! | [`rig`] | a consortium with members that sign, and transactions signed beforehand |
//! | [`drive`] | submitting them, saturating or by a schedule, and measuring meanwhile |
//! | [`snapshot`] | everything that is counted at one moment |
//! | [`cpu`] | CPU time of processes, by activity |
//! | [`usage`] | memory, disk and network of processes |
//! | [`metrics`] | what nodes count |
//! | [`floor`] | what the arithmetic alone costs on this machine |
//! | [`profile`] | in which functions the time goes |
//! | [`machine`] | what it was measured on |
//! | [`report`], [`plot`] | what comes out |
//! | [`stats`] | repetitions and percentiles |

pub mod cpu;
pub mod drive;
pub mod floor;
pub mod machine;
pub mod metrics;
pub mod plot;
pub mod profile;
pub mod report;
pub mod rig;
pub mod snapshot;
pub mod stats;
pub mod usage;
pub mod workload;
