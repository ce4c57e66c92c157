//! A client of a chain: asks validators, checks what they say, and asks others when one is down,
//! slow or lying.
//!
//! # How a question is asked
//!
//! One validator is asked first. When it fails, or is silent for the *hedge* time, the next is asked
//! too; the first answer that verifies wins. An answer that does not verify marks its validator as a
//! liar, which is asked last from then on. An answer that calls an older block the latest than this
//! client has verified counts as no answer. If nobody gives one that verifies, the error lists what
//! each did. What has no proof, that there is no such thing or that a transaction is refused, is believed
//! when so many validators say it that one of them is honest.
//!
//! | module | subject |
//! |---|---|
//! | [`submit`] | one transaction until its verified receipt |
//! | [`bulk`] | streams of them |
//! | [`blocks`] | the blocks from a height on, live or to the end |
//! | `pool` | validators and connections |

pub mod blocks;
pub mod bulk;
mod pool;
pub mod submit;

use crate::error::{ClientError, Complaint, Complaints, Fault};
use crate::protocol::{MAX_RESPONSE_BYTES, NodeStatus, Request, Response, SubmitError, Trace};
use crate::verify::{Anchor, VerifiedBlock, VerifiedReceipt, VerifiedState};
pub use pool::UnknownNode;
use pool::Validator;
use quorate_genesis::Founding;
use quorate_ledger::StateKey;
use quorate_transport::{ClientConfig, FrameReceiver, FrameSender, StreamError};
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::{Height, Timestamp};
use quorate_types::keys::SecretKey;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names or addresses of the validators to ask; empty for all in the genesis document.
    pub nodes: Vec<String>,
    /// How long one validator may take to connect, or to answer.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { nodes: Vec::new(), timeout: Duration::from_secs(10) }
    }
}

/// How long a validator may be silent before another is asked as well.
const MAX_HEDGE: Duration = Duration::from_millis(750);

/// Milliseconds that a client being shut down waits for its own tasks to end.
const LETTING_GO: u32 = 100;

/// A client of one chain, as one member. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    founding: Arc<Founding>,
    anchor: Anchor,
    key: SecretKey,
    transport: quorate_transport::Client,
    validators: Vec<Arc<Validator>>,
    timeout: Duration,
    /// The highest height that this process has verified.
    highest: AtomicU64,
    turn: AtomicUsize,
}

impl Client {
    /// A client of the chain that `founding` founds, as the member whose key this is. Connects to
    /// nobody yet. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Misconfigured`] if the key is no member's or a node is unknown;
    /// [`ClientError::Setup`] if no port can be opened.
    pub fn new(founding: Arc<Founding>, key: SecretKey, options: &Options) -> Result<Client, ClientError> {
        if founding.member_by_key(&key.public()).is_none() {
            return Err(ClientError::Misconfigured(format!(
                "the key {} belongs to no member of chain {}",
                key.public(),
                founding.name()
            )));
        }
        let validators = pool::validators(&founding, &options.nodes)
            .map_err(|error| ClientError::Misconfigured(error.to_string()))?;
        let transport = quorate_transport::Client::new(&key, founding.chain(), ClientConfig::default())
            .map_err(|error| ClientError::Setup(format!("no network: {error}")))?;
        let anchor = Anchor::of(&founding);
        let inner = Inner {
            founding,
            anchor,
            key,
            transport,
            validators,
            timeout: options.timeout,
            highest: AtomicU64::new(0),
            turn: AtomicUsize::new(rand::random::<u16>().into()),
        };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// The genesis document.
    pub fn founding(&self) -> &Arc<Founding> {
        &self.inner.founding
    }

    /// What answers are checked against.
    pub fn anchor(&self) -> &Anchor {
        &self.inner.anchor
    }

    /// The highest height this client has verified.
    pub fn highest(&self) -> Height {
        Height(self.inner.highest.load(Ordering::Relaxed))
    }

    fn saw(&self, height: Height) {
        self.inner.highest.fetch_max(height.0, Ordering::Relaxed);
    }

    /// The validators in the order to ask them now.
    fn order(&self) -> Vec<Arc<Validator>> {
        let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed);
        pool::order(&self.inner.validators, turn)
    }

    /// The least number of distinct validators among which one is honest: what has no proof is believed from
    /// no fewer.
    fn one_honest(&self) -> usize {
        self.anchor().validators().quorum().one_honest()
    }

    fn hedge(&self) -> Duration {
        (self.inner.timeout / 3).min(MAX_HEDGE)
    }

