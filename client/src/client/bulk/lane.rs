//! One Submit stream to one validator, opened again whenever it breaks.

use crate::client::pool::Validator;
use crate::client::submit::Signed;
use crate::client::{Client, expect, receive, send};
use crate::error::Fault;
use crate::protocol::{CommittedBatch, MAX_IN_FLIGHT, Request, Response, Submission, SubmitError};
use crate::verify::Finalities;
use quorate_transport::{FrameReceiver, FrameSender};
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::outcome::Outcome;
use quorate_types::receipt::Place;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout_at};

/// Submissions that wait to be written. Each holds at least one flight, and flights are bounded.
const WAITING: usize = 1024;

/// Pauses between attempts to open the stream again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The coordinator's end of a lane.
pub(super) struct Lane {
    pub(super) validator: Arc<Validator>,
    pub(super) up: bool,
    pub(super) silence: Silence,
    submissions: mpsc::Sender<Vec<Signed>>,
    hang_up: Arc<Notify>,
}

impl Lane {
    /// Hands transactions to the lane; false if it takes none.
    pub(super) fn give(&mut self, batch: Vec<Signed>) -> bool {
        self.silence.asked(Instant::now());
        self.submissions.try_send(batch).is_ok()
    }

    /// Gives the stream up, and the connection with it, and dials again after a while: a validator that was
    /// killed and is back knows nothing of either, and they would be waited for until they time out.
    pub(super) fn hang_up(&self) {
        self.hang_up.notify_waiters();
    }
}

/// How long a lane with transactions may say nothing, at least. A validator that died without a word is
/// noticed by this, long before its connection times out.
const SILENCE: Duration = Duration::from_secs(1);

/// Shares in a row after which the wait for the next one grows no more.
const DOUBLINGS: u32 = 4;

/// How long a lane may say nothing where a transaction usually takes so long: validators with more work than
/// they can do are late, and would be later still if all of it came to them again.
pub(super) fn patience(usual: Duration, most: Duration) -> Duration {
    (2 * usual).min(most).max(SILENCE)
}

/// What is heard of a lane that has transactions, and what is not.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Since when others report commits, and this one says nothing.
    others: Option<Instant>,
    /// Since when nothing has been heard of it: it was asked then, or last said something.
    own: Option<Instant>,
    /// How often what it has was shared since it was last heard.
    shares: u32,
}

/// What to make of a silence that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Others report commits: something is wrong with this one, for so long.
    Down(Duration),
    /// Nobody does. All that is under way may be with one that died, and then no other has a reason to
    /// suspect it: another should have it, too. It may as well be that a view is changing.
    Share,
}

impl Silence {
    /// It was given transactions.
    fn asked(&mut self, now: Instant) {
        self.own.get_or_insert(now);
    }

    /// It has said something.
    pub(super) fn heard(&mut self, now: Instant) {
        *self = Silence { own: Some(now), ..Silence::default() };
    }

    /// Another lane has reported a commit.
    pub(super) fn other_commits(&mut self, now: Instant) {
        self.others.get_or_insert(now);
    }

    /// It has nothing to answer.
    pub(super) fn is_idle(&mut self) {
        *self = Silence::default();
    }

    /// Whether it has been silent for longer than `patience`. What it has is shared after that time, and
    /// then each time after twice as long as the last.
    pub(super) fn too_long(&mut self, now: Instant, patience: Duration) -> Option<Verdict> {
        let longer = |since: Option<Instant>, than: Duration| {
            since.map(|since| now.saturating_duration_since(since)).filter(|silent| *silent > than)
        };
        if let Some(silent) = longer(self.others, patience) {
            return Some(Verdict::Down(silent));
        }
        longer(self.own, patience * (1 << self.shares.min(DOUBLINGS)))?;
        self.own = Some(now);
        self.shares += 1;
        Some(Verdict::Share)
    }
}

