//! Peers that are admitted or not, and mean harm: memory stays flat, and the rest goes on.
//!
//! The attacker holds a member's key, a validator's keys for connections (that validator is down: it is
//! the one of four that may fail), and no end of addresses. Meanwhile another member's load goes on, and
//! the victim's resident memory is watched. Every attack is bounded in count and in time.

use crate::strangers::{address, anywhere, transport_key, validator};
use crate::{SOON, load, with};
use anyhow::{Context, Result, ensure};
use quorate_client::protocol::Request;
use quorate_genesis::MemberKeys;
use quorate_node::core::wire;
use quorate_tests::network::attacker::{self, Attacker, Claim, PATIENCE, frame, stream, why};
use quorate_tests::network::memory::{Watch, mib};
use quorate_tests::network::settings;
use quorate_tests::{Consortium, Load, Plan};
use quorate_transport::CloseCode;
use quorate_types::codec;
use quorate_types::hash::ChainId;
use quorate_types::ids::Height;
use quorate_types::keys::SecretKey;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How much more memory the victim may take than before all attacks, in bytes, while an attacker fills
/// everything that the limits let it fill: unfinished frames of 8 + 36 + 2 MiB in a validator's three
/// lanes and 8 MiB in flight there; in each of a member's 8 connections 4 MiB of unfinished frames and
/// 1 MiB in flight. That is 94 MiB, and a third for what the allocator keeps.
const FULL_ROOM: u64 = 125 << 20;

/// How much more it may take while a member asks for blocks on every stream and reads none of them, in bytes: 64 MiB
/// of answers, 2 MiB on the way in each of 8 connections, some 16 MiB for those that are being read, and a
/// third for what the allocator keeps. Each of the 448 streams asks for a MiB.
const UNREAD_ROOM: u64 = 128 << 20;

/// How much more it may take under any other attack, and after all of them, in bytes: mostly what the
/// allocator kept of before, 256 handshakes, and what a database gathers meanwhile.
const ROOM: u64 = 40 << 20;

/// The member whose key the attacker has.
const MEMBER: &str = "shop";
/// The validator whose key the attacker has, and which is down.
const STOLEN: usize = 3;
/// The validator under attack.
const VICTIM: usize = 0;

/// An attack under way.
struct Attack {
    target: SocketAddr,
    chain: ChainId,
    member: SecretKey,
    stolen: SecretKey,
}

impl Attack {
    async fn as_validator(&self, attacker: &Attacker) -> Result<quinn::Connection> {
        let claim = validator(u16::try_from(STOLEN)?);
        attacker.admitted(self.target, self.chain, claim).await
    }

    async fn as_member(&self, attacker: &Attacker) -> Result<quinn::Connection> {
        attacker.admitted(self.target, self.chain, Claim::Client).await
    }

    /// Frames that claim to be as long as lengths go: closed for the length alone.
    async fn huge_frames(&self) -> Result<()> {
        let attacker = Attacker::new(anywhere(), &self.stolen)?;
        let too_long = format!("code {}", CloseCode::FrameTooLong.number());
        for lane in 0..3u8 {
            let connection = self.as_validator(&attacker).await?;
            let _stream = stream(&connection, &[&[lane][..], &u32::MAX.to_le_bytes()].concat()).await?;
            let told = why(&connection).await?;
            ensure!(told.contains(&too_long), "a frame of 4 GiB in lane {lane}: {told}");
        }
        let attacker = Attacker::new(anywhere(), &self.member)?;
        let connection = self.as_member(&attacker).await?;
        for _ in 0..200 {
            let (mut send, _receive) =
                timeout(PATIENCE, connection.open_bi()).await.context("no stream")??;
            send.write_all(&u32::MAX.to_le_bytes()).await?;
            let stopped = timeout(PATIENCE, send.stopped()).await.context("a frame of 4 GiB is awaited")?;
            let code = stopped?.context("the stream was read to its end")?;
            ensure!(code.into_inner() == CloseCode::FrameTooLong.number(), "stopped with code {code}");
        }
        Ok(())
    }

