//! A UDP proxy that loses, delays, doubles and reorders datagrams.
//!
//! ```text
//!   dialler ──▶ [there] ──▶ target         each direction has its own faults
//!           ◀── [back]  ◀──
//! ```
//!
//! Whoever sends to the proxy's address gets a socket of its own towards the target, so that the target
//! tells diallers apart. What happens to the nth datagram of the mth dialler in one direction depends on
//! the seed alone; when it happens, and who is the mth to dial, depends on the machine.
//!
//! Everything is bounded: `MAX_DIALLERS` sockets, `MAX_UNDER_WAY` datagrams under way for each
//! dialler and direction. Beyond that a datagram is dropped and counted.

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Sources that one proxy serves; a validator dials from one.
const MAX_DIALLERS: usize = 64;

/// Datagrams that wait to be delivered, for each dialler and direction. About 6 MiB of full ones.
const MAX_UNDER_WAY: usize = 4096;

/// No UDP datagram is longer.
const MAX_DATAGRAM: usize = 65_536;

/// What happens to datagrams of one direction. Each is judged by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// The share that is lost, from 0 to 1.
    pub loss: f64,
    /// The share that is delivered twice, from 0 to 1; the second copy has a delay of its own.
    pub duplication: f64,
    /// How long each is under way.
    pub delay: Duration,
    /// The delay is longer or shorter by up to this, evenly; at least zero.
    pub jitter: Duration,
    /// The share that is held back, from 0 to 1, so that later ones overtake it.
    pub reordering: f64,
    /// How long those are held back, besides the delay.
    pub held_back: Duration,
}

/// What a proxy did with the datagrams of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that came.
    pub received: u64,
    /// Datagrams handed on, copies included.
    pub delivered: u64,
    /// Datagrams lost on purpose.
    pub lost: u64,
    /// Datagrams of which a copy was made.
    pub duplicated: u64,
    /// Datagrams held back.
    pub held_back: u64,
    /// Datagrams that were delivered after one that had come later.
    pub overtaken: u64,
    /// Datagrams dropped because too much was under way.
    pub overflowed: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            received: self.received + other.received,
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            held_back: self.held_back + other.held_back,
            overtaken: self.overtaken + other.overtaken,
            overflowed: self.overflowed + other.overflowed,
        }
    }
}

/// One direction: its faults, which may be changed, and its counts.
#[derive(Debug, Default)]
struct Direction {
    faults: Mutex<Faults>,
    received: AtomicU64,
    delivered: AtomicU64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    held_back: AtomicU64,
    overtaken: AtomicU64,
    overflowed: AtomicU64,
}

fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Direction {
    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            received: read(&self.received),
            delivered: read(&self.delivered),
            lost: read(&self.lost),
            duplicated: read(&self.duplicated),
            held_back: read(&self.held_back),
            overtaken: read(&self.overtaken),
            overflowed: read(&self.overflowed),
        }
    }
}

/// A datagram under way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    // Compared first: whichever is due first leaves first.
    due: Instant,
    number: u64,
    copy: bool,
    bytes: Vec<u8>,
}

/// The datagrams of one dialler in one direction.
struct Lane {
    direction: Arc<Direction>,
    random: StdRng,
    number: u64,
    under_way: mpsc::Sender<UnderWay>,
}

impl Lane {
    /// Begins to deliver by `socket`: to `to`, or to whom the socket is connected.
    fn start(
        tasks: &mut JoinSet<()>,
        direction: &Arc<Direction>,
        seed: u64,
        socket: Arc<UdpSocket>,
        to: Option<SocketAddr>,
    ) -> Lane {
        let (under_way, waiting) = mpsc::channel(MAX_UNDER_WAY);
        tasks.spawn(deliver(Arc::clone(direction), waiting, socket, to));
        Lane { direction: Arc::clone(direction), random: StdRng::seed_from_u64(seed), number: 0, under_way }
    }

    /// Decides what happens to a datagram.
    fn take(&mut self, bytes: &[u8]) {
        let faults = self.direction.faults();
        let number = self.number;
        self.number += 1;
        one_more(&self.direction.received);
        // Drawn for every datagram alike, so that one fault's strength does not change the others' luck.
        let [lost, doubled, held_back] =
            [faults.loss, faults.duplication, faults.reordering].map(|share| self.random.random_bool(share));
        let mut delay = || {
            let sway = faults.jitter.mul_f64(2.0 * self.random.random::<f64>());
            (faults.delay + sway).saturating_sub(faults.jitter)
        };
        let delays = [delay(), delay()];
        if lost {
            return one_more(&self.direction.lost);
        }
        let now = Instant::now();
        let mut due = now + delays[0];
        if held_back {
            one_more(&self.direction.held_back);
            due += faults.held_back;
        }
        self.send(UnderWay { due, number, copy: false, bytes: bytes.to_vec() });
        if doubled {
            one_more(&self.direction.duplicated);
            self.send(UnderWay { due: now + delays[1], number, copy: true, bytes: bytes.to_vec() });
        }
    }

