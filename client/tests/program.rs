//! The program `quorate` as a person runs it: what it prints where, and its exit codes.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use common::node::{Behaviour, Validators, start};
use common::{keys, put};
use quorate_types::transaction::Operation;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tokio::task::block_in_place;

use Behaviour::{Down, Honest, Liar};

struct Home {
    dir: TempDir,
    validators: Validators,
}

/// A member's machine: the genesis document and `shop`'s keys.
fn home(behaviours: [Behaviour; 4]) -> Home {
    let validators = start(behaviours);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("genesis.toml"), &validators.consortium.genesis_toml).unwrap();
    let member = keys(4).member;
    let key = dir.path().join("keys/member.key");
    fs::create_dir(key.parent().unwrap()).unwrap();
    let seed: String = member.to_seed().iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&key, format!("quorate member key, version 1\nsecret {seed}\npublic {}\n", member.public()))
        .unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    Home { dir, validators }
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command
            .args(line.split_whitespace())
            .args(["--timeout", "2"])
            .current_dir(self.dir.path())
            .env("QUORATE_GENESIS", "genesis.toml")
            .env("QUORATE_KEYS", "keys")
            .env_remove("QUORATE_LOG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Ran {
        block_in_place(|| self.command(line).output().unwrap().into())
    }

    fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}\n{}{}", ran.out, ran.err);
        ran
    }
}

fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_reads_and_their_exit_codes() {
    let home = home([Honest; 4]);
    assert!(home.ok("namespace create crates").out.starts_with("applied  transaction "));
    let put = home.ok("put crates serde 1.0.229 --json --receipt serde.json").json();
    assert_eq!((put["outcome"]["applied"].as_bool(), put["height"].as_u64()), (Some(true), Some(2)));
    let got = home.ok("get crates serde");
    assert_eq!(got.out, "1.0.229\n");
    assert!(got.err.starts_with("version 2, proven at block 2, "));
    assert_eq!(home.ok("get crates serde --json").json()["version"], 2);

    let absent = home.run("get crates tokio");
    assert_eq!((absent.code, absent.out.as_str()), (4, ""));
    assert!(absent.err.contains("no such key, proven at block 2"), "{}", absent.err);
    assert_eq!(home.run("get crates serde --height 1").code, 4);
    assert_eq!(home.run("block 99").code, 4);

    let rejected = home.run("put crates serde 2 --expected-version 1 --json");
    assert_eq!(rejected.code, 3);
    assert_eq!(rejected.json()["outcome"]["applied"], false);
    let error: Value = serde_json::from_str(&rejected.err).unwrap();
    assert_eq!(error["error"]["exit"], 3);
    assert!(error["error"]["cause"].as_str().unwrap().contains("version is 2"), "{error}");

    home.ok("put crates 00ff ff00 --hex");
    let json = home.ok("get crates 00ff --hex --json").json();
    assert_eq!(json["key"]["hex"], "00ff");
    fs::write(home.path("value"), b"a\0b").unwrap();
    home.ok("put crates file --value-file value");
    assert_eq!(home.ok("get crates file").out, "a\0b\n");
    home.ok("delete crates file");
    assert_eq!(home.run("get crates file").code, 4);

    home.ok("asset create credits");
    home.ok("asset mint credits shop 1000");
    home.ok("asset transfer credits acme 300");
    home.ok("asset burn credits 50");
    assert_eq!(home.ok("balance credits").out, "650\n");
    assert_eq!(home.ok("balance credits acme --json").json()["balance"], "300");
    assert_eq!(home.ok("balance credits bolt").out, "0\n");
    assert_eq!(home.run("asset burn credits 651").code, 3);
    home.ok("namespace members crates --owner shop --writer acme --writer shop");

    let operations = r#"[{"create_namespace": {"namespace": "x"}},
        {"put": {"namespace": "x", "key": "k", "value": "v"}}]"#;
    fs::write(home.path("ops.json"), operations).unwrap();
    home.ok("submit ops.json");
    let again = home.run("submit ops.json");
    assert_eq!(again.code, 3);
    assert!(again.err.contains("operation 0 of 2"), "{}", again.err);
    fs::write(home.path("bad.json"), "[\n{\"putt\": {}}]").unwrap();
    let bad = home.run("submit bad.json");
    assert_eq!(bad.code, 2);
    assert!(bad.err.starts_with("error: bad.json:2: unknown variant `putt`"), "{}", bad.err);

    let id = put["transaction"].as_str().unwrap();
    assert_eq!(home.ok(&format!("tx {id} --json")).json()["operations"][0]["put"]["key"], "serde");
    assert!(home.ok(&format!("tx {id}")).out.contains("outcome  applied"));
    assert!(home.ok("block 2").out.contains(id));
    assert_eq!(home.ok("block 2 --json").json()["transactions"][0]["transaction"], id);
    home.ok(&format!("receipt {id} --out again.json"));
    assert_eq!(fs::read(home.path("again.json")).unwrap(), fs::read(home.path("serde.json")).unwrap());
    assert_eq!(home.run(&format!("receipt {}", "0".repeat(64))).code, 4);
    assert_eq!(home.ok("status --json").json().as_array().unwrap().len(), 4);
    assert!(home.ok("status").out.contains("acme"));
    assert!(home.ok(&format!("trace {id}")).out.contains("a client"));
    let handed = home.ok("put crates later 1 --no-wait --json").json();
    assert!(handed["handed_to"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_and_exports_verify_offline_and_tampering_shows() {
    let mut home = home([Honest; 4]);
    home.ok("namespace create crates --receipt receipt.json");
    for n in 0..20 {
        home.validators.commit(vec![put("crates", &format!("k{n}"), "v")]);
    }
    home.ok("export --out chain.quorate");
    let audited = home.ok("audit");
    assert!(audited.out.starts_with("audit: ok") && audited.err.is_empty(), "{}", audited.err);
    // How far the chain goes is one validator's word then.
    let audited = home.ok("audit --node acme");
    assert!(audited.out.contains("source        acme"), "{}", audited.out);
    assert!(audited.err.contains("only 1 of the 2 validators needed"), "{}", audited.err);
    for index in 0..4 {
        home.validators.stop(index).await;
    }
    // From here on there is nobody to ask.
    assert!(home.ok("verify receipt receipt.json").out.starts_with("verified  applied"));
    let audited = home.ok("audit chain.quorate --json").json();
    assert_eq!((audited["verdict"].as_str(), audited["height"].as_u64()), (Some("ok"), Some(21)));
    flip(&home.path("receipt.json"), 700);
    assert_eq!(home.run("verify receipt receipt.json").code, 6);
    let length = usize::try_from(fs::metadata(home.path("chain.quorate")).unwrap().len()).unwrap();
    flip(&home.path("chain.quorate"), length / 2);
    let wrong = home.run("audit chain.quorate");
    assert_eq!(wrong.code, 6, "{}{}", wrong.out, wrong.err);
    assert!(wrong.err.starts_with("error: "));
    assert_eq!(home.run("block").code, 7);
    assert_eq!(home.run("status").code, 7);
    assert_eq!(home.run("block --genesis nowhere.toml").code, 2);
    assert_eq!(home.run("nonsense").code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_exit_code_six() {
    let home = home([Liar; 4]);
    home.validators.commit(vec![Operation::CreateNamespace { namespace: "crates".to_owned() }]);
    let ran = home.run("get crates x");
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.err.contains("its answer does not verify"), "{}", ran.err);
    home.validators.behave(0, Honest);
    assert_eq!(home.run("get crates x").code, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_from_file_and_stdin() {
    let home = home([Honest, Honest, Down, Honest]);
    home.ok("namespace create crates");
    let line =
        |n: u32| format!("{{\"put\": {{\"namespace\": \"crates\", \"key\": \"k{n}\", \"value\": \"v\"}}}}\n");
    let lines: String = (0..300).map(line).collect();
    fs::write(home.path("lines"), &lines).unwrap();
    let json = home.ok("bulk lines --acknowledged acks --in-flight 64 --json").json();
    assert_eq!((json["applied"].as_u64(), json["unknown"].as_u64()), (Some(300), Some(0)));
    assert!(json["p99_ms"].as_f64().unwrap() > 0.0);
    let acks = fs::read_to_string(home.path("acks")).unwrap();
    assert_eq!(acks.lines().count(), 300);
    let first: Vec<&str> = acks.lines().next().unwrap().split(' ').collect();
    let [line_number, id, height, "applied"] = first[..] else { panic!("{first:?}") };
    assert!((1..=300).contains(&line_number.parse::<u32>().unwrap()));
    assert_eq!(home.ok(&format!("tx {id} --json")).json()["height"].to_string(), height);

    let feed = |input: String, options: &str| {
        block_in_place(|| {
            let mut child = home
                .command(&format!("bulk {options}"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            Ran::from(child.wait_with_output().unwrap())
        })
    };
    let failing = "{\"burn\": {\"asset\": \"none\", \"amount\": 1}}\n";
    let mixed = feed(format!("{}{failing}", line(1)), "-");
    assert_eq!(mixed.code, 3);
    assert!(mixed.err.contains("line 2, transaction "), "{}", mixed.err);
    assert!(mixed.out.contains("applied    1\nfailed     1"), "{}", mixed.out);
    let bad = feed(format!("{}nonsense\n{}", line(1), line(2)), "");
    assert_eq!(bad.code, 2);
    assert!(bad.err.contains("stdin:2: "), "{}", bad.err);
    assert!(bad.err.contains("(1 of them)"), "{}", bad.err);
    assert!(bad.out.contains("submitted  1\napplied    1"), "{}", bad.out);

    // A full disk for the receipts loses neither the totals nor what is graver.
    let full = feed(line(1), "- --acknowledged /dev/full");
    assert_eq!(full.code, 1);
    assert!(full.out.contains("applied    1"), "{}", full.out);
    assert!(full.err.contains("it lacks some"), "{}", full.err);
    let full = feed(format!("{}{failing}", line(1)), "- --acknowledged acks2");
    assert_eq!(full.code, 3);
    let mut acks: Vec<String> =
        fs::read_to_string(home.path("acks2")).unwrap().lines().map(Into::into).collect();
    acks.sort();
    assert!(acks[0].starts_with("1 ") && acks[0].ends_with(" applied"), "{acks:?}");
    assert!(acks[1].starts_with("2 ") && acks[1].ends_with(" failed"), "{acks:?}");
}

/// Whoever reads the output may have gone; that makes no failure a success.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_one_with_stdout_closed() {
    let home = home([Honest; 4]);
    home.ok("namespace create crates");
    fs::write(home.path("lines"), "{\"burn\": {\"asset\": \"none\", \"amount\": 1}}\n").unwrap();
    let run = |line: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        block_in_place(|| home.command(line).stdout(writer).output().unwrap().status.code())
    };
    assert_eq!(run("put nowhere a b"), Some(3));
    assert_eq!(run("bulk lines"), Some(3));
    assert_eq!(run("get crates a --json"), Some(4));
    assert_eq!(run("put crates a b"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_prints_json_lines_and_ctrl_c_is_130() {
    let home = home([Honest; 4]);
    home.ok("namespace create crates");
    let mut child =
        home.command("watch --from 1 --json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(lines);
    for height in 1..=5u64 {
        let line: Value = serde_json::from_str(&block_in_place(|| lines.next().unwrap().unwrap())).unwrap();
        assert_eq!(line["height"], height);
        home.validators.commit(vec![put("crates", "k", &height.to_string())]);
    }
    let pid = child.id().to_string();
    block_in_place(|| {
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
    });
}