/// What a lane has to say.
pub(super) struct LaneEvent {
    pub(super) lane: usize,
    pub(super) news: News,
}

pub(super) enum News {
    /// The stream is open.
    Up,
    /// It broke, or could not be opened. What was sent on it may or may not commit.
    Down(Fault),
    /// Transactions of a block that is final: verified.
    Committed { height: Height, outcomes: Vec<(TransactionId, Outcome)> },
    /// The validator refused one.
    Refused { id: TransactionId, reason: SubmitError },
}

/// A lane, and the task that runs it until it is aborted.
pub(super) fn lane(
    client: Client,
    index: usize,
    validator: Arc<Validator>,
    finalities: Arc<Mutex<Finalities>>,
    events: mpsc::Sender<LaneEvent>,
) -> (Lane, impl Future<Output = ()> + Send + 'static) {
    let (submissions, waiting) = mpsc::channel(WAITING);
    let hang_up = Arc::new(Notify::new());
    let lane = Lane {
        validator: Arc::clone(&validator),
        up: false,
        silence: Silence::default(),
        submissions,
        hang_up: Arc::clone(&hang_up),
    };
    let task = Task { client, index, validator, finalities, events, waiting, hang_up };
    (lane, task.run())
}

struct Task {
    client: Client,
    index: usize,
    validator: Arc<Validator>,
    finalities: Arc<Mutex<Finalities>>,
    events: mpsc::Sender<LaneEvent>,
    waiting: mpsc::Receiver<Vec<Signed>>,
    hang_up: Arc<Notify>,
}

/// The most that one stream may leave unanswered. A node stops reading long before; one that reads on and answers
/// little, while the others' answers make room for more, is given up before it fills the memory.
const MAX_UNANSWERED: usize = 4 * MAX_IN_FLIGHT;

/// What was sent on a stream and not answered. A malformed transaction has no id for the validator,
/// so refusals name a position.
#[derive(Default)]
struct Unanswered {
    sent: u64,
    by_position: HashMap<u64, TransactionId>,
    positions: HashMap<TransactionId, u64>,
    /// Since when an answer is due: something was sent then, or last answered.
    since: Option<Instant>,
    /// Whether anything was answered.
    answered: bool,
}

impl Unanswered {
    fn push(&mut self, id: TransactionId) {
        self.since.get_or_insert_with(Instant::now);
        self.by_position.insert(self.sent, id);
        if let Some(earlier) = self.positions.insert(id, self.sent) {
            self.by_position.remove(&earlier);
        }
        self.sent += 1;
    }

    /// Whether it was unanswered.
    fn committed(&mut self, id: &TransactionId) -> bool {
        let Some(position) = self.positions.remove(id) else { return false };
        self.by_position.remove(&position);
        self.answer();
        true
    }

    fn refused(&mut self, position: u64) -> Option<TransactionId> {
        let id = self.by_position.remove(&position)?;
        self.positions.remove(&id);
        self.answer();
        Some(id)
    }

    fn answer(&mut self) {
        self.answered = true;
        self.since = (!self.positions.is_empty()).then(Instant::now);
    }

    /// Until when an answer is due, if any is.
    fn due(&self, patience: Duration) -> Option<Instant> {
        self.since.map(|since| since + patience)
    }
}

