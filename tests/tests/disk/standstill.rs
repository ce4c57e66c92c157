//! Machines that stand still for a minute, as one that sleeps or swaps: nothing is restarted.

use crate::{SOON, TEST, holds, open_namespace, put, with};
use quorate_client::client::bulk::BulkOptions;
use quorate_tests::{Consortium, Load, Plan};
use std::time::{Duration, Instant};

/// How long they stand still: longer than any connection lives without a word.
const MINUTE: Duration = Duration::from_secs(60);

/// The leader and a follower of seven stand still for a minute while the others go on, and catch up. Then
/// all of them do, and go on: what they held is older than any clock allows for new blocks.
#[test]
fn a_minute_of_standstill() {
    let consortium = Consortium::temporary(&Plan::of(7)).expect("the consortium is founded");
    with(consortium, async |consortium| {
        consortium.start_all().await?;
        open_namespace(consortium).await?;
        let options = BulkOptions { in_flight: 16, lifetime: TEST };
        let mut load = Load::lasting(consortium.client("mill")?, options, put);
        load.progresses(100, SOON).await?;

        let leader = consortium.leader().await?;
        let follower = (leader + 3) % 7;
        let started = Instant::now();
        for index in [leader, follower] {
            consortium.pause(index)?;
        }
        while started.elapsed() < MINUTE {
            load.progresses(100, SOON).await?;
        }
        for index in [leader, follower] {
            consortium.resume(index)?;
        }
        let others = consortium.status((leader + 1) % 7).await?.height;
        for index in [leader, follower] {
            consortium.reaches(index, others, SOON).await?;
            consortium.ready(index).await?;
        }

        for index in 0..7 {
            consortium.pause(index)?;
        }
        // The fault itself takes this long.
        tokio::time::sleep(MINUTE).await;
        for index in 0..7 {
            consortium.resume(index)?;
        }
        load.progresses(500, SOON).await?;
        consortium.all_ready().await?;
        let (_, acknowledged) = load.stop().await?;
        holds(consortium, &acknowledged).await
    });
}
