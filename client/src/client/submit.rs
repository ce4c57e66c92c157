//! One transaction, until there is a verified receipt.
//!
//! The same signed bytes go to one validator after another until one proves that they committed, or
//! until they have expired. The ledger applies a transaction once, however often and to whomever it
//! is handed, so resending is safe; a *new* transaction with the same operations would not be.
//!
//! A refusal has no proof. Whoever says it may pass the transaction on all the same, and a member that
//! believed it would submit anew and have the effect twice. So a transaction counts as refused when so many
//! validators refused it for good that one of them is honest; with fewer, nobody knows.

use super::{Client, expect, receive, send, wait_until, wall_clock};
use crate::client::pool::Validator;
use crate::error::{ClientError, Complaint, Complaints, Fault};
use crate::protocol::{CommittedBatch, Request, Response, Submission, SubmitError};
use crate::verify::VerifiedReceipt;
use bytes::Bytes;
use quorate_ledger::Refusal;
use quorate_transport::FrameReceiver;
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Timestamp;
use quorate_types::keys::PublicKey;
use quorate_types::parameters::Parameters;
use quorate_types::receipt::Receipt;
use quorate_types::transaction::{Operation, SignedTransaction, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long a transaction may take to commit, unless the caller or the chain says otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// How long after expiry a receipt is still awaited: a block of the last moment takes time to arrive.
const GRACE: Duration = Duration::from_secs(3);

/// How long a validator that has the transaction may wait for it to commit before another gets it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between rounds over all validators.
const ROUND_PAUSE: Duration = Duration::from_millis(500);

/// Rounds in which nobody could be reached before giving up.
const FRUITLESS_ROUNDS: u32 = 2;

/// A transaction ready to be handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signed {
    id: TransactionId,
    signed: Arc<SignedTransaction>,
    bytes: Bytes,
}

impl Signed {
    /// The id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.signed.transaction
    }

    /// The canonical encoding, as it is handed in.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn expires_at(&self) -> Timestamp {
        self.signed.transaction.expires_at
    }

    /// The receipt that a batch gives for this transaction, unchecked; `None` if it is about another, or about more.
    fn receipt_from(&self, batch: CommittedBatch) -> Option<Receipt> {
        let (_, inclusion) = batch.inclusions.only().filter(|(id, _)| *id == self.id)?;
        Some(Receipt { transaction: (*self.signed).clone(), inclusion, finality: batch.finality })
    }
}

/// What a validator's refusal means for the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// By the ledger's rules it never can commit: an honest validator will vote for no block that holds it.
    ForGood,
    /// Another time perhaps.
    ForNow,
    /// It is known already, and may commit or has.
    Known,
    /// Its time is over. It may have committed before, or stand in a block that is not committed yet.
    Over,
}

pub(super) fn judge_refusal(reason: &SubmitError) -> Refused {
    match reason {
        SubmitError::Refused(Refusal::AlreadyCommitted | Refusal::AlreadyPending) => Refused::Known,
        SubmitError::Refused(Refusal::Expired { .. }) | SubmitError::Expired => Refused::Over,
        SubmitError::Refused(refusal) if !refusal.is_permanent() => Refused::ForNow,
        SubmitError::Invalid(_) | SubmitError::Refused(_) => Refused::ForGood,
        SubmitError::Full(_) | SubmitError::Unavailable(_) => Refused::ForNow,
    }
}

/// Where the transaction stands with one validator.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stand {
    /// Never handed to it: no connection came about.
    Untouched(Fault),
    /// It refused for now.
    Later(Fault),
    /// It has, or may have, the transaction.
    Open(Option<Fault>),
    /// The validator of this key refused for good.
    Refused(PublicKey, Fault),
}

