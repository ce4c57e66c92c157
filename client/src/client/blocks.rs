//! The blocks from a height on, to the chain's end or for ever.
//!
//! They come from one validator at a time. When that one fails, lies, or falls behind what this
//! client has verified, the stream goes on at the next height from another: no gap, no block twice.
//!
//! Where a chain ends has no proof: whoever is read from may be behind, or keep the last blocks to itself.
//! So before a stream that is to end there, all validators are asked for their latest height with a proof of
//! it, and the stream does not end below the highest.

use super::{Client, expect, receive};
use crate::client::pool::Validator;
use crate::error::{ClientError, Complaint, Complaints, Fault};
use crate::protocol::{Request, Response};
use crate::verify::{Follower, VerifiedBlock, VerifyError};
use quorate_ledger::StateKey;
use quorate_types::block::Block;
use quorate_types::ids::Height;
use quorate_types::receipt::MAX_DESCENDANTS;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Blocks that wait to be taken: each may be as long as a chain allows, so few.
const WAITING: usize = 32;

/// How long a live stream may be silent before another validator is asked whether there is news.
const SILENCE: Duration = Duration::from_secs(5);

/// The longest pause before validators are tried again.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Rounds over all validators without a block before a stream that is not live gives up.
const FRUITLESS_ROUNDS: u32 = 2;

/// A block and who gave it.
type Given<T> = Result<(T, Arc<Validator>), ClientError>;

/// Blocks as they come. Dropping it ends the stream.
#[derive(Debug)]
pub struct Blocks<T> {
    incoming: mpsc::Receiver<Given<T>>,
    source: Option<Arc<Validator>>,
}

impl<T> Blocks<T> {
    /// The next block; `None` at the end of the chain.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] if nobody gives the next; that ends it.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        let next = self.incoming.recv().await;
        self.take(next)
    }

    /// As [`next`](Blocks::next), for a thread outside the runtime.
    ///
    /// # Errors
    /// As [`next`](Blocks::next).
    pub fn blocking_next(&mut self) -> Result<Option<T>, ClientError> {
        let next = self.incoming.blocking_recv();
        self.take(next)
    }

    fn take(&mut self, next: Option<Given<T>>) -> Result<Option<T>, ClientError> {
        let Some((block, source)) = next.transpose()? else { return Ok(None) };
        self.source = Some(source);
        Ok(Some(block))
    }

    /// The validator that gave the block that was taken last.
    pub fn source(&self) -> Option<String> {
        self.source.as_ref().map(|validator| validator.name.clone())
    }
}

/// Judges a run of blocks as they come.
trait Sift: Send + 'static {
    type Item: Send + 'static;

    /// The height to ask a new source for; what was held back is forgotten.
    fn resume(&mut self) -> Height;

    /// The lowest height that did not come out yet.
    fn due(&self) -> Height;

    fn accept(&mut self, block: Block) -> Result<Vec<Self::Item>, VerifyError>;

    /// The height of what came out, if that is known to be final.
    fn verified(item: &Self::Item) -> Option<Height>;
}

impl Sift for Follower {
    type Item = VerifiedBlock;

    fn resume(&mut self) -> Height {
        Follower::resume(self)
    }

    fn due(&self) -> Height {
        Follower::due(self)
    }

    fn accept(&mut self, block: Block) -> Result<Vec<VerifiedBlock>, VerifyError> {
        self.push(block)
    }

    fn verified(item: &VerifiedBlock) -> Option<Height> {
        Some(item.height())
    }
}

/// For the audit, which judges by itself: only the order of heights. What has no certificate is held back until
/// a block that has one follows from the same validator: a chain that lives may end in blocks whose certificates
/// are not there yet, and nobody can be blamed for what several have given.
struct Unjudged {
    due: Height,
    pending: Vec<Block>,
}

impl Sift for Unjudged {
    type Item = Block;

    fn resume(&mut self) -> Height {
        self.pending.clear();
        self.due
    }

    fn due(&self) -> Height {
        self.due
    }