    /// Frames of the greatest length allowed that never end, as many as may be begun: held until
    /// `enough` has come about.
    async fn endless_frames(&self, enough: impl Future<Output = Result<()>>) -> Result<()> {
        let attacker = Attacker::new(anywhere(), &self.stolen)?;
        let connection = self.as_validator(&attacker).await?;
        let mut held = Vec::new();
        // All of the longest frame of each lane but its last byte.
        for (lane, longest) in
            [(0u8, wire::MAX_VOTES_FRAME), (1, wire::MAX_SYNC_FRAME), (2, wire::MAX_GOSSIP_FRAME)]
        {
            let length = u32::try_from(longest)?.to_le_bytes();
            let mut open = stream(&connection, &[&[lane][..], &length].concat()).await?;
            timeout(SOON, open.write_all(&vec![lane; longest - 1]))
                .await
                .context("a lane takes no more")??;
            held.push(open);
        }
        let mut trickle = tokio::task::JoinSet::new();
        let mut members = Vec::new();
        for _ in 0..8 {
            let attacker = Attacker::new(anywhere(), &self.member)?;
            let connection = self.as_member(&attacker).await?;
            // Long-lived streams may be seven eighths of 64.
            for _ in 0..56 {
                let opened = timeout(PATIENCE, connection.open_bi()).await.context("no stream")??;
                trickle.spawn(async move {
                    let (mut send, _receive) = opened;
                    let claimed: u32 = 2 << 20;
                    let body = [&claimed.to_le_bytes()[..], &[9; (2 << 20) - 1]].concat();
                    // Stops at the limits, and stays so.
                    send.write_all(&body).await.ok();
                    std::future::pending::<()>().await;
                });
            }
            members.push((attacker, connection));
        }
        let ninth = Attacker::new(anywhere(), &self.member)?;
        let full = self.as_member(&ninth).await.err().context("a ninth connection of one member")?;
        let reason = "closed by peer: this member has 8 connections, which is the limit (code 11)";
        ensure!(format!("{full:#}").contains(reason), "{full:#}");
        enough.await?;
        drop(held);
        Ok(())
    }

