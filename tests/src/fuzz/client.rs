//! Bytes of a client at a node, and of a node at a client.

use super::canonical;
use super::known::{self, Chain, chain};
use super::memory::{BINARY, TEXT, bounded};
use quorate_client::protocol::{
    CommittedBatch, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Request, Response, Submission,
};
use quorate_client::receipt_file;
use quorate_client::verify::{Finalities, Follower, VerifiedReceipt};
use quorate_ledger::{StateKey, StateProof};
use quorate_types::block::Block;
use quorate_types::hash::Hash;
use quorate_types::ids::Height;
use quorate_types::receipt::{Finality, Place, Receipt};

/// The first frame of a client's stream.
pub fn request(bytes: &[u8]) {
    canonical::<Request>(bytes, MAX_REQUEST_BYTES);
}

/// A further frame of a client that submits.
pub fn submission(bytes: &[u8]) {
    canonical::<Submission>(bytes, MAX_REQUEST_BYTES);
}

/// A frame of a node, and all the checks of the client on what it claims.
pub fn response(bytes: &[u8]) {
    let Some(response) = canonical::<Response>(bytes, MAX_RESPONSE_BYTES) else { return };
    bounded(BINARY, 4 * bytes.len(), || believe(response));
}

/// What the client would believe must be true; with the certificate endorsed, nothing may panic.
fn believe(response: Response) {
    let chain = chain();
    match response {
        Response::State { proof, mut finality } => {
            for key in &chain.keys {
                if let Ok(state) = chain.anchor.state(key, None, &proof, &finality) {
                    chain.assert_value(state.height(), key, state.value());
                }
            }
            endorse(&mut finality);
            for key in &chain.keys {
                let _verdict = chain.anchor.state(key, None, &proof, &finality);
            }
        }
        Response::Receipt(receipt) => check_receipt(*receipt),
        Response::Committed(batch) => committed(chain, batch),
        Response::Blocks { blocks, finality } => {
            follow(chain, &blocks);
            if let (Some(finality), [block]) = (finality, &blocks[..])
                && let Ok(block) = chain.anchor.block(None, block.clone(), &finality)
            {
                assert_eq!(chain.block(block.height()), Some(block.hash()), "a false block");
            }
        }
        Response::Refused { reason, .. } => drop(reason.to_string()),
        Response::Status(_) | Response::Trace(_) | Response::NotFound | Response::Unavailable(_) => {}
    }
}

fn committed(chain: &Chain, batch: CommittedBatch) {
    let CommittedBatch { mut finality, inclusions } = batch;
    let is_final = Finalities::new().check(&chain.anchor, &finality).is_ok();
    if inclusions.verify(&finality.header, &finality.result).is_ok() && is_final {
        for Place { record, .. } in &inclusions.places {
            chain.assert_outcome(record.transaction, finality.header.height, &record.outcome);
        }
    }
    endorse(&mut finality);
    let _verdict = Finalities::new().check(&chain.anchor, &finality);
}

/// A run of blocks from any height on: what is released must be the chain's.
fn follow(chain: &Chain, blocks: &[Block]) {
    for from in [Height(1), blocks.first().map_or(Height(u64::MAX), |block| block.header.height)] {
        let mut follower = Follower::new(chain.anchor.clone(), from);
        for block in blocks {
            let Ok(released) = follower.push(block.clone()) else { break };
            for block in released {
                assert_eq!(chain.block(block.height()), Some(block.hash()), "a false block");
            }
        }
        assert!(follower.resume() >= Height(1));
    }
}

/// Makes a certificate that stands for the last header, so that what lies behind it is looked at.
fn endorse(finality: &mut Finality) {
    let last = finality.descendants.last().unwrap_or(&finality.header);
    finality.certificate.commit.block = last.hash();
    finality.certificate.commit.height = last.height;
    if finality.descendants.is_empty() {
        finality.certificate.commit.result = finality.result.hash(&last.chain);
    }
    known::endorse(&mut finality.certificate);
}

/// A receipt in its binary form.
pub fn receipt(bytes: &[u8]) {
    let Some(receipt) = canonical::<Receipt>(bytes, Receipt::MAX_BYTES) else { return };
    check_receipt(receipt);
}

fn check_receipt(mut receipt: Receipt) {
    let chain = chain();
    if let Ok(verified) = chain.anchor.receipt(receipt.clone(), None) {
        is_true(&verified);
    }
    endorse(&mut receipt.finality);
    receipt.transaction = known::resign(receipt.transaction.transaction);
    let _verdict = chain.anchor.receipt(receipt, None);
}

fn is_true(receipt: &VerifiedReceipt) {
    let chain = chain();
    chain.assert_outcome(receipt.id(), receipt.height(), receipt.outcome());
    assert_eq!(chain.block(receipt.height()), Some(receipt.block()));
}

/// A receipt in its file.
pub fn receipt_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = bounded(TEXT, bytes.len(), || receipt_file::parse(text, &chain().anchor));
    if let Ok(verified) = parsed {
        assert!(receipt_file::render(&verified) == text, "another text says the same");
        is_true(&verified);
    }
}

/// A proof of the state, tried under every root of the chain and for every key.
pub fn state_proof(bytes: &[u8]) {
    let Some(proof) = canonical::<StateProof>(bytes, MAX_RESPONSE_BYTES) else { return };
    // The siblings come first, and they say how many they are.
    let siblings = bytes.first_chunk().map(|count| u64::from_le_bytes(*count));
    assert!(siblings.is_some_and(|count| count <= 256), "a key has 256 bits: {siblings:?} siblings");
    let chain = chain();
    for height in (0..).map(Height).take(chain.blocks.len() + 1) {
        let root = quorate_ledger::state_root(&chain.store, height);
        let root = root.expect("a sound store").expect("a committed height");
        for key in &chain.keys {
            if let Ok(value) = proof.verify(&root, key) {
                chain.assert_value(height, key, value.as_ref());
            }
        }
    }
    let nothing = StateKey::Namespace("nothing".into());
    assert!(proof.verify(&Hash([1; 32]), &nothing).is_err(), "a proof under a root that no state has");
}