    fn accept(&mut self, block: Block) -> Result<Vec<Block>, VerifyError> {
        let (found, expected) = (block.header.height, self.due.plus(self.pending.len() as u64));
        if found != expected {
            return Err(VerifyError::Gap { expected, found });
        }
        let certified = block.certificate.is_some();
        self.pending.push(block);
        if certified {
            self.due = found.next();
            return Ok(std::mem::take(&mut self.pending));
        }
        if self.pending.len() > MAX_DESCENDANTS {
            return Err(VerifyError::Uncertified(self.due));
        }
        Ok(Vec::new())
    }

    fn verified(_: &Block) -> Option<Height> {
        None
    }
}

impl Client {
    /// The blocks from `from` on, verified; if `follow`, on and on as they commit.
    pub fn blocks(&self, from: Height, follow: bool) -> Blocks<VerifiedBlock> {
        self.stream(Follower::new(self.anchor().clone(), from), follow)
    }

    /// The blocks from height 1 to the last, as validators give them, **not verified**: for
    /// [`audit`](crate::audit), which judges them. Blocks at the end without a certificate are left out.
    pub fn unverified_blocks(&self) -> Blocks<Block> {
        self.stream(Unjudged { due: Height(1), pending: Vec::new() }, false)
    }

    fn stream<S: Sift>(&self, sift: S, follow: bool) -> Blocks<S::Item> {
        let (out, incoming) = mpsc::channel(WAITING);
        let stream = Stream { client: self.clone(), sift, follow, out };
        tokio::spawn(stream.run());
        Blocks { incoming, source: None }
    }

    /// The latest height that a validator other than `not` proves.
    async fn news(&self, not: &str) -> Option<Height> {
        for validator in self.order().into_iter().filter(|validator| validator.name != not).take(2) {
            if let Ok(height) = self.latest_of(&validator).await {
                return Some(height);
            }
        }
        None
    }

    /// The latest height that this validator proves.
    async fn latest_of(&self, validator: &Validator) -> Result<Height, Fault> {
        // Any key will do: the proof says which block is the latest.
        let key = StateKey::Member(self.inner.key.public());
        let request = Request::Read { key: key.clone(), height: None };
        let answer = self.ask_one(validator, &request).await.and_then(expect);
        let verified = answer.and_then(|response| match response {
            Response::State { proof, finality } => Ok(self.anchor().state(&key, None, &proof, &finality)?),
            _ => Err(Fault::OffTopic { expected: "a proof of the state" }),
        });
        validator.note(verified.as_ref().err());
        let height = verified?.height();
        self.saw(height);
        Ok(height)
    }

    /// Asks all validators at once for their latest height, and remembers the highest that is proven. Once so many
    /// have answered that one of them is honest, the others are waited for no longer than a validator that is
    /// asked anything.
    async fn look_around(&self) {
        let mut asking = JoinSet::new();
        for validator in self.order() {
            let client = self.clone();
            asking.spawn(async move { (client.latest_of(&validator).await, validator) });
        }
        let needed = self.one_honest();
        let mut answered = BTreeSet::new();
        let mut until = None;
        loop {
            let next = async {
                match until {
                    Some(until) => timeout_at(until, asking.join_next()).await.unwrap_or(None),
                    None => asking.join_next().await,
                }
            };
            let Some(told) = next.await else { break };
            // At the very beginning there is no block, and no more to say.
            if let Ok((Ok(_) | Err(Fault::NotFound), validator)) = told {
                answered.insert(validator.identity());
            }
            if answered.len() >= needed && until.is_none() {
                until = Some(Instant::now() + self.hedge());
            }
        }
        if answered.len() < needed {
            tracing::warn!(
                "only {} of the {needed} validators needed said how far the chain goes: \
                 it may be longer than what follows",
                answered.len()
            );
        }
    }
}

/// Why a stream from one validator ended.
enum End {
    /// It has no more blocks.
    Exhausted,
    /// Nobody listens any more.
    Abandoned,
    Fault(Fault),
}

