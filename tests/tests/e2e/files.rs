//! Receipts and exports as files: they prove what they say, and no byte of them can be changed.

use crate::{SOON, apply, load, put, with};
use anyhow::{Context, Result, ensure};
use quorate_client::export::{Reader, Writer};
use quorate_tests::programs::quorate;
use quorate_tests::{Consortium, Plan};
use quorate_types::block::Block;
use quorate_types::codec;
use quorate_types::parameters::limits;
use quorate_types::transaction::{Operation, SignedTransaction};
use std::fs;
use std::path::Path;

/// Changes a chain as someone might who wants another history.
type Forge = fn(&mut Vec<Block>) -> Result<()>;

/// A receipt verifies on a machine that has nothing but it and the genesis document; tampered with, it
/// does not.
#[test]
fn a_tampered_receipt_is_detected() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let home = tempfile::tempdir()?;
        let file = home.path().join("receipt.json");
        let path = file.display().to_string();
        consortium.quorate("acme", ["namespace", "create", "notes"])?.exits(0)?;
        consortium.quorate("acme", ["put", "notes", "price", "100", "--receipt", &path])?.exits(0)?;
        consortium.stop_all().await?;

        // Offline, without keys.
        let nobody = home.path().join("no-keys");
        let verify = |path: &str| quorate(&consortium.genesis(), &nobody, ["verify", "receipt", path]);
        verify(&path)?.exits(0)?.says("verified")?;

        let text = fs::read_to_string(&file)?;
        let forged = home.path().join("forged.json");
        let path = forged.display().to_string();
        // A byte somewhere in each part, and what people read.
        let hex = text.find("\"receipt\": \"").context("the receipt's bytes")? + 12;
        let length = text.len() - hex - 5;
        let mut changes: Vec<Vec<u8>> = (0..40).map(|part| flip(&text, hex + part * length / 40)).collect();
        changes.push(text.replace("\"applied\"", "\"Applied\"").into_bytes());
        changes.push(text.replace("\"height\": ", "\"height\": 1").into_bytes());
        changes.push(format!("{text} ").into_bytes());
        changes.push(text.as_bytes()[..text.len() / 2].to_vec());
        for changed in changes {
            ensure!(changed != text.as_bytes(), "nothing was changed");
            fs::write(&forged, changed)?;
            verify(&path)?.exits(6)?;
        }

        // The receipt of another chain.
        let other = Consortium::temporary(&Plan::of(1))?;
        quorate(&other.genesis(), &nobody, ["verify", "receipt", &file.display().to_string()])?.exits(6)?;
        Ok(())
    });
}

/// The text with one hexadecimal digit changed.
fn flip(text: &str, at: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    bytes
}

fn blocks(consortium: &Consortium, file: &Path) -> Result<Vec<Block>> {
    Ok(Reader::open(file, &consortium.founding().chain())?.collect::<Result<_, _>>()?)
}

/// What the chain is: certificates may hold the votes of one quorum here and of another there.
fn without_certificates(blocks: &[Block]) -> Vec<Block> {
    blocks.iter().map(|block| Block { certificate: None, ..block.clone() }).collect()
}

/// The export of a live node and those of stopped directories hold the same chain, and prove it.
#[test]
fn live_and_stopped_nodes_export_the_same_chain() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let mut load = load(consortium, 64).await?;
        load.progresses(500, SOON).await?;
        let (_, acknowledged) = load.stop().await?;
        consortium.audit_each(&acknowledged).await?;

        let home = tempfile::tempdir()?;
        let file = |name: &str| home.path().join(name);
        let (live, out) = (file("live"), file("live").display().to_string());
        consortium.quorate("watch", ["export", "--out", &out])?.exits(0)?;
        consortium.node(0, "export", ["--out", &out])?.exits(1)?.says("in use")?;
        consortium.stop_all().await?;

        let chain = blocks(consortium, &live)?;
        ensure!(!chain.is_empty());
        for index in 0..consortium.len() {
            let stopped = file(&format!("stopped-{index}"));
            let out = stopped.display().to_string();
            consortium.node(index, "export", ["--out", &out])?.exits(0)?;
            let same = without_certificates(&blocks(consortium, &stopped)?) == without_certificates(&chain);
            ensure!(same, "validator {index} exports another chain");
            // Needs neither keys nor a network.
            quorate(&consortium.genesis(), &file("no-keys"), ["audit", &out])?.exits(0)?.says("audit: ok")?;
            consortium.node(index, "check", std::iter::empty::<&str>())?.exits(0)?;
        }
        quorate(&consortium.genesis(), &file("no-keys"), ["audit", &out])?.exits(0)?.says("audit: ok")?;
        Ok(())
    });
}

/// An export with anything changed: damage is named as such, and a skilful forgery fails the audit.
#[test]
fn a_tampered_export_is_detected() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let client = consortium.client("acme")?;
        apply(&client, vec![Operation::CreateNamespace { namespace: "notes".into() }]).await?;
        for number in 0..5 {
            apply(&client, vec![put("notes", format!("{number}"), "100 euros")]).await?;
        }
        let home = tempfile::tempdir()?;
        let honest = home.path().join("honest");
        consortium.quorate("watch", ["export", "--out", &honest.display().to_string()])?.exits(0)?;
        consortium.stop_all().await?;

        let forged = home.path().join("forged");
        let path = forged.display().to_string();
        let audit = || quorate(&consortium.genesis(), home.path(), ["audit", &path, "--json"]);
        let bytes = fs::read(&honest)?;
        for part in 0..50 {
            let at = part * bytes.len() / 50;
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&forged, changed)?;
            audit()?.exits(6)?;
        }
        for length in [10, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&forged, &bytes[..length])?;
            audit()?.exits(6)?;
        }

        // Written anew, so that the file is whole and its hash fits.
        let chain = blocks(consortium, &honest)?;
        let forgeries: [(&str, Forge, u64); 4] = [
            ("a value", |chain| change_value(&mut chain[3]), 4),
            (
                "a missing block",
                |chain| {
                    chain.remove(2);
                    Ok(())
                },
                3,
            ),
            (
                "a missing transaction",
                |chain| {
                    chain[4].transactions.clear();
                    Ok(())
                },
                5,
            ),
            (
                "the certificate of another block",
                |chain| {
                    let other = chain[0].certificate.clone();
                    let last = chain.last_mut().context("a block")?;
                    last.certificate = other;
                    Ok(())
                },
                chain.len() as u64,
            ),
        ];
        for (what, forge, height) in forgeries {
            let mut chain = chain.clone();
            forge(&mut chain)?;
            let mut writer = Writer::create(&forged, &consortium.founding().chain())?;
            for block in &chain {
                writer.write(block)?;
            }
            writer.finish()?;
            let told = audit()?.exits(6).context(what)?.json()?;
            ensure!(told["verdict"] == "wrong", "{what}: {told}");
            ensure!(told["height"] == height, "{what} at height {height}: {told}");
        }
        Ok(())
    });
}

/// The block with a value changed in place, the signature left as it was.
fn change_value(block: &mut Block) -> Result<()> {
    let bytes = block.transactions.first().context("a transaction")?;
    let mut signed: SignedTransaction = codec::decode(bytes, limits::TRANSACTION_BYTES)?;
    for operation in &mut signed.transaction.operations {
        if let Operation::Put { value, .. } = operation {
            *value = b"900 euros".to_vec();
        }
    }
    block.transactions[0] = codec::encode_bytes(&signed);
    Ok(())
}