impl Task {
    async fn say(&self, news: News) -> bool {
        self.events.send(LaneEvent { lane: self.index, news }).await.is_ok()
    }

    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let fault = match self.client.open(&self.validator, &Request::Submit).await {
                Ok((sender, receiver)) => {
                    if !self.say(News::Up).await {
                        return;
                    }
                    let (fault, answered) = self.stream(sender, receiver).await;
                    // One that takes everything and says nothing is dialled less and less often.
                    if answered {
                        pause = FIRST_PAUSE;
                    }
                    fault
                }
                Err(fault) => fault,
            };
            if matches!(fault, Fault::Slow(_)) {
                self.validator.hang_up().await;
            }
            // Liars are not asked again.
            let done = self.validator.is_liar() || fault.is_lie();
            if !self.say(News::Down(fault)).await || done {
                return;
            }
            // The coordinator has them queued for other lanes.
            while self.waiting.try_recv().is_ok() {}
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Runs the stream until it breaks. Writing and reading go on side by side: a node that takes no
    /// more still answers. Returns also whether the validator answered anything.
    async fn stream(&mut self, sender: FrameSender, receiver: FrameReceiver) -> (Fault, bool) {
        let unanswered = Mutex::new(Unanswered::default());
        let Task { client, index, finalities, events, waiting, hang_up, .. } = self;
        let reader = Reader { client, index: *index, finalities, events, unanswered: &unanswered };
        let fault = tokio::select! {
            fault = write(sender, waiting, &unanswered) => fault,
            fault = reader.run(receiver) => fault,
            () = hang_up.notified() => Fault::Slow(SILENCE),
        };
        (fault, unanswered.into_inner().unwrap_or_else(PoisonError::into_inner).answered)
    }
}

async fn write(
    mut sender: FrameSender,
    waiting: &mut mpsc::Receiver<Vec<Signed>>,
    unanswered: &Mutex<Unanswered>,
) -> Fault {
    while let Some(batch) = waiting.recv().await {
        {
            let mut unanswered = unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            batch.iter().for_each(|signed| unanswered.push(signed.id()));
            if unanswered.positions.len() > MAX_UNANSWERED {
                return Fault::Cut("it leaves too much unanswered".to_owned());
            }
        }
        let transactions = batch.iter().map(|signed| signed.bytes().clone()).collect();
        if let Err(fault) = send(&mut sender, &Submission { transactions }).await {
            return fault;
        }
    }
    Fault::Cut("the run is over".to_owned())
}

struct Reader<'a> {
    client: &'a Client,
    index: usize,
    finalities: &'a Mutex<Finalities>,
    events: &'a mpsc::Sender<LaneEvent>,
    unanswered: &'a Mutex<Unanswered>,
}

