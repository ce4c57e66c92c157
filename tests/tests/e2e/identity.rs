//! Strangers, wrong keys, wrong chains: refused, and told why.

use crate::{apply, with};
use anyhow::{Context, Result, ensure};
use quorate_genesis::MemberKeys;
use quorate_genesis::keys::KeyKind;
use quorate_tests::consortium::name;
use quorate_tests::programs::quorate;
use quorate_tests::{Consortium, Plan};
use quorate_transport::{Client, ClientConfig, ConnectError};
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::SecretKey;
use quorate_types::transaction::Operation;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Dials the first validator with a key and a chain of one's own choice, expecting the transport key of
/// another validator or its own.
async fn dial(
    consortium: &Consortium,
    key: &SecretKey,
    chain: ChainId,
    expected: u16,
) -> Result<Result<(), ConnectError>> {
    let validator = |index| consortium.founding().validator(ValidatorIndex(index)).context("a validator");
    let client = Client::new(key, chain, ClientConfig::default())?;
    let (address, expected) = (validator(0)?.address.to_string(), validator(expected)?.transport_key);
    let dialled = client.connect(&address, expected, Duration::from_secs(10)).await.map(|_| ());
    client.shutdown().await;
    Ok(dialled)
}

/// On the network: who may connect, and what others are told.
#[test]
fn strangers_are_refused_on_the_network() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let member = MemberKeys::load(&consortium.keys("watch"))?.member;
        let chain = consortium.founding().chain();
        dial(consortium, &member, chain, 0).await??;

        let stranger = SecretKey::from_seed(&rand::random());
        let refused = dial(consortium, &stranger, chain, 0).await?;
        ensure!(matches!(refused, Err(ConnectError::NotAdmitted { .. })), "a stranger is told {refused:?}");
        let refused = dial(consortium, &member, ChainId(Hash([7; 32])), 0).await?;
        let told = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
        ensure!(told.contains("wrong chain"), "who means another chain is told {refused:?}");
        let refused = dial(consortium, &member, chain, 1).await?;
        ensure!(
            matches!(refused, Err(ConnectError::WrongKey { .. })),
            "the wrong validator passes: {refused:?}"
        );

        // A validator's other keys open nothing either: TLS never signs with the key that votes.
        let keys = MemberKeys::load(&consortium.keys(&name(1)))?;
        let vote = keys.validator.context("keys of a validator")?.vote;
        let refused = dial(consortium, &vote, chain, 0).await?;
        ensure!(matches!(refused, Err(ConnectError::NotAdmitted { .. })), "a vote key is told {refused:?}");

        // Nobody was disturbed by that.
        let client = consortium.client("shop")?;
        apply(&client, vec![Operation::CreateAsset { asset: "credits".into() }]).await?;
        Ok(())
    });
}

/// The program says so before anybody is asked; a member without the role is told by the validators.
#[test]
fn the_wrong_key_is_named() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let home = tempfile::tempdir()?;
        let keys = home.path().join("stranger");
        MemberKeys::create(&keys, false)?;
        let told = quorate(&consortium.genesis(), &keys, ["put", "notes", "x", "y"])?;
        told.exits(2)?.says("belongs to no member")?;

        // An auditor reads, and does not submit.
        let told = consortium.quorate("watch", ["asset", "create", "credits"])?;
        told.exits(3)?.says("submit")?;
        consortium.quorate("shop", ["asset", "create", "credits"])?.exits(0)?;
        consortium.quorate("watch", ["block", "1"])?.exits(0)?.says("create_asset")?;

        let file = consortium.keys("shop").join(KeyKind::Member.file_name());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        consortium.quorate("shop", ["balance", "credits"])?.exits(2)?.says("chmod 600")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        consortium.quorate("shop", ["balance", "credits"])?.exits(0)?;
        Ok(())
    });
}

/// A validator does not start with keys that are not its own, nor on a directory that is not its own.
#[test]
fn a_validator_starts_only_as_itself() {
    with(&Plan::of(4), async |consortium| {
        let home = tempfile::tempdir()?;
        let stranger = home.path().join("stranger");
        MemberKeys::create(&stranger, true)?;
        // Its member key, with votes of its own making.
        let forger = home.path().join("forger");
        MemberKeys::create(&forger, true)?;
        let member = KeyKind::Member.file_name();
        fs::copy(consortium.keys(&name(0)).join(member), forger.join(member))?;
        for (keys, why) in [
            (stranger, "not in the genesis document"),
            (consortium.keys("shop"), "runs no validator"),
            (forger, "vote.key holds"),
        ] {
            let keys = keys.display().to_string();
            consortium.node(0, "start", ["--keys", &keys])?.exits(2)?.says(why)?;
        }

        consortium.start_all().await?;
        consortium
            .node(0, "start", ["--listen", "127.0.0.1:0", "--http", "off"])?
            .exits(1)?
            .says("in use")?;
        consortium.stop(0).await?;

        // The directory of another chain, under its own genesis document.
        let other = Consortium::temporary(&Plan::of(1))?;
        let data = consortium.node_directory(0).join("data").display().to_string();
        other.node(0, "start", ["--data", &data])?.exits(1)?.says("belongs to chain")?;
        Ok(())
    });
}