impl Client {
    /// Signs operations as one atomic transaction of this member. It may commit within `lifetime`, or the
    /// longest that every validator takes, whichever is shorter: clocks may differ, and one that is behind
    /// would see the chain's longest lifetime exceeded.
    pub fn sign(&self, operations: Vec<Operation>, lifetime: Duration) -> Signed {
        let founding = self.founding();
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let lifetime = lifetime.min(longest_lifetime_ms(founding.parameters()));
        let transaction = Transaction {
            chain: founding.chain(),
            sender: self.inner.key.public(),
            nonce: rand::random(),
            expires_at: wall_clock().plus_ms(lifetime),
            operations,
        };
        let id = transaction.id();
        let signed = transaction.sign(&self.inner.key);
        let bytes = codec::encode_bytes(&signed);
        Signed { id, signed: Arc::new(signed), bytes }
    }

    /// Hands in a transaction and waits for its verified receipt.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if so many refuse it for good that one of them is honest;
    /// [`ClientError::NotHandedIn`] if nobody can be reached; [`ClientError::Unknown`] if it expired and
    /// nobody gives a receipt. Then it may have committed all the same; ask for its receipt later.
    pub async fn submit(&self, transaction: &Signed) -> Result<VerifiedReceipt, ClientError> {
        let id = transaction.id;
        let enough = self.one_honest();
        let deadline = until(transaction.expires_at()) + GRACE;
        let mut stands: BTreeMap<String, Stand> = BTreeMap::new();
        let mut attempts: JoinSet<(Arc<Validator>, Result<VerifiedReceipt, Stand>)> = JoinSet::new();
        let mut open: Vec<String> = Vec::new();
        let mut waiting = self.order().into_iter();
        let mut next_at = Instant::now();
        let mut fruitless = 0;
        // Told by each attempt once the transaction is with its validator.
        let (tell, mut handed_over) = mpsc::unbounded_channel();
        loop {
            if waiting.len() == 0 && attempts.is_empty() {
                fruitless += 1;
                // With nobody reached it is certain that nobody has it.
                if untouched(&stands) && fruitless >= FRUITLESS_ROUNDS {
                    return Err(verdict(id, &stands, enough));
                }
                // The refusals of this round still count if the next finds nobody.
                waiting = self.order().into_iter();
                next_at = Instant::now() + ROUND_PAUSE;
            }
            tokio::select! {
                biased;
                Some(done) = attempts.join_next() => {
                    let Ok((validator, result)) = done else { continue };
                    open.retain(|name| *name != validator.name);
                    match result {
                        Ok(receipt) => {
                            validator.note(None);
                            self.saw(receipt.height());
                            return Ok(receipt);
                        }
                        Err(stand) => {
                            validator.note(stand.fault());
                            tracing::debug!(validator = validator.name, ?stand, "no receipt");
                            record(&mut stands, &validator.name, stand);
                            if refusals(&stands) >= enough {
                                return Err(verdict(id, &stands, enough));
                            }
                            next_at = next_at.min(Instant::now() + ROUND_PAUSE / 10);
                        }
                    }
                }
                Some(()) = handed_over.recv() => {
                    // A block takes longer than a connection.
                    next_at = next_at.max(Instant::now() + self.inner.timeout.min(PATIENCE));
                }
                () = wait_until(next_at), if waiting.len() > 0 => {
                    let Some(validator) = waiting.next() else { continue };
                    next_at = Instant::now() + self.hedge();
                    // One stream for each validator, in whichever round it was opened.
                    if !open.contains(&validator.name) {
                        open.push(validator.name.clone());
                        let (client, transaction, tell) = (self.clone(), transaction.clone(), tell.clone());
                        attempts.spawn(async move {
                            let result = client.hand_to(&validator, &transaction, &tell).await;
                            (validator, result)
                        });
                    }
                }
                () = sleep_until(deadline) => break,
            }
        }
        for validator in &open {
            record(&mut stands, validator, Stand::Open(None));
        }
        // Once more, now that it is too late for any other block.
        match self.receipt(id).await {
            Ok(receipt) => Ok(receipt),
            Err(_) => Err(verdict(id, &stands, enough)),
        }
    }

