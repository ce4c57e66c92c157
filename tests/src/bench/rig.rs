//! A consortium with members that sign, and transactions signed before they are needed.

use super::cpu;
use super::workload::{Generator, Workload, preparation};
use crate::consortium::Member;
use crate::{Consortium, Plan};
use anyhow::{Context, Result, ensure};
use quorate_client::client::Client;
use quorate_client::client::submit::{DEFAULT_LIFETIME, Signed};
use quorate_genesis::MemberKeys;
use quorate_types::keys::{PublicKey, SecretKey};
use quorate_types::member::Role;
use quorate_types::outcome::Outcome;
use quorate_types::parameters::Parameters;
use quorate_types::transaction::Operation;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How long a transaction may take from its signing to its commit: as long as the chain allows, for it may
/// wait here for its turn.
const LIFETIME: Duration = Duration::from_secs(300);

/// What a rig consists of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Validators.
    pub validators: usize,
    /// Members that sign.
    pub signers: usize,
    /// The chain's parameters.
    pub parameters: Parameters,
}

/// A consortium, and a client for each member that signs. Of these the first few connect, and hand in what
/// all have signed.
pub struct Rig {
    /// The consortium.
    pub consortium: Consortium,
    /// One for each signer.
    pub clients: Vec<Client>,
    keys: Vec<SecretKey>,
}

/// Transactions that were signed, and what that cost.
pub struct Supply {
    /// In the order in which they are to be submitted.
    pub signed: Vec<Signed>,
    /// CPU time of signing all of them.
    pub cpu: Duration,
}

fn member(index: usize) -> String {
    format!("signer-{index:03}")
}

impl Rig {
    /// Founds a consortium in a directory, which must be empty or not there. Nothing runs yet.
    ///
    /// # Errors
    /// If it cannot be founded.
    pub fn found(directory: &Path, setup: &Setup) -> Result<Rig> {
        let mut plan = Plan::of(setup.validators);
        plan.parameters = setup.parameters.clone();
        plan.members
            .extend((0..setup.signers).map(|n| Member { name: member(n), roles: vec![Role::Submitter] }));
        let consortium = Consortium::found(directory, &plan)?;
        let names: Vec<String> = (0..setup.signers).map(member).collect();
        let clients = names.iter().map(|name| consortium.client(name)).collect::<Result<_>>()?;
        let load = |name: &String| Ok(MemberKeys::load(&consortium.keys(name))?.member);
        let keys = names.iter().map(load).collect::<Result<_>>()?;
        Ok(Rig { consortium, clients, keys })
    }

    /// Starts all validators and makes namespaces and accounts.
    ///
    /// # Errors
    /// If a validator is not ready in time, or a step does not apply.
    pub async fn start(&mut self) -> Result<()> {
        self.consortium.start_all().await?;
        for (signer, operations) in preparation(&self.signers(self.clients.len())) {
            let client = self.clients.get(signer).context("a signer")?;
            let receipt = client.submit(&client.sign(operations, DEFAULT_LIFETIME)).await?;
            ensure!(
                *receipt.outcome() == Outcome::Applied,
                "the preparation failed: {:?}",
                receipt.outcome()
            );
        }
        Ok(())
    }

    /// The name of a member that signs.
    pub fn member(&self, signer: usize) -> String {
        member(signer)
    }

    /// The first so many that sign.
    pub fn signers(&self, count: usize) -> Vec<PublicKey> {
        self.keys.iter().take(count).map(SecretKey::public).collect()
    }

    /// Their keys.
    pub fn keys(&self, count: usize) -> &[SecretKey] {
        &self.keys[..count.min(self.keys.len())]
    }

    /// What makes the transactions of a workload.
    ///
    /// # Errors
    /// If there are too few signers for it.
    pub fn generator(&self, workload: Workload, seed: u64) -> Result<Generator> {
        Generator::new(workload, self.signers(workload.signers), seed)
    }

    /// Signs transactions, on as many threads as there are processors, and measures that.
    ///
    /// # Errors
    /// If the system does not tell the time.
    pub fn sign(&self, transactions: Vec<(usize, Vec<Operation>)>) -> Result<Supply> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = transactions.len().div_ceil(threads).max(1);
        let mut transactions = transactions.into_iter();
        let parts: Vec<Vec<_>> = (0..threads).map(|_| transactions.by_ref().take(share).collect()).collect();
        let sign = |part: Vec<(usize, Vec<Operation>)>| {
            cpu::of_thread(|| {
                let sign = |(signer, operations): (usize, _)| self.clients[signer].sign(operations, LIFETIME);
                part.into_iter().map(sign).collect::<Vec<Signed>>()
            })
        };
        let results: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = parts.into_iter().map(|part| scope.spawn(|| sign(part))).collect();
            running.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let mut supply = Supply { signed: Vec::new(), cpu: Duration::ZERO };
        for result in results {
            let (signed, time) = result.map_err(|_| anyhow::anyhow!("a thread that signs panicked"))??;
            supply.signed.extend(signed);
            supply.cpu += time;
        }
        Ok(supply)
    }

    /// Makes and signs so many transactions.
    ///
    /// # Errors
    /// As [`Rig::sign`].
    pub fn supply(&self, generator: &mut Generator, count: usize) -> Result<Supply> {
        self.sign((0..count).map(|_| generator.next_transaction()).collect())
    }
}

impl Supply {
    /// CPU time of signing 1000 transactions, in milliseconds.
    pub fn cpu_per_1000_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.signed.len().max(1) as f64
    }
}
