//! The job, step by step.

use crate::Arguments;
use crate::input::{self, ASSET, ENDOWMENT, Input, NAMESPACE, SUBMITTERS};
use crate::progress::{Progress, Steps};
use anyhow::{Context, Result, bail, ensure};
use quorate_client::client::Client;
use quorate_client::client::bulk::{BulkOptions, Fate, Landed, Latencies};
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_client::operations::JsonLines;
use quorate_client::receipt_file;
use quorate_client::verify::Anchor;
use quorate_genesis::Founding;
use quorate_genesis::files::{self, Access};
use quorate_ledger::{StateKey, StateValue};
use quorate_tests::consortium::name;
use quorate_tests::packages::{Package, own_lock, packages};
use quorate_tests::{Acknowledged, Audited, Consortium, Plan, audit};
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Transactions of one member that await their receipts at a time.
const IN_FLIGHT: usize = 1024;

/// How long a validator that was away may take to have everything again.
const CATCH_UP: Duration = Duration::from_secs(60);

/// How long after the kill the longest pause between receipts is looked for.
const AFTERMATH: Duration = Duration::from_secs(10);

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::new();
    let directory = &arguments.dir;

    steps.next("Found a consortium: every member its own keys, every validator signs the genesis document");
    let mut consortium = Consortium::found(directory, &Plan::of(4))?;
    let founding = consortium.founding();
    steps.say(&format!("chain {}", founding.chain()));
    for (index, validator) in founding.validator_details() {
        steps.say(&format!("validator {index}: {} at {} (QUIC)", validator.name, validator.address));
    }
    steps.say(&format!(
        "further members: mill and shop, which submit; watch, which audits. All in {}",
        directory.display()
    ));

    steps.next("Start the validators, each a process of its own");
    consortium.start_all().await?;
    for index in consortium.running() {
        steps.say(&format!("{}: process {}, ready", name(index), consortium.pid(index).unwrap_or_default()));
    }

    steps.next("Write the input: the packages of Cargo.lock, and transfers between four members");
    let lock = arguments.lock.clone().unwrap_or_else(own_lock);
    let packages = packages(&lock)?;
    let inputs = input::write(&directory.join("input"), &packages, arguments.transfers)?;
    for input in &inputs {
        steps.say(&format!("{}: {} transactions", input.file.display(), input.lines));
    }
    let mut acknowledged = Acknowledged::default();
    prepare(&consortium, &mut acknowledged).await?;
    steps.say(&format!("acme opens namespace {NAMESPACE:?} and issues asset {ASSET:?}; receipt verified"));

    steps.next(
        "Submit everything, verify every receipt against the genesis document, kill the leader on the way",
    );
    let submitted = submit(&mut consortium, &inputs, &mut acknowledged).await?;
    let Submitted { load, restarted, victim, height_at_kill, .. } = &submitted;
    steps.say(&format!("{} receipts, every one verified, every transaction applied", load.count));

    steps.next(&format!("Watch {} catch up", name(*victim)));
    let top = consortium.height().await?;
    let caught_up = consortium.reaches(*victim, top, CATCH_UP).await?;
    consortium.ready(*victim).await?;
    steps.say(&format!(
        "from block {height_at_kill} to block {} within {:.1} s of its restart; it votes again",
        caught_up.height,
        restarted.elapsed().as_secs_f64()
    ));

    steps.next("Save the receipts of all packages as files, and verify each offline");
    let offline = receipts(&consortium, &directory.join("receipts"), &packages, &submitted.packages).await?;
    steps.say(&format!(
        "{offline} receipts in {}/receipts, verified with the genesis document alone",
        directory.display()
    ));

    steps.next("Read the state, with proofs");
    read(&consortium, &packages).await?;
    steps.say("every package stands as in Cargo.lock; one that was never put is proven absent; no credit was lost or made");

    steps.next("Audit the chain from the outside, as member watch: everything, from the genesis document on");
    let audited = audit_all(&consortium, &acknowledged).await?;
    steps.say(&format!(
        "all {} acknowledged transactions stand on the chain, each once",
        acknowledged.0.len()
    ));

    steps.next("Stop the validators");
    consortium.stop_all().await?;
    steps.say("all ended by themselves, with exit code 0");
    summary(load, &audited);
    Ok(())
}