    /// Opens a stream to a validator and sends the first frame.
    async fn open(
        &self,
        validator: &Validator,
        request: &Request,
    ) -> Result<(FrameSender, FrameReceiver), Fault> {
        let connection = validator.connect(&self.inner.transport, self.inner.timeout).await?;
        let opening = async {
            let (mut sender, receiver) = connection.open().await?;
            sender.send(codec::encode_bytes(request)).await?;
            Ok::<_, StreamError>((sender, receiver))
        };
        match timeout(self.inner.timeout, opening).await {
            Ok(opened) => opened.map_err(|error| cut(&error)),
            Err(_) => {
                // The path may be gone although QUIC has not noticed; the next try starts afresh.
                connection.close();
                Err(Fault::Slow(self.inner.timeout))
            }
        }
    }

    /// Asks one validator a question with one answer.
    async fn ask_one(&self, validator: &Validator, request: &Request) -> Result<Response, Fault> {
        let (mut sender, mut receiver) = self.open(validator, request).await?;
        sender.finish();
        match timeout(self.inner.timeout, receive(&mut receiver)).await {
            Ok(response) => response?.ok_or_else(|| Fault::Cut("no answer came".to_owned())),
            Err(_) => Err(Fault::Slow(self.inner.timeout)),
        }
    }

    /// Asks one validator after the other until an answer passes `judge`.
    async fn ask<T, J>(&self, wanted: String, request: Request, judge: J) -> Result<T, ClientError>
    where
        T: Send + 'static,
        J: Fn(&Client, Response) -> Result<T, Fault> + Send + Sync + 'static,
    {
        let request = Arc::new(request);
        let judge = Arc::new(judge);
        let mut waiting = self.order().into_iter();
        let asked = waiting.len();
        let mut attempts = JoinSet::new();
        let mut complaints = Complaints::default();
        let mut without = BTreeSet::new();
        let mut hedge = Instant::now();
        loop {
            let more = waiting.len() > 0;
            if attempts.is_empty() && !more {
                let enough = without.len() >= self.one_honest();
                return Err(unanswered(wanted, asked, enough, complaints));
            }
            tokio::select! {
                biased;
                Some(done) = attempts.join_next() => {
                    // A task that panicked or was aborted has nothing to say.
                    let Ok((validator, answer)) = done else { continue };
                    let validator: Arc<Validator> = validator;
                    let answer: Result<T, Fault> = answer;
                    validator.note(answer.as_ref().err());
                    match answer {
                        Ok(answer) => return Ok(answer),
                        Err(fault) => {
                            if fault == Fault::NotFound {
                                without.insert(validator.identity());
                            }
                            complaints.0.push(Complaint { validator: validator.name.clone(), fault });
                            hedge = Instant::now();
                        }
                    }
                }
                () = wait_until(hedge), if more => {
                    if let Some(validator) = waiting.next() {
                        let (client, request, judge) = (self.clone(), Arc::clone(&request), Arc::clone(&judge));
                        attempts.spawn(async move {
                            let answer = client.ask_one(&validator, &request).await;
                            let answer = answer.and_then(|response| judge(&client, response));
                            (validator, answer)
                        });
                    }
                    hedge = Instant::now() + self.hedge();
                }
            }
        }
    }

    /// What the state holds at `key`, proven, at a height or the latest.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`], or [`ClientError::NotFound`] if nobody has that height.
    pub async fn read(&self, key: StateKey, height: Option<Height>) -> Result<VerifiedState, ClientError> {
        let wanted = match height {
            Some(height) => format!("state at height {height}"),
            None => "state".to_owned(),
        };
        let request = Request::Read { key: key.clone(), height };
        self.ask(wanted, request, move |client, response| {
            let Response::State { proof, finality } = expect(response)? else {
                return Err(Fault::OffTopic { expected: "a proof of the state" });
            };
            let state = client.anchor().state(&key, height, &proof, &finality)?;
            client.accept_latest(height, state.height())?;
            Ok(state)
        })
        .await
    }

    /// The receipt of a transaction.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] or [`ClientError::NoAnswer`].
    pub async fn receipt(&self, id: TransactionId) -> Result<VerifiedReceipt, ClientError> {
        let wanted = format!("receipt of transaction {id}");
        self.ask(wanted, Request::Receipt(id), move |client, response| client.judge_receipt(id, response))
            .await
    }

