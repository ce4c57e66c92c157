//! Who may connect, asked of a running consortium: each refusal with its reason.

use crate::{SOON, load, with};
use anyhow::{Context, Result, bail, ensure};
use quorate_client::protocol::NodeStatus;
use quorate_genesis::MemberKeys;
use quorate_tests::consortium::name;
use quorate_tests::network::attacker::{Attacker, Claim, why};
use quorate_tests::{Consortium, Plan};
use quorate_transport::CloseCode;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::SecretKey;
use std::net::SocketAddr;

/// Any port of this machine.
pub(crate) fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Where a validator listens.
pub(crate) fn address(consortium: &Consortium, index: usize) -> Result<SocketAddr> {
    let mut details = consortium.founding().validator_details();
    let (_, details) = details.find(|(_, details)| details.name == name(index)).context("a validator")?;
    Ok(details.address.to_string().parse()?)
}

/// A validator's key for connections, as a thief of it would have it.
pub(crate) fn transport_key(consortium: &Consortium, index: usize) -> Result<SecretKey> {
    let keys = MemberKeys::load(&consortium.keys(&name(index)))?;
    Ok(keys.validator.context("a validator's keys")?.transport)
}

/// A validator's claim.
pub(crate) fn validator(index: u16) -> Claim {
    Claim::Validator { index: ValidatorIndex(index), process: u64::from(index) + 1 }
}

/// Tries to be admitted, and checks that it fails with this reason.
async fn refused(
    attacker: &Attacker,
    target: SocketAddr,
    chain: ChainId,
    claim: Claim,
    reason: &str,
) -> Result<()> {
    match attacker.admitted(target, chain, claim).await {
        Ok(_) => bail!("admitted, where {reason:?} was expected"),
        Err(error) => ensure!(format!("{error:#}").contains(reason), "{reason:?} was expected of: {error:#}"),
    }
    Ok(())
}

/// Keys and claims that do not fit: every one is refused by name, and the load goes on.
#[test]
fn whoever_is_not_who_they_say_is_refused_by_name() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let mut load = load(consortium, 32).await?;
        load.progresses(50, SOON).await?;
        let target = address(consortium, 0)?;
        let chain = consortium.founding().chain();
        let member = MemberKeys::load(&consortium.keys("shop"))?.member;
        let own = transport_key(consortium, 0)?;
        let other = transport_key(consortium, 1)?;
        let stranger = SecretKey::from_seed(&[99; 32]);

        // A key that no member holds: the alert access_denied.
        let attacker = Attacker::new(anywhere(), &stranger)?;
        refused(&attacker, target, chain, Claim::Client, "error 49").await?;
        refused(&attacker, target, chain, validator(1), "error 49").await?;
        // A key that a member holds, and a signature by another: the alert decrypt_error.
        for signs in [&stranger, &member] {
            let attacker = Attacker::showing(anywhere(), other.public(), signs)?;
            refused(&attacker, target, chain, validator(1), "error 51").await?;
        }
        // A good key, and a claim that it does not hold.
        let identity = ("claims an identity that its key does not hold", CloseCode::WrongIdentity);
        let oneself = ("this node holds the same key", CloseCode::Oneself);
        let elsewhere = ChainId(Hash([8; 32]));
        let wrong = [
            (&other, chain, validator(2), identity),
            (&other, chain, validator(77), identity),
            (&other, chain, Claim::Client, identity),
            (&member, chain, validator(1), identity),
            (&member, elsewhere, Claim::Client, ("belongs to chain 0808", CloseCode::WrongChain)),
            // The validator's own key, whatever it claims.
            (&own, chain, validator(0), oneself),
            (&own, chain, validator(1), oneself),
        ];
        for (key, chain, claim, (text, code)) in wrong {
            let attacker = Attacker::new(anywhere(), key)?;
            for reason in [format!("closed by peer: {text}"), format!("(code {})", code.number())] {
                refused(&attacker, target, chain, claim, &reason).await?;
            }
        }
        load.progresses(100, SOON).await?;

        // A validator's key in two places: the newer connection stays, each older one is told.
        let thief = Attacker::new(anywhere(), &other)?;
        let stolen = loop {
            match thief.admitted(target, chain, validator(1)).await {
                Ok(connection) => break connection,
                // The owner's connection may be young yet.
                Err(error) => {
                    ensure!(format!("{error:#}").contains("too young to be replaced"), "{error:#}");
                    load.progresses(10, SOON).await?;
                }
            }
        };
        load.progresses(100, SOON).await?;
        let told = why(&stolen).await?;
        ensure!(told.contains(&format!("code {}", CloseCode::Superseded.number())), "{told}");
        for _ in 0..20 {
            // One that is young stays.
            if let Err(error) = thief.admitted(target, chain, validator(1)).await {
                ensure!(format!("{error:#}").contains("too young to be replaced"), "{error:#}");
            }
        }
        load.progresses(100, SOON).await?;
        let back = |status: &NodeStatus| status.peers.iter().all(|peer| peer.connected);
        consortium.sees(0, "all its peers again", SOON, back).await?;

        let (_, acknowledged) = load.stop().await?;
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// A client that keeps sessions and tries to resume them, with early data: it gets no ticket, and every
/// handshake is a whole one.
#[test]
fn no_session_is_resumed_and_no_early_data_is_taken() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let chain = consortium.founding().chain();
        let member = MemberKeys::load(&consortium.keys("shop"))?.member;
        let other = transport_key(consortium, 1)?;
        // Its own connections would be young, and stay.
        consortium.stop(1).await?;
        for (key, claim) in [(&member, Claim::Client), (&other, validator(1))] {
            let attacker = Attacker::new(anywhere(), key)?;
            for _ in 0..5 {
                // Tickets would come before the answer to the hello, or with it.
                let connection = attacker.admitted(address(consortium, 0)?, chain, claim).await?;
                connection.close(0u32.into(), b"");
                let Err(connecting) = attacker.begin(address(consortium, 0)?)?.into_0rtt() else {
                    bail!("early data could be sent");
                };
                connecting.await?.close(0u32.into(), b"");
            }
            ensure!(attacker.tickets() == 0, "{} session tickets", attacker.tickets());
        }
        Ok(())
    });
}
