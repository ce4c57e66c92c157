//! The blocks from a height on, to the chain's end or for ever.
//!
//! They come from one validator at a time. When that one fails, lies, or falls behind what this
//! client has verified, the stream goes on at the next height from another: no gap, no block twice.

use super::{Client, expect, receive};
use crate::client::pool::Validator;
use crate::error::{ClientError, Complaint, Complaints, Fault};
use crate::protocol::{Request, Response};
use crate::verify::{Follower, VerifiedBlock, VerifyError};
use quorate_ledger::StateKey;
use quorate_types::block::Block;
use quorate_types::ids::Height;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Blocks that wait to be taken: each may be as long as a chain allows, so few.
const WAITING: usize = 32;

/// How long a live stream may be silent before another validator is asked whether there is news.
const SILENCE: Duration = Duration::from_secs(5);

/// The longest pause before validators are tried again.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Rounds over all validators without a block before a stream that is not live gives up.
const FRUITLESS_ROUNDS: u32 = 2;

/// Blocks as they come. Dropping it ends the stream.
#[derive(Debug)]
pub struct Blocks<T> {
    incoming: mpsc::Receiver<Result<T, ClientError>>,
    source: Arc<Mutex<Option<String>>>,
}

impl<T> Blocks<T> {
    /// The next block; `None` at the end of the chain.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] if nobody gives the next; that ends it.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        self.incoming.recv().await.transpose()
    }

    /// As [`next`](Blocks::next), for a thread outside the runtime.
    ///
    /// # Errors
    /// As [`next`](Blocks::next).
    pub fn blocking_next(&mut self) -> Result<Option<T>, ClientError> {
        self.incoming.blocking_recv().transpose()
    }

    /// The validator that the blocks come from now.
    pub fn source(&self) -> Option<String> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Judges a run of blocks as they come.
trait Sift: Send + 'static {
    type Item: Send + 'static;

    /// Whether what comes out is known to be final.
    const VERIFIES: bool;

    /// The height to ask a new source for; what was held back is forgotten.
    fn resume(&mut self) -> Height;

    /// The lowest height that did not come out yet.
    fn due(&self) -> Height;

    fn accept(&mut self, block: Block) -> Result<Vec<Self::Item>, VerifyError>;
}

impl Sift for Follower {
    type Item = VerifiedBlock;

    const VERIFIES: bool = true;

    fn resume(&mut self) -> Height {
        Follower::resume(self)
    }

    fn due(&self) -> Height {
        Follower::due(self)
    }

    fn accept(&mut self, block: Block) -> Result<Vec<VerifiedBlock>, VerifyError> {
        self.push(block)
    }
}

/// For the audit, which judges by itself: only the order of heights.
struct Unjudged {
    next: Height,
}

impl Sift for Unjudged {
    type Item = Block;

    const VERIFIES: bool = false;

    fn resume(&mut self) -> Height {
        self.next
    }

    fn due(&self) -> Height {
        self.next
    }

    fn accept(&mut self, block: Block) -> Result<Vec<Block>, VerifyError> {
        let found = block.header.height;
        if found != self.next {
            return Err(VerifyError::Gap { expected: self.next, found });
        }
        self.next = found.next();
        Ok(vec![block])
    }
}

impl Client {
    /// The blocks from `from` on, verified; if `follow`, on and on as they commit.
    pub fn blocks(&self, from: Height, follow: bool) -> Blocks<VerifiedBlock> {
        self.stream(Follower::new(self.anchor().clone(), from), follow)
    }

    /// The blocks from height 1 to the last, as validators give them, **not verified**: for
    /// [`audit`](crate::audit), which judges them.
    pub fn unverified_blocks(&self) -> Blocks<Block> {
        self.stream(Unjudged { next: Height(1) }, false)
    }

    fn stream<S: Sift>(&self, sift: S, follow: bool) -> Blocks<S::Item> {
        let (out, incoming) = mpsc::channel(WAITING);
        let source = Arc::new(Mutex::new(None));
        let stream = Stream { client: self.clone(), sift, follow, out, source: Arc::clone(&source) };
        tokio::spawn(stream.run());
        Blocks { incoming, source }
    }

    /// The latest height that a validator other than `not` proves.
    async fn news(&self, not: &str) -> Option<Height> {
        let key = StateKey::Member(self.inner.key.public());
        let request = Request::Read { key: key.clone(), height: None };
        for validator in self.order().into_iter().filter(|validator| validator.name != not).take(2) {
            let answer = self.ask_one(&validator, &request).await.and_then(expect);
            let verified = answer.and_then(|response| match response {
                Response::State { proof, finality } => {
                    Ok(self.anchor().state(&key, None, &proof, &finality)?)
                }
                _ => Err(Fault::OffTopic { expected: "a proof of the state" }),
            });
            validator.note(verified.as_ref().err());
            if let Ok(state) = verified {
                self.saw(state.height());
                return Some(state.height());
            }
        }
        None
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
    out: mpsc::Sender<Result<S::Item, ClientError>>,
    source: Arc<Mutex<Option<String>>>,
}

impl<S: Sift> Stream<S> {
    async fn run(mut self) {
        let mut complaints = Complaints::default();
        let mut fruitless = 0;
        loop {
            for validator in self.client.order() {
                let start = self.sift.resume();
                *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(validator.name.clone());
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
                Ok(Response::Blocks { blocks, .. }) => blocks,
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
                if S::VERIFIES
                    && let Some(height) = self.sift.due().previous()
                {
                    self.client.saw(height);
                }
                for item in items {
                    if self.out.send(Ok(item)).await.is_err() {
                        return End::Abandoned;
                    }
                }
            }
        }
    }
}