    /// Hands the transaction to one validator and waits for what it says, as long as it takes.
    async fn hand_to(
        &self,
        validator: &Validator,
        transaction: &Signed,
        tell: &mpsc::UnboundedSender<()>,
    ) -> Result<VerifiedReceipt, Stand> {
        let mut receiver = self.hand_over(validator, transaction).await?;
        // Fails only when the receipt has come from elsewhere.
        let _ = tell.send(());
        match self.await_receipt(&mut receiver, transaction).await {
            Ok(receipt) => Ok(receipt),
            Err(Fault::Refused(reason)) => {
                match judge_refusal(&reason) {
                    Refused::ForGood | Refused::ForNow => Err(stand_of(validator, reason)),
                    // It may be on the chain: the receipt tells.
                    Refused::Known | Refused::Over => {
                        let request = Request::Receipt(transaction.id);
                        let answer = self.ask_one(validator, &request).await;
                        let receipt =
                            answer.and_then(|response| self.judge_receipt(transaction.id, response));
                        receipt.map_err(|_| stand_of(validator, reason))
                    }
                }
            }
            Err(fault) => Err(Stand::Open(Some(fault))),
        }
    }

    /// Opens a stream and sends the transaction on it.
    async fn hand_over(&self, validator: &Validator, transaction: &Signed) -> Result<FrameReceiver, Stand> {
        let (mut sender, receiver) =
            self.open(validator, &Request::Submit).await.map_err(Stand::Untouched)?;
        let submission = Submission { transactions: vec![transaction.bytes.clone()] };
        send(&mut sender, &submission).await.map_err(|fault| Stand::Open(Some(fault)))?;
        sender.finish();
        Ok(receiver)
    }

    async fn await_receipt(
        &self,
        receiver: &mut FrameReceiver,
        transaction: &Signed,
    ) -> Result<VerifiedReceipt, Fault> {
        let response = receive(receiver).await?;
        match expect(response.ok_or_else(|| Fault::Cut("the stream ended without an answer".to_owned()))?)? {
            Response::Refused { position: 0, reason } => Err(Fault::Refused(reason)),
            Response::Committed(batch) => {
                let receipt = transaction.receipt_from(batch);
                let receipt = receipt.ok_or(Fault::OffTopic { expected: "the transaction handed in" })?;
                Ok(self.anchor().receipt(receipt, Some(transaction.id))?)
            }
            _ => Err(Fault::OffTopic { expected: "a receipt or a refusal" }),
        }
    }

    /// Hands in a transaction without waiting for it to commit: until one validator says that it has
    /// it. Returns that validator's name. Nothing is proven by that.
    ///
    /// # Errors
    /// [`ClientError::Refused`], [`ClientError::NotHandedIn`], or [`ClientError::Unknown`] if nobody says that
    /// it has it, and somebody may.
    pub async fn hand_in(&self, transaction: &Signed) -> Result<String, ClientError> {
        let id = transaction.id;
        let mut stands = BTreeMap::new();
        for validator in self.order() {
            let stand = match self.hand_in_to(&validator, transaction).await {
                Ok(()) => return Ok(validator.name.clone()),
                Err(stand) => stand,
            };
            validator.note(stand.fault());
            stands.insert(validator.name.clone(), stand);
        }
        Err(verdict(id, &stands, self.one_honest()))
    }

    async fn hand_in_to(&self, validator: &Validator, transaction: &Signed) -> Result<(), Stand> {
        let mut receiver = self.hand_over(validator, transaction).await?;
        // That QUIC delivered the bytes does not say that the node has read them, so it is asked. A
        // refusal, or a receipt, may come first.
        let asking = async {
            loop {
                match self.ask_one(validator, &Request::Trace(transaction.id)).await.and_then(expect) {
                    Ok(Response::Trace(_)) => return Ok(()),
                    Ok(_) => return Err(Fault::OffTopic { expected: "a trace" }),
                    Err(Fault::NotFound) => sleep(Duration::from_millis(20)).await,
                    Err(fault) => return Err(fault),
                }
            }
        };
        let told = async {
            tokio::select! {
                asked = asking => asked,
                receipt = self.await_receipt(&mut receiver, transaction) => receipt.map(|_| ()),
            }
        };
        match timeout(self.inner.timeout, told).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Fault::Refused(reason))) => match judge_refusal(&reason) {
                Refused::Known => Ok(()),
                Refused::Over | Refused::ForGood | Refused::ForNow => Err(stand_of(validator, reason)),
            },
            Ok(Err(fault)) => Err(Stand::Open(Some(fault))),
            Err(_) => Err(Stand::Open(Some(Fault::Slow(self.inner.timeout)))),
        }
    }
}