struct Stream<S: Sift> {
    client: Client,
    sift: S,
    follow: bool,
    out: mpsc::Sender<Given<S::Item>>,
}

impl<S: Sift> Stream<S> {
    async fn run(mut self) {
        let mut complaints = Complaints::default();
        let mut fruitless = 0;
        if !self.follow {
            tokio::select! {
                () = self.client.look_around() => {}
                () = self.out.closed() => return,
            }
        }
        loop {
            for validator in self.client.order() {
                let start = self.sift.resume();
                let fault = match self.from(&validator, start).await {
                    End::Abandoned => return,
                    End::Exhausted if self.sift.due() > self.client.highest() => return,
                    End::Exhausted => self.stale(self.client.highest()),
                    End::Fault(fault) => fault,
                };
                tracing::info!(validator = validator.name, %fault, "going on with another validator");
                validator.note(Some(&fault));
                if self.sift.due() > start {
                    fruitless = 0;
                    complaints.0.clear();
                }
                complaints.0.push(Complaint { validator: validator.name.clone(), fault });
            }
            fruitless += 1;
            if !self.follow && fruitless >= FRUITLESS_ROUNDS {
                let wanted = format!("block {}", self.sift.due());
                let error = ClientError::NoAnswer { wanted, complaints };
                // Fails only when nobody listens any more.
                let _ = self.out.send(Err(error)).await;
                return;
            }
            // A live stream tries for ever; what was said in the last round is enough to report.
            tracing::warn!(%complaints, due = %self.sift.due(), "no validator gives the next block; trying again");
            complaints.0.clear();
            tokio::select! {
                () = sleep((Duration::from_millis(250) * fruitless).min(MAX_PAUSE)) => {}
                () = self.out.closed() => return,
            }
        }
    }

    fn stale(&self, known: Height) -> Fault {
        Fault::Stale { found: self.sift.due().previous().unwrap_or(Height::GENESIS), known }
    }

    async fn from(&mut self, validator: &Arc<Validator>, start: Height) -> End {
        let request = Request::Blocks { from: start, follow: self.follow };
        let mut receiver = match self.client.open(validator, &request).await {
            Ok((mut sender, receiver)) => {
                sender.finish();
                receiver
            }
            Err(fault) => return End::Fault(fault),
        };
        let patience = if self.follow { SILENCE } else { self.client.inner.timeout };
        loop {
            let received = tokio::select! {
                received = timeout(patience, receive(&mut receiver)) => received,
                () = self.out.closed() => return End::Abandoned,
            };
            let response = match received {
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) if self.follow => return End::Fault(Fault::Cut("the stream ended".to_owned())),
                Ok(Ok(None)) => return End::Exhausted,
                Ok(Err(fault)) => return End::Fault(fault),
                Err(_) if !self.follow => return End::Fault(Fault::Slow(patience)),
                Err(_) => match self.client.news(&validator.name).await {
                    // Silent although there are blocks to give.
                    Some(known) if known >= self.sift.due() => return End::Fault(self.stale(known)),
                    _ => continue,
                },
            };
            let blocks = match expect(response) {
                // An empty frame is no answer: it would be as good as silence, and pass for news.
                Ok(Response::Blocks { blocks, .. }) if !blocks.is_empty() => blocks,
                // Asked for the block after its last, a node may say that it has none.
                Err(Fault::NotFound) if !self.follow => return End::Exhausted,
                Ok(_) => return End::Fault(Fault::OffTopic { expected: "blocks" }),
                Err(fault) => return End::Fault(fault),
            };
            for block in blocks {
                let items = match self.sift.accept(block) {
                    Ok(items) => items,
                    Err(error) => return End::Fault(error.into()),
                };
                for item in items {
                    if let Some(height) = S::verified(&item) {
                        self.client.saw(height);
                    }
                    if self.out.send(Ok((item, Arc::clone(validator)))).await.is_err() {
                        return End::Abandoned;
                    }
                }
            }
        }
    }
}