    fn judge_receipt(&self, id: TransactionId, response: Response) -> Result<VerifiedReceipt, Fault> {
        let Response::Receipt(receipt) = expect(response)? else {
            return Err(Fault::OffTopic { expected: "a receipt" });
        };
        let receipt = self.anchor().receipt(*receipt, Some(id))?;
        self.saw(receipt.height());
        Ok(receipt)
    }

    /// A block, final, with its transactions; `None` for the latest.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] or [`ClientError::NoAnswer`].
    pub async fn block(&self, height: Option<Height>) -> Result<VerifiedBlock, ClientError> {
        let wanted = match height {
            Some(height) => format!("block {height}"),
            None => "block".to_owned(),
        };
        self.ask(wanted, Request::Block(height), move |client, response| {
            let off_topic = Fault::OffTopic { expected: "one block with its finality" };
            let Response::Blocks { blocks, finality: Some(finality) } = expect(response)? else {
                return Err(off_topic);
            };
            let Ok([block]) = <[_; 1]>::try_from(blocks) else { return Err(off_topic) };
            let block = client.anchor().block(height, block, &finality)?;
            client.accept_latest(height, block.height())?;
            Ok(block)
        })
        .await
    }

    /// Refuses an older block as the latest than was verified before.
    fn accept_latest(&self, asked: Option<Height>, found: Height) -> Result<(), Fault> {
        let known = self.highest();
        if asked.is_none() && found < known {
            return Err(Fault::Stale { found, known });
        }
        self.saw(found);
        Ok(())
    }

    /// What each validator says of itself, or why it says nothing. Not proven.
    pub async fn status(&self) -> Vec<(String, Result<NodeStatus, Fault>)> {
        self.ask_each(Request::Status, |response| match response {
            Response::Status(status) => Ok(*status),
            _ => Err(Fault::OffTopic { expected: "a status" }),
        })
        .await
    }

    /// How each validator came to know a transaction. Not proven.
    pub async fn trace(&self, id: TransactionId) -> Vec<(String, Result<Trace, Fault>)> {
        self.ask_each(Request::Trace(id), |response| match response {
            Response::Trace(trace) => Ok(trace),
            _ => Err(Fault::OffTopic { expected: "a trace" }),
        })
        .await
    }

    /// Asks all validators at once; the answers in the order of the validators.
    async fn ask_each<T: Send + 'static>(
        &self,
        request: Request,
        judge: fn(Response) -> Result<T, Fault>,
    ) -> Vec<(String, Result<T, Fault>)> {
        let request = Arc::new(request);
        let tasks = self.inner.validators.iter().map(|validator| {
            let (client, request, validator) = (self.clone(), Arc::clone(&request), Arc::clone(validator));
            tokio::spawn(async move { client.ask_one(&validator, &request).await })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut answers = Vec::with_capacity(tasks.len());
        for (validator, task) in self.inner.validators.iter().zip(tasks) {
            let answer = match task.await {
                Ok(answer) => answer.and_then(expect).and_then(judge),
                Err(error) => Err(Fault::Cut(error.to_string())),
            };
            validator.note(answer.as_ref().err());
            answers.push((validator.name.clone(), answer));
        }
        answers
    }

    /// Closes all connections. Clones of this client are of no more use.
    pub async fn shutdown(self) {
        let mut shared = self.inner;
        for _ in 0..LETTING_GO {
            match Arc::try_unwrap(shared) {
                Ok(inner) => return inner.transport.shutdown().await,
                // Tasks of a stream that was just dropped have not noticed yet.
                Err(inner) => shared = inner,
            }
            sleep(Duration::from_millis(1)).await;
        }
        // With clones still about, the connections end when the last one is dropped.
    }
}

/// What it comes to if nobody gave what was wanted. That there is none has no proof: it is believed if `enough` say
/// so that one of them is honest, and nobody was caught lying.
fn unanswered(wanted: String, asked: usize, enough: bool, complaints: Complaints) -> ClientError {
    if !enough || complaints.any_lie() {
        return ClientError::NoAnswer { wanted, complaints };
    }
    let said = complaints.0.iter().filter(|complaint| complaint.fault == Fault::NotFound);
    let said = said.map(|complaint| complaint.validator.clone()).collect();
    ClientError::NotFound { wanted, said, asked, complaints }
}

/// Sorts out the answers that are none.
fn expect(response: Response) -> Result<Response, Fault> {
    match response {
        Response::NotFound => Err(Fault::NotFound),
        Response::Unavailable(why) => Err(Fault::Unavailable(why)),
        other => Ok(other),
    }
}

/// The most characters of a validator's words that are kept.
const WORDS: usize = 300;

/// A validator's words, cut and cleaned for a terminal: without control characters, and without those that turn
/// the direction of what follows.
fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| !c.is_control() && !turns(*c)).take(WORDS).collect()
}