impl Stand {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Stand::Untouched(fault) | Stand::Refused(_, fault) | Stand::Later(fault) => Some(fault),
            Stand::Open(fault) => fault.as_ref(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Stand::Untouched(_) => 0,
            Stand::Later(_) => 1,
            Stand::Open(_) => 2,
            Stand::Refused(..) => 3,
        }
    }
}

/// Where the transaction stands with a validator that refused it.
fn stand_of(validator: &Validator, reason: SubmitError) -> Stand {
    let judged = judge_refusal(&reason);
    // A node that halts, or cannot read, says so of transactions that it has.
    let may_have_it = matches!(reason, SubmitError::Unavailable(_));
    let fault = Fault::Refused(reason);
    match judged {
        Refused::ForGood => Stand::Refused(validator.identity(), fault),
        Refused::ForNow if !may_have_it => Stand::Later(fault),
        Refused::ForNow | Refused::Known | Refused::Over => Stand::Open(Some(fault)),
    }
}

/// Notes where the transaction stands. Whoever once may have had it may still have it, whatever it
/// says later; only a refusal for good, which is about the ledger's rules, stands above that.
fn record(stands: &mut BTreeMap<String, Stand>, validator: &str, stand: Stand) {
    let stand = match stands.remove(validator) {
        Some(Stand::Open(before)) if !matches!(stand, Stand::Refused(..)) => {
            Stand::Open(stand.fault().or(before.as_ref()).cloned())
        }
        Some(before) if before.rank() > stand.rank() => before,
        _ => stand,
    };
    stands.insert(validator.to_owned(), stand);
}

/// How many distinct validators refused for good.
fn refusals(stands: &BTreeMap<String, Stand>) -> usize {
    let by = |stand: &Stand| match stand {
        Stand::Refused(by, _) => Some(*by),
        _ => None,
    };
    stands.values().filter_map(by).collect::<BTreeSet<PublicKey>>().len()
}

/// What it comes to if nothing more is tried. `enough` validators are so many that one of them is honest.
fn verdict(id: TransactionId, stands: &BTreeMap<String, Stand>, enough: usize) -> ClientError {
    let complaints = complaints(stands);
    let may_have_it = stands.values().any(|stand| matches!(stand, Stand::Open(_)));
    // Where none may lie, whoever has no room for it does not have it.
    let all_honest = enough == 1;
    if untouched(stands) {
        ClientError::NotHandedIn { id, complaints }
    } else if refusals(stands) >= enough || (all_honest && !may_have_it) {
        ClientError::Refused { id, complaints }
    } else {
        ClientError::Unknown { id, complaints }
    }
}

fn complaints(stands: &BTreeMap<String, Stand>) -> Complaints {
    let silent = Fault::Cut("no receipt came".to_owned());
    let complaint = |(validator, stand): (&String, &Stand)| Complaint {
        validator: validator.clone(),
        fault: stand.fault().unwrap_or(&silent).clone(),
    };
    Complaints(stands.iter().map(complaint).collect())
}

fn untouched(stands: &BTreeMap<String, Stand>) -> bool {
    stands.values().all(|stand| matches!(stand, Stand::Untouched(_)))
}

/// The longest lifetime that a validator takes whose clock is as far behind as the chain allows.
fn longest_lifetime_ms(parameters: &Parameters) -> u64 {
    let longest = parameters.max_lifetime_ms;
    match longest.saturating_sub(parameters.max_clock_drift_ms) {
        0 => (longest / 2).max(1),
        certain => certain,
    }
}

