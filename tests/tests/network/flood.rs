//! A flood from one member.

use crate::{SOON, apply, load, put, with};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use quorate_client::client::submit::Signed;
use quorate_client::protocol::{MAX_RESPONSE_BYTES, Request, Response, Submission, SubmitError};
use quorate_genesis::MemberKeys;
use quorate_tests::consortium::name;
use quorate_tests::network::settings;
use quorate_tests::{Acknowledged, Consortium, Plan};
use quorate_transport::ClientConfig;
use quorate_types::codec;
use quorate_types::transaction::Operation;
use std::time::{Duration, Instant};

/// What one member may have waiting at a validator here.
const QUOTA: i64 = 400;
/// Transactions of the flood that are handed in at once: many times the quota.
const WAVE: usize = 3000;
/// Waves of the flood; each begins when the one before it is settled.
const WAVES: usize = 6;
/// How long a transaction of another member may take meanwhile, on a machine with two busy processors.
/// Alone it takes some hundredths of a second.
const LATENCY: Duration = Duration::from_secs(3);

/// Hands a wave in on one stream, past all manners of the client, and returns how many committed and
/// how many were refused with this member's quota as the reason.
async fn wave(consortium: &Consortium, validator: usize, wave: Vec<Signed>) -> Result<(Acknowledged, usize)> {
    let founding = consortium.founding();
    let details = founding.validator_details().find(|(_, details)| details.name == name(validator));
    let (_, details) = details.context("a validator")?;
    let key = MemberKeys::load(&consortium.keys("mill"))?.member;
    let transport = quorate_transport::Client::new(&key, founding.chain(), ClientConfig::default())?;
    let address = details.address.to_string();
    let connection = transport.connect(&address, details.transport_key, SOON).await?;
    let (mut send, mut receive) = connection.open().await?;
    send.send(codec::encode_bytes(&Request::Submit)).await?;
    let transactions: Vec<Bytes> = wave.iter().map(|signed| signed.bytes().clone()).collect();
    send.send(codec::encode_bytes(&Submission { transactions })).await?;
    send.finish();
    let mut acknowledged = Acknowledged::default();
    let mut refused = 0;
    while let Some(frame) = receive.receive().await? {
        match codec::decode(&frame, MAX_RESPONSE_BYTES)? {
            Response::Committed(batch) => {
                batch.inclusions.verify(&batch.finality.header, &batch.finality.result)?;
                for place in batch.inclusions.places {
                    acknowledged.note(place.record.transaction, batch.finality.header.height);
                }
            }
            Response::Refused { reason: SubmitError::Full(why), .. } => {
                ensure!(why.contains("which is its quota"), "an unclear refusal: {why}");
                refused += 1;
            }
            other => bail!("the flood was answered {other:?}"),
        }
    }
    connection.close();
    transport.shutdown().await;
    ensure!(acknowledged.0.len() + refused == wave.len(), "some were not answered");
    Ok((acknowledged, refused))
}

/// One member hands in many times its quota at every validator: it is refused and told why, while
/// others' transactions commit about as fast as before.
#[test]
fn one_member_floods_and_others_do_not_wait() {
    with(&Plan::of(4), async |consortium| {
        for index in 0..4 {
            settings::change(consortium, index, |table| {
                settings::set(table, "mempool", "max_member_transactions", QUOTA);
            })?;
        }
        consortium.start_all().await?;
        let shop = consortium.client("shop")?;
        let mut acknowledged = Acknowledged::default();
        let opened = apply(&shop, vec![Operation::CreateNamespace { namespace: "shop".into() }]).await?;
        acknowledged.note(opened.id(), opened.height());
        let mill = consortium.client("mill")?;
        let opened = apply(&mill, vec![Operation::CreateNamespace { namespace: "mill".into() }]).await?;
        acknowledged.note(opened.id(), opened.height());

        let mut latencies = async |count: usize, mut on: Box<dyn FnMut() -> bool + '_>| {
            let mut seen = Vec::new();
            while seen.len() < count || on() {
                let began = Instant::now();
                let receipt = apply(&shop, vec![put("shop", "till", seen.len().to_string())]).await?;
                acknowledged.note(receipt.id(), receipt.height());
                seen.push(began.elapsed());
            }
            seen.sort_unstable();
            Ok::<_, anyhow::Error>(seen)
        };
        let calm = latencies(20, Box::new(|| false)).await?;

        let flood = async {
            let (mut committed, mut refused) = (Acknowledged::default(), 0);
            for number in 0..WAVES {
                // At all validators at once; different transactions, so that gossip adds up.
                let sign = |n: usize| {
                    mill.sign(
                        vec![put("mill", format!("{number}-{n}"), vec![7; 400])],
                        Duration::from_secs(60),
                    )
                };
                let waves = [0, 1, 2, 3].map(|validator: usize| {
                    let signed = (0..WAVE).map(|n| sign(validator * WAVE + n)).collect();
                    wave(consortium, validator, signed)
                });
                let [a, b, c, d] = waves;
                let (a, b, c, d) = tokio::try_join!(a, b, c, d)?;
                for (some, turned_away) in [a, b, c, d] {
                    committed.extend(some);
                    refused += turned_away;
                }
            }
            Ok::<_, anyhow::Error>((committed, refused))
        };
        let over = std::cell::Cell::new(false);
        let flood = async {
            let flooded = flood.await;
            over.set(true);
            flooded
        };
        let (flooded, stormy) = tokio::join!(flood, latencies(20, Box::new(|| !over.get())));
        let ((committed, refused), stormy) = (flooded?, stormy?);
        let middle = |seen: &[Duration]| seen[seen.len() / 2].as_millis();
        eprintln!(
            "a flood of {}: {} committed, {refused} refused; another member waits {} ms (median of {}), {} ms at \
             most; before, {} ms and {} ms",
            WAVES * 4 * WAVE,
            committed.0.len(),
            middle(&stormy),
            stormy.len(),
            stormy[stormy.len() - 1].as_millis(),
            middle(&calm),
            calm[calm.len() - 1].as_millis()
        );
        ensure!(refused > WAVES * WAVE, "only {refused} were refused");
        ensure!(!committed.0.is_empty(), "a flood has its quota, and that commits");
        ensure!(stormy[stormy.len() - 1] < LATENCY, "another member waited {:?}", stormy[stormy.len() - 1]);
        acknowledged.extend(committed);

        // When it is over, the member is served as before.
        let mut load = load(consortium, 64).await?;
        load.progresses(100, SOON).await?;
        let (_, more) = load.stop().await?;
        acknowledged.extend(more);
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}
