//! Links that lose, delay, double and reorder, by a proxy in front of each validator.

use crate::{SOON, load, with};
use anyhow::{Result, ensure};
use quorate_tests::consortium::free_addresses;
use quorate_tests::network::proxy::Counts;
use quorate_tests::network::{Faults, Proxy, settings};
use quorate_tests::{Consortium, Plan};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Moves each validator to an address that nobody knows, and puts a proxy where the genesis document
/// says it is. So everyone goes through a proxy: validators that dial each other, and clients.
async fn proxies(consortium: &Consortium, known: &[SocketAddr], seed: u64) -> Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    for (index, (known, hidden)) in known.iter().zip(free_addresses(known.len())?).enumerate() {
        settings::change(consortium, index, |table| {
            table.insert("listen".to_owned(), hidden.to_string().into());
        })?;
        // Far apart, for each dialler of a proxy takes its own.
        let seed = seed.wrapping_add(1000 * index as u64);
        proxies.push(Proxy::start(*known, hidden, seed).await?);
    }
    Ok(proxies)
}

fn counts(proxies: &[Proxy]) -> Counts {
    proxies.iter().flat_map(Proxy::counts).fold(Counts::default(), Counts::plus)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A tenth is lost, each packet takes 20 ms ± 10, a twentieth comes twice, some overtake others: blocks
/// commit all the same. Then each takes half a second, nearly the first view timeout; and then the links
/// are good again.
#[test]
fn loss_delay_duplication_and_reordering() {
    const SEED: u64 = 32;
    let addresses = free_addresses(4).expect("free addresses");
    let plan = Plan { addresses: addresses.clone(), ..Plan::of(4) };
    with(&plan, async |consortium| {
        let proxies = proxies(consortium, &addresses, SEED).await?;
        consortium.start_all().await?;
        let mut load = load(consortium, 16).await?;
        load.progresses(50, SOON).await?;

        let poor = Faults {
            loss: 0.1,
            duplication: 0.05,
            delay: ms(20),
            jitter: ms(10),
            reordering: 0.05,
            held_back: ms(30),
        };
        let slow = Faults { delay: ms(500), jitter: ms(30), ..Faults::default() };
        for (what, faults, receipts) in
            [("poor links", poor, 800), ("slow links", slow, 60), ("good links", Faults::default(), 100)]
        {
            let before = counts(&proxies);
            proxies.iter().for_each(|proxy| proxy.set(faults, faults));
            let began = Instant::now();
            load.progresses(receipts, SOON).await?;
            let after = counts(&proxies);
            let seconds = began.elapsed().as_secs_f64();
            eprintln!("{what}: {receipts} receipts in {seconds:.1} s; in all {after:?}");
            let [received, lost, doubled, overtaken] = [
                after.received - before.received,
                after.lost - before.lost,
                after.duplicated - before.duplicated,
                after.overtaken - before.overtaken,
            ];
            if faults == poor {
                ensure!(received >= 1000, "only {received} datagrams passed");
                let tenth = received / 10;
                ensure!((tenth * 7 / 10..=tenth * 13 / 10).contains(&lost), "{lost} of {received} lost");
                ensure!(doubled > 0 && overtaken > 0, "{doubled} came twice, {overtaken} late");
            }
        }
        consortium.all_ready().await?;
        let (_, acknowledged) = load.stop().await?;
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}
