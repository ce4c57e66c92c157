//! The validators a client may ask, and its connections to them.

use crate::error::Fault;
use quorate_genesis::Founding;
use quorate_genesis::address::Address;
use quorate_transport::{ConnectError, Connection};
use quorate_types::keys::PublicKey;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;

/// One validator, as this client reaches it.
#[derive(Debug)]
pub(super) struct Validator {
    /// Its name in the genesis document, or the address it was given by.
    pub(super) name: String,
    address: String,
    /// The transport keys it may prove: its own, or, at an address that the genesis document does
    /// not know, that of any validator.
    keys: Vec<PublicKey>,
    connection: Mutex<Option<Held>>,
    /// The key that was proved at the last connection.
    proved: std::sync::Mutex<Option<PublicKey>>,
    /// Answers in a row that did not come.
    failures: AtomicU32,
    /// It said something provably false. Never forgotten in this process.
    lied: AtomicBool,
}

/// A connection that does not print itself.
struct Held(Connection);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.0.remote())
    }
}

impl Validator {
    fn new(name: &str, address: String, keys: Vec<PublicKey>) -> Arc<Validator> {
        Arc::new(Validator {
            name: name.to_owned(),
            address,
            keys,
            connection: Mutex::new(None),
            proved: std::sync::Mutex::new(None),
            failures: AtomicU32::new(0),
            lied: AtomicBool::new(false),
        })
    }

    /// A connection that is up, made now if need be.
    pub(super) async fn connect(
        &self,
        transport: &quorate_transport::Client,
        timeout: Duration,
    ) -> Result<Connection, Fault> {
        // Held while connecting, so that many requests at once make one connection.
        let mut held = self.connection.lock().await;
        if let Some(Held(connection)) = &*held
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        let unreachable = |error: &ConnectError| Fault::Unreachable(error.to_string());
        let first = self.keys.first().copied().unwrap_or(PublicKey([0; 32]));
        let (connection, key) = match transport.connect(&self.address, first, timeout).await {
            // At an address of no known validator: whoever is there says who it is.
            Err(ConnectError::WrongKey { proved, .. }) if self.keys.contains(&proved) => {
                (transport.connect(&self.address, proved, timeout).await, proved)
            }
            other => (other, first),
        };
        let connection = connection.map_err(|error| unreachable(&error))?;
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        *held = Some(Held(connection.clone()));
        Ok(connection)
    }

    /// Gives up the connection that is up, if there is one: the next request makes another.
    pub(super) async fn hang_up(&self) {
        if let Some(Held(connection)) = self.connection.lock().await.take() {
            connection.close();
        }
    }

    /// Who it is: the same validator may have been given by two addresses, and is one witness all the same.
    pub(super) fn identity(&self) -> PublicKey {
        let proved = *self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved.or_else(|| self.keys.first().copied()).unwrap_or(PublicKey([0; 32]))
    }

    /// Notes how it behaved, for the order in which validators are asked.
    pub(super) fn note(&self, fault: Option<&Fault>) {
        match fault {
            // Not having something is an answer.
            None | Some(Fault::NotFound | Fault::Refused(_)) => self.failures.store(0, Ordering::Relaxed),
            Some(fault) => {
                tracing::debug!(validator = self.name, %fault, "no use");
                self.failures.fetch_add(1, Ordering::Relaxed);
                if fault.is_lie() && !self.lied.swap(true, Ordering::Relaxed) {
                    tracing::warn!(validator = self.name, %fault, "this validator lies or is broken; asking others");
                }
            }
        }
    }

    fn standing(&self) -> (bool, u32) {
        (self.lied.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    pub(super) fn is_liar(&self) -> bool {
        self.lied.load(Ordering::Relaxed)
    }
}

/// Names a validator that the genesis document does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{node:?} is neither the name of a validator ({known}) nor an address such as 192.0.2.7:26656")]
pub struct UnknownNode {
    /// What was given.
    pub node: String,
    /// The names there are.
    pub known: String,
}

/// The validators to ask: those named, or all of the genesis document.
pub(super) fn validators(founding: &Founding, nodes: &[String]) -> Result<Vec<Arc<Validator>>, UnknownNode> {
    let details = || founding.validator_details().map(|(_, validator)| validator);
    if nodes.is_empty() {
        let all = details().map(|v| Validator::new(&v.name, v.address.to_string(), vec![v.transport_key]));
        return Ok(all.collect());
    }
    let find = |node: &String| {
        if let Some(v) = details().find(|v| v.name == *node || v.address.to_string() == *node) {
            return Ok(Validator::new(&v.name, v.address.to_string(), vec![v.transport_key]));
        }
        if let Ok(address) = node.parse::<Address>() {
            let any = details().map(|v| v.transport_key).collect();
            return Ok(Validator::new(node, address.to_string(), any));
        }
        let known: Vec<&str> = details().map(|v| v.name.as_str()).collect();
        Err(UnknownNode { node: node.clone(), known: known.join(", ") })
    };
    let mut found: Vec<Arc<Validator>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let validator = find(node)?;
        // Named twice, by name and by address perhaps: one to ask all the same.
        if found.iter().all(|known| known.name != validator.name) {
            found.push(validator);
        }
    }
    Ok(found)
}

/// The order in which to ask: the truthful and quick first; among equals, each process its own, so
/// that clients spread over the validators.
pub(super) fn order(validators: &[Arc<Validator>], turn: usize) -> Vec<Arc<Validator>> {
    let mut order: Vec<Arc<Validator>> = validators.to_vec();
    let shift = turn.checked_rem(order.len()).unwrap_or(0);
    order.rotate_left(shift);
    order.sort_by_key(|validator| validator.standing());
    order
}
