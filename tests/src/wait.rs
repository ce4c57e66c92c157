//! Waiting for conditions, with a deadline.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition of another process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` finds what it looks for, and returns that.
///
/// # Errors
/// If it has not found it within `limit`: `what` was waited for, and what was seen last.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = match look().await {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if started.elapsed() > limit {
            bail!("waited {} s for {what}; last seen: {seen}", limit.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}
