//! Hours of load with faults: what validators' processes use, and whether it grows.
//!
//! | module | subject |
//! |---|---|
//! | [`sample`] | what one process uses at one time, and the file of samples |
//! | [`growth`] | the rule by which a soak fails |
//! | [`plot`] | the samples as a picture |

pub mod growth;
pub mod plot;
pub mod sample;
