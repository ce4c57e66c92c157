//! From a leader's SIGKILL to the next commit.

use crate::context::Bench;
use crate::summary;
use anyhow::{Context, Result, bail};
use quorate_client::client::Options;
use quorate_tests::Load;
use quorate_tests::bench::report::Section;
use quorate_tests::bench::rig::Rig;
use quorate_tests::bench::stats::Spread;
use quorate_tests::bench::workload::put;
use quorate_tests::consortium::name;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Leaders killed at least.
const LEAST: u32 = 5;

/// Transactions in flight meanwhile.
const IN_FLIGHT: usize = 64;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let mut setup = bench.setup(4);
    // Only a killed leader may end its view, or it could not be told what did.
    setup.parameters.term_blocks = u64::MAX;
    let mut rig = bench.start(&setup)?;
    let repetitions = if bench.arguments.quick { 1 } else { bench.arguments.repetitions().max(LEAST) };
    let mut load = Load::start(rig.clients[0].clone(), IN_FLIGHT, |n| vec![put(0, n % 1000, vec![1; 100])]);
    let mut times = Vec::new();
    for repetition in 1..=repetitions {
        bench.progress.say(&format!("leader {repetition} of {repetitions}"));
        let runtime = bench.runtime;
        let took = runtime.block_on(async {
            load.progresses(500, PATIENCE).await?;
            let took = kill_leader(&mut rig).await?;
            load.progresses(500, PATIENCE).await?;
            Ok::<_, anyhow::Error>(took)
        })?;
        times.push(took.as_secs_f64() * 1e3);
    }
    bench.runtime.block_on(load.stop())?;
    bench.close(rig)?;
    let time = Spread::of(times).unwrap_or_default();
    bench.report.headline.view_change_ms = Some(time.median);
    Ok(Section {
        name: "view-change",
        title: "Leader killed",
        text: format!(
            "From the SIGKILL of the leader of four validators, under {IN_FLIGHT} transactions in flight, to the first \
             block of a later view, verified by a client of another validator, in ms, over {repetitions} leaders: {}.\n",
            time.text(0)
        ),
        figures: json!({ "ms": summary::spread(time) }),
        ..Section::default()
    })
}

/// Kills the leader and waits for a block of another view; then lets it come back.
async fn kill_leader(rig: &mut Rig) -> Result<Duration> {
    let consortium = &mut rig.consortium;
    let leader = consortium.leader().await?;
    let witness = (leader + 1) % consortium.len();
    let status = consortium.status(witness).await?;
    let options = Options { nodes: vec![name(witness)], ..Options::default() };
    let client = consortium.client_of("watch", &options)?;
    let mut blocks = client.blocks(status.height, true);
    // The stream is up, and none of its start is measured.
    timeout(PATIENCE, blocks.next()).await??.context("a live stream goes on")?;
    let killed = Instant::now();
    consortium.kill9(leader)?;
    let next = async {
        loop {
            let Some(block) = blocks.next().await? else { bail!("a live stream ended") };
            if block.header().view > status.view {
                return Ok(killed.elapsed());
            }
        }
    };
    let took = timeout(PATIENCE, next).await.context("no block of another view came")??;
    drop(blocks);
    client.shutdown().await;
    consortium.start(leader)?;
    consortium.ready(leader).await?;
    Ok(took)
}