/// Namespace, asset, and credits to begin with: all in one transaction.
async fn prepare(consortium: &Consortium, acknowledged: &mut Acknowledged) -> Result<()> {
    let client = consortium.client("acme")?;
    let mut operations = vec![
        Operation::CreateNamespace { namespace: NAMESPACE.to_owned() },
        Operation::CreateAsset { asset: ASSET.to_owned() },
    ];
    for member in SUBMITTERS {
        let member = consortium.founding().member_by_name(member).context("a member that was founded")?;
        operations.push(Operation::Mint {
            asset: ASSET.to_owned(),
            to: member.key,
            amount: ENDOWMENT.into(),
        });
    }
    let receipt = client.submit(&client.sign(operations, DEFAULT_LIFETIME)).await?;
    ensure!(*receipt.outcome() == Outcome::Applied, "the preparation failed: {:?}", receipt.outcome());
    acknowledged.note(receipt.id(), receipt.height());
    client.shutdown().await;
    Ok(())
}

/// Counts of the load.
struct Tally {
    count: u64,
    latencies: Latencies,
    took: Duration,
}

/// What submitting everything came to.
struct Submitted {
    load: Tally,
    /// The validator that was killed.
    victim: usize,
    height_at_kill: Height,
    /// When it was started again.
    restarted: Instant,
    /// The transactions of the packages, in their order.
    packages: Vec<TransactionId>,
}

async fn submit(
    consortium: &mut Consortium,
    inputs: &[Input],
    acknowledged: &mut Acknowledged,
) -> Result<Submitted> {
    let total: u64 = inputs.iter().map(|input| input.lines).sum();
    // Bounded by the input, which is ours.
    let (tell, mut landings) = mpsc::unbounded_channel();
    let mut members = JoinSet::new();
    for input in inputs {
        let client = consortium.client(input.member)?;
        members.spawn(submit_file(client, input.member, input.file.clone(), tell.clone()));
    }
    drop(tell);

    let started = Instant::now();
    let mut progress = Progress::new(total);
    let mut latencies = Latencies::default();
    let mut packages: Vec<(u64, TransactionId)> = Vec::new();
    let (mut count, mut killed, mut restarted) = (0, None, None);
    let (mut last, mut longest_pause) = (Instant::now(), Duration::ZERO);
    while let Some((member, landed)) = landings.recv().await {
        let Landed { line, id, fate } = landed;
        let Fate::Committed { height, outcome: Outcome::Applied, latency } = fate else {
            bail!("line {line} of {member}'s input did not apply: {fate:?}");
        };
        acknowledged.note(id, height);
        latencies.record(latency);
        count += 1;
        if member == SUBMITTERS[0] {
            packages.push((line, id));
        }
        if let Some((_, at, _)) = killed
            && Instant::now().duration_since(at) < AFTERMATH
        {
            longest_pause = longest_pause.max(last.elapsed());
        }
        last = Instant::now();
        let rate = rate(count, started.elapsed());
        progress.tell(count, || format!("{rate:.0} tx/s"));

        if killed.is_none() && count * 3 >= total {
            let victim = consortium.leader().await?;
            let height = consortium.status(victim).await?.height;
            consortium.kill9(victim)?;
            killed = Some((victim, Instant::now(), height));
            last = Instant::now();
            progress.say(&format!(
                "kill -9 {}, which leads, after {count} receipts, at block {height}",
                name(victim)
            ));
        }
        if let Some((victim, _, _)) = killed
            && restarted.is_none()
            && count * 3 >= total * 2
        {
            consortium.start(victim)?;
            restarted = Some(Instant::now());
            progress.say(&format!(
                "the others went on: {count} receipts by now; the longest pause was {:.1} s. {} starts again",
                longest_pause.as_secs_f64(),
                name(victim)
            ));
        }
    }
    let took = started.elapsed();
    drop(progress);
    while let Some(member) = members.join_next().await {
        member??;
    }
    ensure!(count == total, "{count} receipts for {total} transactions");
    let (Some((victim, _, height_at_kill)), Some(restarted)) = (killed, restarted) else {
        bail!("too few transactions to kill a validator in the middle; give more --transfers");
    };
    packages.sort_unstable();
    let load = Tally { count, latencies, took };
    let packages = packages.into_iter().map(|(_, id)| id).collect();
    Ok(Submitted { load, victim, height_at_kill, restarted, packages })
}

