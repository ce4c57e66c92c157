//! Command lines as people type them.

use super::*;
use clap::CommandFactory;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_is_understood() {
    let lines = [
        "quorate put crates serde 1.0.229",
        "quorate put crates serde --value-file ./value --expected-version 0 --receipt r.json",
        "quorate put crates 00ff 00 --hex --no-wait",
        "quorate get crates serde --height 7",
        "quorate delete crates serde --expected-version 7",
        "quorate namespace create crates",
        "quorate namespace members crates --owner acme --owner bolt --writer cask",
        "quorate asset create credits",
        "quorate asset mint credits acme 1000",
        "quorate asset transfer credits bolt 340282366920938463463374607431768211455",
        "quorate asset burn credits 5",
        "quorate balance credits",
        "quorate balance credits bolt --height 3",
        "quorate submit operations.json --lifetime 2.5",
        "quorate bulk",
        "quorate bulk lines.jsonl --in-flight 100 --acknowledged acks",
        "quorate block",
        "quorate block 7",
        "quorate tx 0000000000000000000000000000000000000000000000000000000000000001",
        "quorate receipt 0000000000000000000000000000000000000000000000000000000000000001 --out r.json",
        "quorate verify receipt r.json",
        "quorate audit",
        "quorate audit chain.quorate",
        "quorate export --out chain.quorate",
        "quorate watch --from 3",
        "quorate status",
        "quorate trace 0000000000000000000000000000000000000000000000000000000000000001",
        "quorate keys new --dir keys",
        "quorate --genesis g.toml --keys k --node acme --node 127.0.0.1:26656 --timeout 3 --json -vv status",
        "quorate status --json --genesis g.toml -v",
    ];
    for line in lines {
        if let Err(error) = parse(line) {
            panic!("{line}\n{error}");
        }
    }
}

#[test]
fn mistakes_are_usage_errors() {
    let lines = [
        "quorate",
        "quorate put crates serde",
        "quorate put crates serde value --value-file f",
        "quorate put crates serde value --receipt r --no-wait",
        "quorate asset mint credits acme -5",
        "quorate tx 12",
        "quorate bulk --in-flight 0",
        "quorate bulk --in-flight 16385",
        "quorate get crates serde --height -1",
        "quorate namespace members crates",
        "quorate status --timeout 0",
        "quorate nonsense",
    ];
    for line in lines {
        let error = parse(line).map(|cli| format!("{:?}", cli.command)).unwrap_err();
        assert!(error.use_stderr(), "{line}");
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
    }
    assert!(!parse("quorate --help").unwrap_err().use_stderr());
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let before = parse("quorate --json --genesis g.toml status").unwrap();
    let after = parse("quorate status --json --genesis g.toml").unwrap();
    for cli in [before, after] {
        assert!(cli.global.json);
        assert_eq!(cli.global.genesis.as_deref(), Some(Path::new("g.toml")));
    }
}

#[test]
fn audit_tells_files_from_live() {
    let is_file = |line: &str| match parse(line).unwrap().command {
        Command::Audit(args) => args.is_file(),
        other => panic!("{other:?}"),
    };
    assert!(!is_file("quorate audit"));
    assert!(!is_file("quorate audit live"));
    assert!(is_file("quorate audit ./live"));
    assert!(is_file("quorate audit chain.quorate"));
}

#[test]
fn without_a_genesis_document_nothing_is_asked() {
    let cli = parse("quorate status").unwrap();
    let context = Context::new(Global { genesis: None, ..cli.global });
    let failure = context.client().map(|_| ()).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.remedy.is_some_and(|remedy| remedy.contains("QUORATE_GENESIS")));
}

#[test]
fn interrupting_names_what_is_under_way() {
    let context = Context::new(parse("quorate status").unwrap().global);
    assert_eq!(context.interrupted().exit.code(), 130);
    assert!(context.interrupted().transaction.is_none());
    let id = quorate_types::hash::TransactionId::default();
    context.set_under_way(context::UnderWay::Transaction(id));
    assert_eq!(context.interrupted().transaction, Some(id));
    // Of many, those that were handed in count, before any has landed.
    let counts = Arc::<context::Counts>::default();
    context.set_under_way(context::UnderWay::Bulk(Arc::clone(&counts)));
    counts.submitted.store(4096, Ordering::Relaxed);
    let told = context.interrupted().to_string();
    assert!(told.contains("0 transactions were settled; up to 4096 more may still commit"), "{told}");
}
