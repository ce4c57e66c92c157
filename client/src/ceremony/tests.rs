//! The ceremony as a person types it.

use super::{Command, Report};
use clap::Parser;
use std::path::Path;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// Runs a command line in `home`: words that contain a `/` or end in `.toml` are paths there.
fn run(home: &Path, line: &str) -> anyhow::Result<Report> {
    let words = line.split_whitespace().map(|word| {
        let is_path = word.contains('/') || word.ends_with(".toml");
        if is_path { home.join(word).display().to_string() } else { word.to_owned() }
    });
    CommandLine::try_parse_from(std::iter::once("quorate".to_owned()).chain(words))?.command.execute()
}

#[track_caller]
fn refused(home: &Path, line: &str, reason: &str) {
    let error = format!("{:#}", run(home, line).unwrap_err());
    assert!(error.contains(reason), "expected {reason:?}: {error}");
}

#[test]
fn a_consortium_founds_a_chain() {
    let home = tempfile::tempdir().unwrap();
    let run = |line: &str| run(home.path(), line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    for (port, name) in ["acme", "bolt", "crown", "dune"].into_iter().enumerate() {
        let made = run(&format!("keys new --dir ./{name} --validator"));
        let shown = run(&format!("keys show --dir ./{name}"));
        assert_eq!((made.text, made.json), (shown.text.clone(), shown.json));
        assert_eq!(shown.text.lines().count(), 3);
        run(&format!(
            "card export --dir ./{name} --name {name} --roles submitter,validator \
             --address 127.0.0.1:{} --out {name}.toml",
            26656 + port
        ));
    }
    for (name, role) in [("shop", "submitter"), ("watch", "auditor")] {
        run(&format!("keys new --dir ./{name}"));
        run(&format!("card export --dir ./{name} --name {name} --roles {role} --out {name}.toml"));
    }
    let cards = "acme.toml bolt.toml crown.toml dune.toml shop.toml watch.toml";
    let checked = run(&format!("card check {cards}"));
    assert!(checked.failure.is_none());
    assert_eq!(checked.json.as_array().unwrap().len(), 6);

    run(&format!("genesis new --name consortium --set window=8 {cards} --out genesis.toml"));
    let draft = run("genesis inspect genesis.toml");
    assert_eq!(draft.json["final"], false);
    assert_eq!(draft.json["parameters"]["window"], 8);
    assert_eq!(draft.json["unsigned"].as_array().unwrap().len(), 4);
    assert!(draft.text.contains("window                   8  (default 4)"), "{}", draft.text);
    refused(home.path(), "genesis finalise genesis.toml", "have not signed: acme, bolt, crown, dune");

    std::fs::copy(home.path().join("genesis.toml"), home.path().join("copy.toml")).unwrap();
    run("genesis sign --dir ./acme genesis.toml");
    run("genesis sign --dir ./bolt genesis.toml");
    run("genesis sign --dir ./crown copy.toml");
    run("genesis sign --dir ./dune copy.toml");
    let again = run("genesis sign --dir ./dune copy.toml");
    assert_eq!(again.json["unsigned"], serde_json::json!(["acme", "bolt"]));
    let merged = run("genesis merge genesis.toml copy.toml --out final.toml");
    assert_eq!(merged.json["unsigned"], serde_json::json!([]));

    let founded = run("genesis finalise final.toml");
    assert_eq!(founded.text.trim(), draft.json["chain_id"]);
    assert_eq!((&founded.json["quorum"], &founded.json["tolerated"]), (&3.into(), &1.into()));
    let inspected = run("genesis inspect final.toml");
    assert!(inspected.text.contains("final: all 4 validators have signed"), "{}", inspected.text);
    assert!(!inspected.text.contains("NOT"), "{}", inspected.text);
}

#[test]
fn slips_are_answered_with_cause_and_way_out() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let run = |line: &str| run(home, line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    run("keys new --dir ./acme --validator");
    run("keys new --dir ./shop");
    refused(home, "keys new --dir ./acme", "never overwritten");
    refused(home, "keys show --dir ./nobody", "quorate keys new");
    refused(home, "card export --dir ./acme --name acme --roles king", "the roles are");
    refused(home, "card export --dir ./acme --name Acme --roles auditor", "is no name");
    refused(home, "card export --dir ./acme --name acme --roles validator", "--address host:port");
    let shop = "card export --dir ./shop --name shop";
    refused(home, &format!("{shop} --roles validator --address a.example:1"), "keys new --validator");
    run(&format!("{shop} --roles submitter --out shop.toml"));
    refused(home, &format!("{shop} --roles submitter --out shop.toml"), "exists already");
    let acme = "card export --dir ./acme --name acme --roles validator --address";
    refused(home, &format!("{acme} acme"), "host:port");
    run(&format!("{acme} a.example:1 --out acme.toml"));

    let new = "genesis new --name chain --out genesis.toml";
    refused(home, &format!("{new} shop.toml"), "there is no validator");
    refused(home, &format!("{new} acme.toml acme.toml"), "appears twice");
    refused(home, &format!("{new} acme.toml --set windows=8"), "the parameters are window");
    refused(home, &format!("{new} acme.toml --set window=0"), "from 1 to 64");
    std::fs::write(home.join("p.toml"), "window = 4\nterm_blocks = 0\n").unwrap();
    refused(home, &format!("{new} acme.toml --parameters p.toml"), "p.toml:2: parameter `term_blocks` is 0");
    run(&format!("{new} acme.toml shop.toml"));
    run("genesis new --name chain --out other.toml acme.toml --set window=5");
    refused(home, "genesis merge genesis.toml other.toml --out x.toml", "different documents");
    refused(home, "genesis sign --dir ./shop genesis.toml", "no validator's keys");
    run("keys new --dir ./late --validator");
    refused(home, "genesis sign --dir ./late genesis.toml", "include your card");
    run("genesis new --name chain --out future.toml acme.toml --created-ms 253402300799999");
    refused(home, "genesis sign --dir ./acme future.toml", "lies ahead of this machine's clock");

    let card = std::fs::read_to_string(home.join("acme.toml")).unwrap();
    std::fs::write(home.join("bad.toml"), card.replace("a.example:1", "b.example:1")).unwrap();
    let checked = run("card check shop.toml bad.toml");
    assert_eq!(checked.failure.as_deref(), Some("1 of 2 cards are refused"));
    assert!(checked.text.contains("bad.toml:6: member \"acme\""), "{}", checked.text);
    assert_eq!(checked.json[1]["ok"], false);
}