/// The moment at which this machine's clock will show `time`.
fn until(time: Timestamp) -> Instant {
    let left = time.0.saturating_sub(wall_clock().0);
    // A day is more than any lifetime.
    Instant::now() + Duration::from_millis(left.min(86_400_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_believed_from_enough_distinct_validators() {
        let id = TransactionId::default();
        let down = || Stand::Untouched(Fault::Unreachable("no route".to_owned()));
        let refused = |by: u8| {
            let reason = SubmitError::Refused(Refusal::NotSubmitter);
            Stand::Refused(PublicKey([by; 32]), Fault::Refused(reason))
        };
        let full = || Stand::Later(Fault::Refused(SubmitError::Full("4096 waiting".to_owned())));
        let stands = |stands: Vec<Stand>| -> BTreeMap<String, Stand> {
            stands.into_iter().enumerate().map(|(index, stand)| (index.to_string(), stand)).collect()
        };
        let judge = |given: Vec<Stand>, enough| verdict(id, &stands(given), enough);
        assert!(matches!(judge(vec![down(), down()], 2), ClientError::NotHandedIn { .. }));
        assert!(matches!(judge(vec![refused(1), refused(2), down()], 2), ClientError::Refused { .. }));
        // By the ledger's rules it cannot commit, whoever has it.
        let taken = vec![refused(1), Stand::Open(None), refused(2)];
        assert!(matches!(judge(taken, 2), ClientError::Refused { .. }));
        for too_few in [vec![refused(1), down()], vec![refused(1), full()], vec![full(), full()]] {
            assert!(matches!(judge(too_few, 2), ClientError::Unknown { .. }));
        }
        // One validator that was given by two addresses.
        assert!(matches!(judge(vec![refused(1), refused(1)], 2), ClientError::Unknown { .. }));
        // Where none may lie, one is enough.
        assert!(matches!(judge(vec![refused(1), down()], 1), ClientError::Refused { .. }));
        assert!(matches!(judge(vec![full(), down()], 1), ClientError::Refused { .. }));
        assert!(matches!(judge(vec![full(), Stand::Open(None)], 1), ClientError::Unknown { .. }));
    }

    #[test]
    fn who_may_have_it_is_not_forgotten() {
        let mut stands = BTreeMap::new();
        record(&mut stands, "acme", Stand::Open(Some(Fault::Cut("reset".to_owned()))));
        record(&mut stands, "acme", Stand::Untouched(Fault::Unreachable("down".to_owned())));
        let id = TransactionId::default();
        assert!(matches!(verdict(id, &stands, 1), ClientError::Unknown { .. }));
        // Nor is who refused for good, when it goes down afterwards.
        let reason = SubmitError::Invalid("badly signed".to_owned());
        record(&mut stands, "acme", Stand::Refused(PublicKey([1; 32]), Fault::Refused(reason)));
        record(&mut stands, "acme", Stand::Untouched(Fault::Unreachable("down".to_owned())));
        assert!(matches!(verdict(id, &stands, 1), ClientError::Refused { .. }));
    }

    #[test]
    fn a_lifetime_leaves_room_for_clocks_that_differ() {
        let of = |max_lifetime_ms, max_clock_drift_ms| {
            longest_lifetime_ms(&Parameters { max_lifetime_ms, max_clock_drift_ms, ..Parameters::default() })
        };
        assert_eq!((of(300_000, 10_000), of(10_001, 10_000)), (290_000, 1));
        assert_eq!((of(1000, 1000), of(1000, 5000), of(1, 5000)), (500, 500, 1));
    }

    #[test]
    fn refusals_mean_different_things() {
        let committed = SubmitError::Refused(Refusal::AlreadyCommitted);
        assert_eq!(judge_refusal(&committed), Refused::Known);
        assert_eq!(judge_refusal(&SubmitError::Refused(Refusal::UnknownSender)), Refused::ForGood);
        // A block that is not committed yet may hold it.
        assert_eq!(judge_refusal(&SubmitError::Expired), Refused::Over);
        let (expires_at, time) = (Timestamp(1), Timestamp(2));
        let expired = SubmitError::Refused(Refusal::Expired { expires_at, time });
        assert_eq!(judge_refusal(&expired), Refused::Over);
        // A clock that is behind sees it later.
        let far = SubmitError::Refused(Refusal::TooFarAhead { expires_at: time, latest: expires_at });
        assert_eq!(judge_refusal(&far), Refused::ForNow);
        assert_eq!(judge_refusal(&SubmitError::Unavailable("halted".to_owned())), Refused::ForNow);
    }
}
