//! Proposals of what may stand in no block.

use super::*;
use quorate_pbft::PrePrepare;
use quorate_types::block::transactions_root;

/// What is committed already, and what is no member's, may stand in no block: whoever leads next can do nothing
/// about it, and must not be suspected for it.
#[test]
fn what_a_leader_names_against_the_rules_is_forgotten_with_its_view() {
    let mut cluster = Cluster::new(4, Parameters::default());
    let submission = cluster.submission(1, 1, 0);
    let mut named = submission.transactions().expect("they are").to_vec();
    cluster.input(1, submission);
    assert!(cluster.run(seconds(5), |c| c.all_committed(1)));
    let stranger = SecretKey::from_seed(&[77; 32]);
    let expires_at = Timestamp(u64::MAX);
    let operations = vec![Operation::CreateNamespace { namespace: "s".into() }];
    let (chain, sender) = (cluster.genesis.chain, stranger.public());
    let foreign = Transaction { chain, sender, nonce: 1, expires_at, operations }.sign(&stranger);
    named.push(verify_transaction(&chain, codec::encode_bytes(&foreign)).unwrap());
    let committed = records::read_block(&cluster.disks[1], Height(1)).unwrap().unwrap();
    assert_eq!(committed.ids, [named[0].id()], "the same is handed in again");

    cluster.crash(0);
    let ids: Vec<TransactionId> = named.iter().map(|transaction| transaction.id()).collect();
    let mut header = committed.header;
    header.parent = header.hash();
    header.height = Height(2);
    header.transaction_count = 2;
    header.transactions_root = transactions_root(&ids);
    let proposal = PrePrepare { view: View(0), header, ids };
    let proposal = Signed::new(proposal, &chain, Cluster::index(0), &keys(0).1);
    let proposal = codec::encode_bytes(&Message::PrePrepare(Box::new(proposal)));
    let committee = Arc::clone(cluster.cores[1].as_ref().unwrap().committee());
    let proposal = VerifiedMessage::decode(proposal, &committee).unwrap();
    for i in 1..4 {
        let bodies = PeerInput::Transactions { hops: 1, transactions: named.clone() };
        for frame in [PeerInput::Consensus(proposal.clone()), bodies] {
            cluster.input(i, Input::Peer { from: Cluster::index(0), frame });
        }
    }
    let view = |c: &Cluster, i: usize| c.cores[i].as_ref().unwrap().status().view;
    let changed = |c: &Cluster| (1..4).all(|i| view(c, i) == View(1));
    assert!(cluster.run(seconds(5), changed), "they waited for the bodies, and refused the block");
    cluster.run(seconds(30), |_| false);
    for i in 1..4 {
        assert_eq!(cluster.cores[i].as_ref().unwrap().footprint().mempool, (0, 0));
        assert_eq!(view(&cluster, i), View(1), "nobody waits");
    }
    cluster.submit(2, 10, 100);
    assert!(cluster.run(seconds(5), |c| c.all_committed(11)), "{} committed", cluster.acknowledged.len());
}