impl Reader<'_> {
    async fn run(&self, mut receiver: FrameReceiver) -> Fault {
        let patience = 2 * self.client.inner.timeout;
        loop {
            // With nothing to answer, silence is right.
            let due = self.lock().due(patience).unwrap_or_else(|| Instant::now() + patience);
            let received = match timeout_at(due, receive(&mut receiver)).await {
                Ok(received) => received,
                Err(_) if self.lock().due(patience).is_none_or(|due| due > Instant::now()) => continue,
                Err(_) => return Fault::Slow(patience),
            };
            let news = match received {
                Ok(Some(response)) => expect(response).and_then(|response| self.judge(response)),
                Ok(None) => Err(Fault::Cut("the validator ended the stream".to_owned())),
                Err(fault) => Err(fault),
            };
            match news {
                // It says what it has said before. That is no sign of life: it could go on for ever.
                Ok(None) => {}
                Ok(Some(news)) => {
                    if self.events.send(LaneEvent { lane: self.index, news }).await.is_err() {
                        return Fault::Cut("the run is over".to_owned());
                    }
                }
                Err(fault) => return fault,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, response: Response) -> Result<Option<News>, Fault> {
        match response {
            Response::Committed(batch) => self.judge_batch(batch),
            Response::Refused { position, reason } => match self.lock().refused(position) {
                Some(id) => Ok(Some(News::Refused { id, reason })),
                None => Err(Fault::OffTopic { expected: "a transaction of this stream" }),
            },
            _ => Err(Fault::OffTopic { expected: "commits and refusals" }),
        }
    }

    /// The signatures of these transactions are this client's own, so place, outcome and finality
    /// remain to be checked, and with them the receipt is. `None` if it settles nothing that was sent on this
    /// stream: an honest validator may answer a copy that it was sent.
    fn judge_batch(
        &self,
        CommittedBatch { finality, inclusions }: CommittedBatch,
    ) -> Result<Option<News>, Fault> {
        let anchor = self.client.anchor();
        self.finalities.lock().unwrap_or_else(PoisonError::into_inner).check(anchor, &finality)?;
        let holds = inclusions.verify(&finality.header, &finality.result);
        holds.map_err(|error| Fault::Lying(error.into()))?;
        let mut unanswered = self.lock();
        let outcomes = inclusions.places.into_iter().filter_map(|Place { record, .. }| {
            let settles = unanswered.committed(&record.transaction);
            settles.then_some((record.transaction, record.outcome))
        });
        let outcomes: Vec<(TransactionId, Outcome)> = outcomes.collect();
        let height = finality.header.height;
        Ok((!outcomes.is_empty()).then_some(News::Committed { height, outcomes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::hash::Hash;

    #[test]
    fn silence_is_noticed_whether_others_commit_or_not() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let after = |silence: &mut Silence, now: u64| silence.too_long(ms(now), SILENCE);
        let mut silence = Silence::default();
        assert_eq!(after(&mut silence, 60_000), None, "it was asked for nothing");
        silence.asked(ms(0));
        silence.asked(ms(900));
        assert_eq!(after(&mut silence, 1000), None);
        assert_eq!(after(&mut silence, 1100), Some(Verdict::Share));
        assert_eq!(after(&mut silence, 2200), None, "not again and again");
        silence.other_commits(ms(1200));
        silence.other_commits(ms(1900));
        assert_eq!(after(&mut silence, 2210), Some(Verdict::Down(Duration::from_millis(1010))));
        silence.heard(ms(3400));
        assert_eq!(after(&mut silence, 4400), None);
        assert_eq!(after(&mut silence, 4500), Some(Verdict::Share), "heard, it starts anew");
        silence.is_idle();
        assert_eq!(after(&mut silence, 60_000), None);
    }

    #[test]
    fn what_waits_for_busy_validators_is_not_sent_to_them_again_and_again() {
        let seconds = Duration::from_secs;
        assert_eq!(patience(Duration::from_millis(20), seconds(10)), SILENCE);
        assert_eq!(patience(seconds(3), seconds(10)), seconds(6));
        assert_eq!(patience(seconds(60), seconds(10)), seconds(10));
        let start = Instant::now();
        let mut silence = Silence::default();
        silence.asked(start);
        let shared = (1..=120).filter(|now| silence.too_long(start + seconds(*now), SILENCE).is_some());
        assert_eq!(shared.collect::<Vec<u64>>(), [2, 5, 10, 19, 36, 53, 70, 87, 104]);
        let mut busy = Silence::default();
        busy.asked(start);
        busy.other_commits(start + seconds(1));
        assert_eq!(busy.too_long(start + seconds(6), seconds(6)), None, "others are late as well");
    }

    #[test]
    fn positions_follow_what_was_sent() {
        let id = |n: u8| TransactionId(Hash([n; 32]));
        let mut unanswered = Unanswered::default();
        for n in 0..3 {
            unanswered.push(id(n));
        }
        assert!(unanswered.committed(&id(1)));
        assert_eq!(unanswered.refused(1), None);
        assert_eq!(unanswered.refused(0), Some(id(0)));
        assert_eq!(unanswered.refused(0), None);
        // What was answered before is no answer, and puts off nothing.
        let since = unanswered.since;
        assert!(since.is_some() && !unanswered.committed(&id(1)));
        assert_eq!(unanswered.since, since);
        // Sent again on the same stream: the later position counts.
        unanswered.push(id(2));
        assert_eq!(unanswered.refused(2), None);
        assert_eq!(unanswered.refused(3), Some(id(2)));
        assert!(unanswered.positions.is_empty() && unanswered.by_position.is_empty());
        assert_eq!(unanswered.since, None, "nothing is due");
    }
}