    fn send(&self, datagram: UnderWay) {
        if self.under_way.try_send(datagram).is_err() {
            one_more(&self.direction.overflowed);
        }
    }
}

/// Delivers datagrams when they are due.
async fn deliver(
    direction: Arc<Direction>,
    mut waiting: mpsc::Receiver<UnderWay>,
    socket: Arc<UdpSocket>,
    to: Option<SocketAddr>,
) {
    let mut heap: BinaryHeap<Reverse<UnderWay>> = BinaryHeap::new();
    let mut furthest = 0;
    loop {
        let due = heap.peek().map(|Reverse(first)| first.due);
        tokio::select! {
            // What is due goes before what comes.
            biased;
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some(Reverse(datagram)) = heap.pop() else { continue };
                let sent = match to {
                    Some(to) => socket.send_to(&datagram.bytes, to).await,
                    None => socket.send(&datagram.bytes).await,
                };
                // Nobody listens there at the moment: lost, as it would be anywhere.
                if sent.is_ok() {
                    one_more(&direction.delivered);
                }
                if !datagram.copy && datagram.number < furthest {
                    one_more(&direction.overtaken);
                }
                furthest = furthest.max(datagram.number);
            }
            datagram = waiting.recv(), if heap.len() < MAX_UNDER_WAY => match datagram {
                Some(datagram) => heap.push(Reverse(datagram)),
                None => return,
            },
        }
    }
}