/// Submits a member's file in the bulk form, and tells what becomes of each line.
async fn submit_file(
    client: Client,
    member: &'static str,
    file: std::path::PathBuf,
    tell: mpsc::UnboundedSender<(&'static str, Landed)>,
) -> Result<()> {
    let input = BufReader::new(File::open(&file)?);
    let lines = JsonLines::new(input, &file.display().to_string(), client.founding().members());
    let options = BulkOptions { in_flight: IN_FLIGHT, lifetime: DEFAULT_LIFETIME };
    let told = client.bulk(lines, &options, |landed, _| {
        // Nobody listens only if the job has failed already.
        let _ = tell.send((member, landed.clone()));
    });
    told.await.with_context(|| format!("{member} could not submit {}", file.display()))?;
    client.shutdown().await;
    Ok(())
}

/// Fetches the receipt of each package, saves it, and checks the file with nothing but the genesis
/// document. How many.
async fn receipts(
    consortium: &Consortium,
    directory: &Path,
    packages: &[Package],
    transactions: &[TransactionId],
) -> Result<u64> {
    fs::create_dir(directory)?;
    let client = consortium.client("watch")?;
    // As somebody would who has only this file and the receipts.
    let anchor = Anchor::of(&Founding::load(&consortium.genesis())?);
    let mut progress = Progress::new(packages.len() as u64);
    let mut count = 0;
    for (package, id) in packages.iter().zip(transactions) {
        let receipt = client.receipt(*id).await?;
        let file = directory.join(format!("{}.json", package.key()));
        files::write_new(&file, &receipt_file::render(&receipt), Access::Public)?;
        let read = receipt_file::parse(&files::read_text(&file)?, &anchor)?;
        let operations = &read.receipt().transaction.transaction.operations;
        let [Operation::Put { key, value, .. }] = operations.as_slice() else {
            bail!("{} holds another transaction", file.display());
        };
        ensure!(
            *key == package.key().into_bytes() && *value == package.value().into_bytes(),
            "{} is of another package",
            file.display()
        );
        count += 1;
        progress.tell(count, || package.key());
    }
    drop(progress);
    client.shutdown().await;
    Ok(count)
}

async fn read(consortium: &Consortium, packages: &[Package]) -> Result<()> {
    let client = consortium.client("watch")?;
    let entry = |key: String| StateKey::Entry { namespace: NAMESPACE.to_owned(), key: key.into_bytes() };
    for package in packages {
        let state = client.read(entry(package.key()), None).await?;
        let Some(StateValue::Entry(found)) = state.value() else {
            bail!("{} is not on the chain", package.key())
        };
        ensure!(found.value == package.value().into_bytes(), "{} stands otherwise", package.key());
    }
    let never_put = client.read(entry("left-pad@1.3.0".to_owned()), None).await?;
    ensure!(never_put.value().is_none(), "a package stands on the chain that nobody put there");
    let mut sum = 0;
    for member in consortium.founding().members() {
        let key = StateKey::Balance { asset: ASSET.to_owned(), member: member.key };
        if let Some(StateValue::Balance(units)) = client.read(key, None).await?.value() {
            sum += units;
        }
    }
    let issued = u128::from(ENDOWMENT) * SUBMITTERS.len() as u128;
    ensure!(sum == issued, "the members hold {sum} credits, and {issued} were issued");
    client.shutdown().await;
    Ok(())
}

async fn audit_all(consortium: &Consortium, acknowledged: &Acknowledged) -> Result<Audited> {
    let client = consortium.client("watch")?;
    let mut progress = Progress::new(consortium.height().await?.0);
    let audited = audit(&client, move |totals| {
        progress.tell(totals.height.0, || format!("blocks, {} transactions", totals.transactions));
    });
    let audited = audited.await?;
    audited.holds(acknowledged)?;
    client.shutdown().await;
    Ok(audited)
}

fn rate(count: u64, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64().max(1e-6)
}

fn summary(load: &Tally, audited: &Audited) {
    let percentile = |per_thousand| {
        let latency = load.latencies.percentile(per_thousand).unwrap_or_default();
        format!("{:.0} ms", latency.as_secs_f64() * 1e3)
    };
    println!();
    for (what, value) in [
        ("transactions", audited.totals.transactions.to_string()),
        ("blocks", audited.totals.height.to_string()),
        ("throughput", format!("{:.0} tx/s, the killed leader included", rate(load.count, load.took))),
        ("latency p50", percentile(500)),
        ("latency p99", percentile(990)),
    ] {
        println!("{what:<14}{value}");
    }
    println!("audit: ok");
}
