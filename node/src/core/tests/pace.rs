//! When blocks are proposed, and how soon transactions for them are wanted.

use super::{Cluster, seconds};
use crate::core::Demand;
use crate::core::api::Input;
use quorate_transport::Lane;
use quorate_types::parameters::Parameters;
use std::time::Duration;

/// With nothing in flight a leader proposes at once; else not before the pause is over, unless there is a
/// whole block.
#[test]
fn proposals_in_flight_are_apart() {
    let parameters = Parameters { max_block_transactions: 5, ..Parameters::default() };
    let mut cluster = Cluster::new(4, parameters);
    // Nothing commits, so whatever is proposed stays in flight.
    cluster.drop = Box::new(|_, _, _| true);
    let pending = |cluster: &Cluster| cluster.cores[0].as_ref().unwrap().footprint().pending_blocks;
    cluster.submit(0, 1, 0);
    assert_eq!(pending(&cluster), 1, "at once");
    let first = cluster.now;
    cluster.now += Duration::from_millis(1);
    cluster.submit(0, 1, 1);
    assert_eq!(pending(&cluster), 1);
    assert!(cluster.run(seconds(1), |cluster| pending(cluster) == 2));
    assert_eq!(cluster.now - first, Duration::from_millis(20));
    cluster.submit(0, 5, 2);
    assert_eq!(pending(&cluster), 3, "a whole block");
}

/// On a slow network a leader uses its whole window; if commits take as long for any other reason, it waits
/// for them.
#[test]
fn proposals_wait_for_work_and_not_for_the_network() {
    for (round_trip, least, most) in [(Duration::from_millis(60), 20, 40), (Duration::ZERO, 80, 200)] {
        let mut cluster = Cluster::new(4, Parameters { window: 4, ..Parameters::default() });
        cluster.delay = Duration::from_millis(30);
        cluster.input(0, Input::RoundTrips(vec![round_trip; 3]));
        for round in 0..30 {
            cluster.submit(0, 1, round);
            assert!(cluster.run(seconds(1), |c| c.all_committed(usize::try_from(round).unwrap() + 1)));
        }
        cluster.drop = Box::new(|_, _, _| true);
        let pending = |cluster: &Cluster| cluster.cores[0].as_ref().unwrap().footprint().pending_blocks;
        cluster.submit(0, 1, 30);
        cluster.submit(0, 1, 31);
        assert_eq!(pending(&cluster), 1);
        let first = cluster.now;
        assert!(cluster.run(seconds(1), |cluster| pending(cluster) == 2));
        let apart = (cluster.now - first).as_millis();
        assert!((least..most).contains(&apart), "{apart} ms apart with {round_trip:?}");
    }
}

#[test]
fn transactions_are_wanted_as_soon_as_they_are_of_use() {
    let demand = |cluster: &Cluster, i: usize| cluster.cores[i].as_ref().unwrap().demand();
    let mut cluster = Cluster::new(4, Parameters::default());
    // Nobody hears what was given to 1, so it waits there.
    cluster.drop = Box::new(|from, _, lane| lane == Lane::Gossip && from == 1);
    cluster.submit(1, 511, 0);
    assert_eq!(demand(&cluster, 1), Demand::Usual);
    cluster.submit(1, 1, 511);
    assert_eq!(demand(&cluster, 1), Demand::Satisfied, "others wait before them");
    assert_eq!(demand(&cluster, 0), Demand::Usual);

    // 2 hears of a block that has what was given to 0, and of that nothing.
    let mut cluster = Cluster::new(4, Parameters::default());
    cluster.drop = Box::new(|from, to, lane| lane == Lane::Gossip && from == 0 && to == 2);
    cluster.submit(0, 3, 0);
    assert_eq!(demand(&cluster, 2), Demand::Usual);
    assert!(cluster.run(seconds(1), |cluster| demand(cluster, 2) == Demand::Missing));
    assert!(cluster.run(seconds(3), |cluster| cluster.all_committed(3)));
    assert_eq!(demand(&cluster, 2), Demand::Usual);
}