/// A proxy in front of one address; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    there: Arc<Direction>,
    back: Arc<Direction>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens at `listen` and hands on to `target`, without faults. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub async fn start(listen: SocketAddr, target: SocketAddr, seed: u64) -> Result<Proxy> {
        let front = UdpSocket::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
        let address = front.local_addr()?;
        let (there, back) = (Arc::<Direction>::default(), Arc::<Direction>::default());
        let run = run(Arc::new(front), target, seed, Arc::clone(&there), Arc::clone(&back));
        Ok(Proxy { address, there, back, task: tokio::spawn(run) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens to datagrams from now on: on their way to the target, and back.
    pub fn set(&self, there: Faults, back: Faults) {
        *self.there.faults.lock().unwrap_or_else(PoisonError::into_inner) = there;
        *self.back.faults.lock().unwrap_or_else(PoisonError::into_inner) = back;
    }

    /// What it did so far: on the way to the target, and back.
    pub fn counts(&self) -> [Counts; 2] {
        [self.there.counts(), self.back.counts()]
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    front: Arc<UdpSocket>,
    target: SocketAddr,
    seed: u64,
    there: Arc<Direction>,
    back: Arc<Direction>,
) {
    // All tasks of this proxy; they end with it.
    let mut tasks = JoinSet::new();
    let mut lanes: HashMap<SocketAddr, Lane> = HashMap::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        // An error tells of an earlier datagram that nobody took.
        let Ok((length, source)) = front.recv_from(&mut buffer).await else { continue };
        if !lanes.contains_key(&source) {
            let seed = seed.wrapping_add(2 * lanes.len() as u64);
            let opened = match lanes.len() {
                0..MAX_DIALLERS => open(&mut tasks, &front, source, target, seed, [&there, &back]).await.ok(),
                _ => None,
            };
            match opened {
                Some(lane) => drop(lanes.insert(source, lane)),
                None => {
                    one_more(&there.received);
                    one_more(&there.overflowed);
                    continue;
                }
            }
        }
        if let Some(lane) = lanes.get_mut(&source) {
            lane.take(&buffer[..length]);
        }
    }
}

/// A socket towards the target for one dialler; returns its lane there, and serves the one back.
async fn open(
    tasks: &mut JoinSet<()>,
    front: &Arc<UdpSocket>,
    source: SocketAddr,
    target: SocketAddr,
    seed: u64,
    [there, back]: [&Arc<Direction>; 2],
) -> std::io::Result<Lane> {
    let upstream = Arc::new(UdpSocket::bind(SocketAddr::new(front.local_addr()?.ip(), 0)).await?);
    upstream.connect(target).await?;
    let mut lane_back = Lane::start(tasks, back, seed.wrapping_add(1), Arc::clone(front), Some(source));
    let lane = Lane::start(tasks, there, seed, Arc::clone(&upstream), None);
    tasks.spawn(async move {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            // As above.
            if let Ok(length) = upstream.recv(&mut buffer).await {
                lane_back.take(&buffer[..length]);
            }
        }
    });
    Ok(lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(10);

    fn anywhere() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    async fn number(socket: &UdpSocket) -> (u32, SocketAddr) {
        let mut bytes = [0; 4];
        let came = timeout(SOON, socket.recv_from(&mut bytes)).await.expect("in time");
        (u32::from_le_bytes(bytes), came.expect("receives").1)
    }

    /// Sends so many numbered datagrams through a proxy and returns what arrives, and the counts.
    async fn through(faults: Faults, seed: u64, count: u32) -> (Vec<u32>, Counts) {
        let target = UdpSocket::bind(anywhere()).await.expect("binds");
        let proxy =
            Proxy::start(anywhere(), target.local_addr().expect("bound"), seed).await.expect("starts");
        proxy.set(faults, Faults::default());
        let dialler = UdpSocket::bind(anywhere()).await.expect("binds");
        let mut arrived = Vec::new();
        for n in 0..count {
            dialler.send_to(&n.to_le_bytes(), proxy.address()).await.expect("sends");
            // In step, so that no kernel buffer overflows.
            let taken = async {
                while proxy.counts()[0].received <= u64::from(n) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(SOON, taken).await.expect("taken");
            let mut bytes = [0; 4];
            while target.try_recv(&mut bytes).is_ok() {
                arrived.push(u32::from_le_bytes(bytes));
            }
        }
        let Counts { received, lost, duplicated, .. } = proxy.counts()[0];
        while (arrived.len() as u64) < received - lost + duplicated {
            arrived.push(number(&target).await.0);
        }
        (arrived, proxy.counts()[0])
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_faults_everything_arrives_in_order_and_answers_find_back() {
        let (arrived, counts) = through(Faults::default(), 1, 500).await;
        assert_eq!(arrived, (0..500).collect::<Vec<u32>>());
        assert_eq!(counts, Counts { received: 500, delivered: 500, ..Counts::default() });

        let target = UdpSocket::bind(anywhere()).await.expect("binds");
        let proxy = Proxy::start(anywhere(), target.local_addr().expect("bound"), 1).await.expect("starts");
        let diallers = [UdpSocket::bind(anywhere()).await, UdpSocket::bind(anywhere()).await];
        let diallers = diallers.map(|dialler| dialler.expect("binds"));
        let mut sources = Vec::new();
        for (n, dialler) in (0u32..).zip(&diallers) {
            dialler.send_to(&n.to_le_bytes(), proxy.address()).await.expect("sends");
            let (came, source) = number(&target).await;
            assert_eq!(came, n);
            sources.push(source);
        }
        assert_ne!(sources[0], sources[1], "the target tells them apart");
        for (n, source) in (0u32..).zip(&sources) {
            target.send_to(&(n + 10).to_le_bytes(), source).await.expect("sends");
        }
        for (n, dialler) in (0u32..).zip(&diallers) {
            assert_eq!(number(dialler).await, (n + 10, proxy.address()));
        }
        assert_eq!(proxy.counts()[1].delivered, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn faults_come_as_often_as_asked_and_the_same_for_a_seed() {
        let faults = Faults { loss: 0.1, duplication: 0.05, ..Faults::default() };
        let (first, counts) = through(faults, 7, 4000).await;
        assert!((300..=500).contains(&counts.lost), "{counts:?}");
        assert!((120..=280).contains(&counts.duplicated), "{counts:?}");
        assert_eq!(counts.delivered, counts.received - counts.lost + counts.duplicated);
        let sorted = |mut numbers: Vec<u32>| {
            numbers.sort_unstable();
            numbers
        };
        let first = sorted(first);
        assert_eq!(first, sorted(through(faults, 7, 4000).await.0), "the same seed, the same fate");
        assert_ne!(first, sorted(through(faults, 8, 4000).await.0), "another seed, another fate");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn delays_and_reordering_are_what_they_say() {
        let ms = Duration::from_millis;
        let started = Instant::now();
        let faults = Faults { delay: ms(30), jitter: ms(10), ..Faults::default() };
        let (arrived, counts) = through(faults, 3, 50).await;
        assert!(started.elapsed() >= ms(20), "nothing is quicker than the delay less the jitter");
        assert_eq!((arrived.len(), counts.delivered), (50, 50));

        let faults = Faults { reordering: 0.2, held_back: ms(20), ..Faults::default() };
        let (arrived, counts) = through(faults, 3, 500).await;
        assert!((60..=140).contains(&counts.held_back), "{counts:?}");
        let out_of_order = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(out_of_order > 0 && counts.overtaken > 0, "{out_of_order}, {counts:?}");
    }
}