    /// Answers that nobody reads, as many as may be asked for: held until `enough` has come about.
    async fn unread_answers(&self, enough: impl Future<Output = Result<()>>) -> Result<()> {
        let request = frame(&codec::encode(&Request::Blocks { from: Height(1), follow: false }));
        let (mut held, mut members) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let attacker = Attacker::new(anywhere(), &self.member)?;
            // Seats of the attack before this one are free in a moment.
            let seat = quorate_tests::wait::until("a seat", SOON, async || {
                self.as_member(&attacker).await.map_err(|error| format!("{error:#}"))
            });
            let connection = seat.await?;
            for _ in 0..56 {
                let (mut send, receive) =
                    timeout(PATIENCE, connection.open_bi()).await.context("no stream")??;
                send.write_all(&request).await?;
                held.push((send, receive));
            }
            members.push((attacker, connection));
        }
        enough.await?;
        drop(held);
        Ok(())
    }

    /// More streams than there may be, and streams that are given up as soon as they are opened.
    async fn streams(&self) -> Result<()> {
        let attacker = Attacker::new(anywhere(), &self.member)?;
        // Before the hello: one stream, and no other.
        let connection = attacker.dial(self.target).await?;
        let _one = timeout(PATIENCE, connection.open_bi()).await.context("no first stream")??;
        let more = timeout(Duration::from_millis(300), connection.open_bi()).await;
        ensure!(more.is_err(), "a second stream before the hello: {more:?}");
        let more = timeout(Duration::from_millis(300), connection.open_uni()).await;
        ensure!(more.is_err(), "a stream of one direction before the hello: {more:?}");
        connection.close(0u32.into(), b"");

        let connection = self.as_member(&attacker).await?;
        let mut open = Vec::new();
        while let Ok(opened) = timeout(Duration::from_millis(300), connection.open_bi()).await {
            let (mut send, receive) = opened?;
            // It begins, and says nothing that is whole.
            send.write_all(&[0]).await?;
            open.push((send, receive));
            ensure!(open.len() <= 64, "{} streams of one client", open.len());
        }
        ensure!(open.len() >= 32, "only {} streams of one client", open.len());
        drop(open);
        for _ in 0..5000 {
            let (mut send, mut receive) =
                timeout(PATIENCE, connection.open_bi()).await.context("no stream")??;
            send.write_all(&frame(b"nonsense")).await.ok();
            send.reset(0u32.into()).ok();
            receive.stop(0u32.into()).ok();
        }
        Ok(())
    }

    /// Handshakes that never go on, from thousands of ports of hundreds of addresses.
    async fn half_open(&self) -> Result<()> {
        let packets = attacker::first_packets(&self.member, 2000).await?;
        let mut sockets = Vec::new();
        for (n, packets) in (0u8..).zip(packets.chunks(10)) {
            let source = Ipv4Addr::new(127, 1, n, 1);
            for packet in packets {
                let socket = UdpSocket::bind((source, 0)).await?;
                socket.send_to(packet, self.target).await?;
                // Kept open: the answers go nowhere.
                sockets.push(socket);
            }
            tokio::task::yield_now().await;
        }
        // Whoever answers the request to prove an address gets in all the same.
        let honest = Attacker::new(anywhere(), &self.member)?;
        let mut admitted = false;
        for _ in 0..20 {
            admitted = admitted || self.as_member(&honest).await.is_ok();
        }
        ensure!(admitted, "nobody gets in while handshakes stall");
        Ok(())
    }

    /// Datagrams that are no QUIC, of no known version, or of no known connection.
    async fn garbage(&self) -> Result<()> {
        let socket = UdpSocket::bind(anywhere()).await?;
        for n in 0..20_000u32 {
            let mut datagram = vec![0; 1200];
            rand::fill(&mut datagram[..]);
            match n % 3 {
                // A long header with a version of the future, which is answered.
                0 => datagram[..5].copy_from_slice(&[0xc0, 0x7a, 0x7a, 0x7a, 0x7a]),
                // A short header of a connection that is not there.
                1 => datagram[0] = 0x40,
                _ => {}
            }
            socket.send_to(&datagram, self.target).await?;
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Connections that come and go: whole ones, refused ones, and ones cut off in the handshake.
    async fn churn(&self) -> Result<()> {
        let stranger = SecretKey::from_seed(&[98; 32]);
        for round in 0..150 {
            let member = Attacker::new(anywhere(), &self.member)?;
            self.as_member(&member).await.with_context(|| format!("connection {round}"))?;
            let validator = Attacker::new(anywhere(), &self.stolen)?;
            if let Err(error) = self.as_validator(&validator).await {
                // That the last one is gone may not be known there yet.
                let young = format!("{error:#}").contains("too young to be replaced");
                ensure!(young, "connection {round}: {error:#}");
            }
            let stranger = Attacker::new(anywhere(), &stranger)?;
            ensure!(self.as_member(&stranger).await.is_err(), "a stranger is admitted");
            let cut_off = stranger.begin(self.target)?;
            drop(cut_off);
            for attacker in [member, validator, stranger] {
                attacker.vanish();
            }
        }
        Ok(())
    }
}

/// Checks after an attack that the load went on and the memory did not grow.
async fn stands(what: &str, watch: &Watch, most: u64, load: &mut Load) -> Result<()> {
    load.progresses(50, SOON).await.with_context(|| format!("after {what}"))?;
    let highest = watch.highest()?;
    eprintln!("{what}: {} MiB, where {} MiB are allowed", mib(highest), mib(most));
    ensure!(highest <= most, "{} MiB under {what}, where {} MiB are allowed", mib(highest), mib(most));
    Ok(())
}

/// Every attack in turn on one validator of four, with another one down: each is refused, load goes on
/// meanwhile, and memory stays within a stated bound of what it was.
#[test]
fn hostile_peers_cost_no_memory_and_no_liveness() {
    with(&Plan::of(4), async |consortium: &mut Consortium| {
        for index in 0..4 {
            settings::change(consortium, index, settings::small_database)?;
        }
        consortium.start_all().await?;
        let mut load = load(consortium, 32).await?;
        load.progresses(300, SOON).await?;
        consortium.stop(STOLEN).await?;
        load.progresses(300, SOON).await?;
        let attack = Attack {
            target: address(consortium, VICTIM)?,
            chain: consortium.founding().chain(),
            member: MemberKeys::load(&consortium.keys(MEMBER))?.member,
            stolen: transport_key(consortium, STOLEN)?,
        };
        let watch = Watch::begin(consortium.pid(VICTIM).context("the victim runs")?);
        load.progresses(300, SOON).await?;
        let calm = watch.highest()?;

        eprintln!("before all: {} MiB", mib(calm));
        let most = calm + ROOM;

        attack.huge_frames().await.context("huge frames")?;
        stands("huge frames", &watch, most, &mut load).await?;
        attack.streams().await.context("streams")?;
        stands("thousands of streams", &watch, most, &mut load).await?;
        attack.half_open().await.context("half-open handshakes")?;
        stands("half-open handshakes", &watch, most, &mut load).await?;
        attack.garbage().await.context("garbage")?;
        stands("garbage", &watch, most, &mut load).await?;
        attack.churn().await.context("churn")?;
        stands("churn", &watch, most, &mut load).await?;
        attack.endless_frames(load.progresses(300, SOON)).await.context("endless frames")?;
        stands("endless frames", &watch, calm + FULL_ROOM, &mut load).await?;
        attack.unread_answers(load.progresses(300, SOON)).await.context("unread answers")?;
        stands("unread answers", &watch, calm + UNREAD_ROOM, &mut load).await?;

        // What was taken is given back: seats, handshakes, connections.
        let text = async || Ok::<_, anyhow::Error>(consortium.http(VICTIM, "/metrics").await?.1);
        let connections = async || -> Result<u64> {
            let text = text().await?;
            let line = text.lines().find_map(|line| line.strip_prefix("quorate_client_connections "));
            Ok(line.context("a metric")?.trim().parse()?)
        };
        let only_the_load =
            quorate_tests::wait::until("seats to be free", SOON, async || {
                match connections().await.map_err(|error| error.to_string())? {
                    1 => Ok(()),
                    more => Err(format!("{more} clients are connected")),
                }
            });
        only_the_load.await?;
        // The allocator gives memory back within a second or two.
        let given_back = quorate_tests::wait::until("memory to be given back", SOON, async || {
            match watch.highest().map_err(|error| error.to_string())? {
                highest if highest <= most => Ok(()),
                highest => Err(format!("{} MiB, where {} MiB are allowed", mib(highest), mib(most))),
            }
        });
        given_back.await?;
        stands("nothing more", &watch, most, &mut load).await?;

        consortium.start(STOLEN)?;
        consortium.ready(STOLEN).await?;
        let (_, acknowledged) = load.stop().await?;
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}