/// The response with every text in it fit to be shown: here and nowhere else do a validator's words come in.
fn cleaned(mut response: Response) -> Response {
    let clean = |text: &mut String| *text = printable(text);
    match &mut response {
        Response::Refused { reason, .. } => match reason {
            SubmitError::Invalid(text) | SubmitError::Full(text) | SubmitError::Unavailable(text) => {
                clean(text)
            }
            SubmitError::Refused(_) | SubmitError::Expired => {}
        },
        Response::Unavailable(text) => clean(text),
        Response::Status(status) => {
            let NodeStatus { version, name, phase, trouble, peers, .. } = &mut **status;
            [version, name, phase].into_iter().chain(trouble).for_each(clean);
            peers.iter_mut().for_each(|peer| clean(&mut peer.name));
        }
        Response::Committed(_)
        | Response::State { .. }
        | Response::Receipt(_)
        | Response::Blocks { .. }
        | Response::Trace(_)
        | Response::NotFound => {}
    }
    response
}

fn cut(error: &StreamError) -> Fault {
    Fault::Cut(error.to_string())
}

/// The next frame of a stream.
async fn receive(receiver: &mut FrameReceiver) -> Result<Option<Response>, Fault> {
    let Some(frame) = receiver.receive().await.map_err(|error| cut(&error))? else { return Ok(None) };
    Ok(Some(cleaned(codec::decode(&frame, MAX_RESPONSE_BYTES)?)))
}

async fn send<T: Serialize>(sender: &mut FrameSender, frame: &T) -> Result<(), Fault> {
    sender.send(codec::encode_bytes(frame)).await.map_err(|error| cut(&error))
}

/// Waits until then, and not at all if it is past: a timer that is due at once would still wait for its next tick,
/// a millisecond or two.
async fn wait_until(then: Instant) {
    if then > Instant::now() {
        sleep_until(then).await;
    }
}

/// The clock of this machine: for expiry only, never a proof of anything.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_validators_are_fit_to_be_shown() {
        let foul = format!("\u{1b}[2Jall is\n well\u{202e}{}", "x".repeat(10_000));
        let fair = format!("[2Jall is well{}", "x".repeat(WORDS - 14));
        let said = [SubmitError::Invalid(foul.clone()), SubmitError::Full(foul.clone())];
        let said = said.into_iter().chain([SubmitError::Unavailable(foul.clone())]);
        for (reason, expected) in said.zip([
            SubmitError::Invalid(fair.clone()),
            SubmitError::Full(fair.clone()),
            SubmitError::Unavailable(fair.clone()),
        ]) {
            let cleaned = cleaned(Response::Refused { position: 1, reason });
            assert_eq!(cleaned, Response::Refused { position: 1, reason: expected });
        }
        assert_eq!(cleaned(Response::Unavailable(foul)), Response::Unavailable(fair));
    }

    #[test]
    fn that_there_is_none_is_believed_from_enough_and_if_nobody_lied() {
        let complaints = |faults: &[Fault]| {
            let complaint = |fault: &Fault| Complaint { validator: "acme".to_owned(), fault: fault.clone() };
            Complaints(faults.iter().map(complaint).collect())
        };
        let judge =
            |faults: &[Fault], enough| unanswered("block 9".to_owned(), 4, enough, complaints(faults));
        let (none, lie) = (Fault::NotFound, Fault::OffTopic { expected: "a block" });
        let found = judge(&[none.clone(), none.clone()], true);
        assert!(matches!(found, ClientError::NotFound { said, .. } if said.len() == 2));
        assert!(matches!(judge(std::slice::from_ref(&none), false), ClientError::NoAnswer { .. }));
        assert!(matches!(judge(&[none.clone(), none, lie], true), ClientError::NoAnswer { .. }));
    }

    #[tokio::test]
    async fn what_is_due_waits_for_no_tick() {
        let at_once = tokio::select! {
            biased;
            () = wait_until(Instant::now()) => true,
            () = std::future::ready(()) => false,
        };
        assert!(at_once);
        let too_soon = tokio::select! {
            biased;
            () = wait_until(Instant::now() + Duration::from_secs(600)) => true,
            () = std::future::ready(()) => false,
        };
        assert!(!too_soon);
    }
}
