//! Every command of `quorate` and `quorate-node` as a member types it, with its exit code.

use crate::{SOON, with};
use anyhow::{Context, Result, ensure};
use quorate_tests::consortium::{free_addresses, name};
use quorate_tests::programs::{Ran, program, run};
use quorate_tests::{Consortium, Plan};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Text of a field.
fn text<'a>(json: &'a Value, field: &str) -> Result<&'a str> {
    json[field].as_str().with_context(|| format!("{field} in {json}"))
}

/// The founding ceremony on the command line, by two validators and a member who share nothing but
/// cards and copies of the document; then the chain runs.
#[test]
fn founding_by_hand() {
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut consortium = found_by_hand(home.path()).unwrap();
    let run = async {
        consortium.start_all().await?;
        let told = consortium.quorate("shop", ["namespace", "create", "notes"])?;
        told.exits(0)?.says("applied")?;
        consortium.stop_all().await
    };
    runtime.block_on(run).unwrap();
}

fn found_by_hand(home: &Path) -> Result<Consortium> {
    let path = |name: &str| home.join(name).display().to_string();
    let quorate = |arguments: &[&str]| run(Command::new(program("quorate")?).args(arguments));
    let addresses = free_addresses(2)?;
    for (index, member) in ["acme", "bolt", "shop"].into_iter().enumerate() {
        let (keys, card) = (path(&format!("{member}/keys")), path(&format!("{member}/card.toml")));
        let new = ["keys", "new", "--dir", &keys];
        let validator = addresses.get(index);
        let flag = validator.map(|_| "--validator");
        quorate(&new.into_iter().chain(flag).collect::<Vec<_>>())?.exits(0)?;
        // Keys are never overwritten.
        quorate(&new)?.exits(1)?.says("exists already")?;
        quorate(&["keys", "show", "--dir", &keys])?.exits(0)?;
        let address = validator.map(ToString::to_string);
        let roles = if validator.is_some() { "validator,submitter" } else { "submitter" };
        let mut export =
            vec!["card", "export", "--dir", &keys, "--name", member, "--roles", roles, "--out", &card];
        if let Some(address) = &address {
            export.extend(["--address", address]);
        }
        quorate(&export)?.exits(0)?;
    }
    let cards = ["acme", "bolt", "shop"].map(|member| path(&format!("{member}/card.toml")));
    let draft = path("draft.toml");
    let mut new = vec!["genesis", "new", "--name", "trade", "--set", "window=8", "--out", &draft];
    new.extend(cards.iter().map(String::as_str));
    quorate(&new)?.exits(0)?.says("0 of 2 validators have signed")?;
    quorate(&["genesis", "finalise", &draft])?.exits(1)?.says("acme, bolt")?;

    // On copies, merged.
    let mut copies = Vec::new();
    for member in ["acme", "bolt"] {
        let copy = path(&format!("{member}/genesis.toml"));
        fs::copy(&draft, &copy)?;
        quorate(&["genesis", "inspect", &copy])?.exits(0)?.says("has NOT signed")?;
        quorate(&["genesis", "sign", "--dir", &path(&format!("{member}/keys")), &copy])?.exits(0)?;
        copies.push(copy);
    }
    let genesis = path("genesis.toml");
    quorate(&["genesis", "merge", &copies[0], &copies[1], "--out", &genesis])?.exits(0)?.says("final")?;
    let chain = quorate(&["genesis", "finalise", &genesis])?.exits(0)?.stdout;
    ensure!(chain.trim().len() == 64, "a chain id: {chain}");

    // A document that somebody edited after the signatures is refused, with the line.
    let edited = path("edited.toml");
    fs::write(&edited, fs::read_to_string(&genesis)?.replace("window = 8", "window = 9"))?;
    quorate(&["genesis", "finalise", &edited])?.exits(1)?.says("edited.toml:")?;

    for (member, address) in ["acme", "bolt"].into_iter().zip(&addresses) {
        let mut init = Command::new(program("quorate-node")?);
        init.args(["init", "--dir", &path(&format!("{member}/node")), "--genesis", &genesis]);
        init.args(["--keys", &path(&format!("{member}/keys")), "--listen", &address.to_string()]);
        run(init.args(["--http", "127.0.0.1:0"]))?.exits(0)?.says(chain.trim())?;
    }
    Consortium::open(home)
}

/// One member's terminal.
struct Terminal<'a> {
    consortium: &'a Consortium,
    member: &'static str,
}

impl Terminal<'_> {
    fn run<A: AsRef<OsStr>>(&self, code: i32, arguments: impl IntoIterator<Item = A>) -> Result<Ran> {
        self.consortium.quorate(self.member, arguments)?.exits(code)
    }

    /// With `--json`, whose output is one value.
    fn json(&self, code: i32, arguments: &[&str]) -> Result<Value> {
        self.run(code, arguments.iter().chain(&["--json"]))?.json()
    }
}

/// Writing, reading, receipts: as text and as JSON, with the exit code of each end.
#[test]
fn every_command_of_a_member() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let home = tempfile::tempdir()?;
        let path = |name: &str| home.path().join(name).display().to_string();
        let acme = Terminal { consortium, member: "acme" };
        let mill = Terminal { consortium, member: "mill" };

        namespaces(&acme, &mill)?;
        assets(&acme, &mill)?;

        // Several operations, all or none.
        let file = path("operations.json");
        let operations = r#"[{"put": {"namespace": "notes", "key": "a", "value": "1"}},
            {"put": {"namespace": "notes", "key": {"hex": "00ff"}, "value": {"hex": "feff"}}}]"#;
        fs::write(&file, operations)?;
        let submitted = acme.json(0, &["submit", &file])?;
        let id = text(&submitted, "transaction")?.to_owned();
        acme.run(0, ["get", "notes", "00ff", "--hex"])?;
        fs::write(
            &file,
            operations.replace("\"a\", \"value\": \"1\"", "\"a\", \"value\": \"2\", \"expected_version\": 0"),
        )?;
        acme.run(3, ["submit", &file])?.says("operation 0")?;
        acme.run(0, ["get", "notes", "a"])?.says("1")?;
        fs::write(&file, "[\n{\"puut\": {}}]")?;
        acme.run(2, ["submit", &file])?.says("operations.json:2")?;

        // The transaction, its block, its receipt, how it spread.
        let transaction = mill.json(0, &["tx", &id])?;
        ensure!(text(&transaction, "sender")? == "acme", "{transaction}");
        let height = submitted["height"].as_u64().context("a height")?.to_string();
        let block = mill.json(0, &["block", &height])?;
        ensure!(block["transactions"][0]["transaction"] == id.as_str(), "{block}");
        mill.run(0, ["block"])?.says("block ")?;
        let receipt = path("receipt.json");
        mill.run(0, ["receipt", &id, "--out", &receipt])?;
        mill.run(0, ["verify", "receipt", &receipt])?.says("verified")?;
        mill.run(0, ["trace", &id])?.says(&height)?;
        let status = mill.json(0, &["status"])?;
        ensure!(status.as_array().is_some_and(|validators| validators.len() == 4), "{status}");

        // What there is not.
        let nothing = "0".repeat(64);
        for arguments in
            [&["tx", &nothing][..], &["receipt", &nothing], &["trace", &nothing], &["block", "999999"]]
        {
            mill.run(4, arguments)?;
        }
        mill.run(2, ["get", "notes"])?;
        mill.run(2, ["balance", "credits", "nobody"])?.says("acme")?;
        mill.run(2, ["get", "notes", "a", "--node", "nobody"])?;

        // Handed in without waiting: the receipt tells.
        let id = acme.run(0, ["put", "notes", "later", "x", "--no-wait"])?.stdout;
        crate::cli::settles(&acme, id.trim()).await?;

        bulk(&acme, home.path())?;
        let export = path("export");
        mill.run(0, ["export", "--out", &export])?;
        let audited = mill.json(0, &["audit", &export])?;
        ensure!(text(&audited, "verdict")? == "ok", "{audited}");
        mill.run(0, ["audit"])?.says("audit: ok")?;
        mill.run(0, ["audit", "live", "--node", &name(2)])?.says(&name(2))?;
        Ok(())
    });
}

/// Waits until a transaction has a receipt.
async fn settles(terminal: &Terminal<'_>, id: &str) -> Result<()> {
    quorate_tests::wait::until("a receipt", SOON, async || {
        let ran = terminal.consortium.quorate(terminal.member, ["receipt", id]);
        let ran = ran.map_err(|error| format!("{error:#}"))?;
        if ran.code == Some(0) { Ok(()) } else { Err(ran.stderr) }
    })
    .await
}

fn namespaces(acme: &Terminal<'_>, mill: &Terminal<'_>) -> Result<()> {
    acme.run(0, ["namespace", "create", "notes"])?.says("applied")?;
    acme.run(3, ["namespace", "create", "notes"])?;
    acme.run(2, ["namespace", "create", "No Such Name"])?;
    let put = acme.json(0, &["put", "notes", "greeting", "hello"])?;
    ensure!(put["outcome"]["applied"] == true, "{put}");
    acme.run(0, ["get", "notes", "greeting"])?.says("hello")?;
    let version = put["height"].as_u64().context("a height")?.to_string();
    acme.run(0, ["put", "notes", "greeting", "hello again", "--expected-version", &version])?;
    acme.run(3, ["put", "notes", "greeting", "too late", "--expected-version", &version])?;
    acme.run(0, ["get", "notes", "greeting", "--height", &version])?.says("hello\n")?;
    acme.run(4, ["get", "notes", "no-such-key"])?.says("proven")?;

    mill.run(3, ["put", "notes", "from", "mill"])?;
    acme.run(
        0,
        ["namespace", "members", "notes", "--owner", "acme", "--writer", "mill", "--writer", "acme"],
    )?;
    mill.run(0, ["put", "notes", "from", "mill"])?;
    mill.run(0, ["delete", "notes", "from"])?;
    let absent = mill.json(4, &["get", "notes", "from"])?;
    ensure!(absent["value"].is_null(), "{absent}");
    Ok(())
}

fn assets(acme: &Terminal<'_>, mill: &Terminal<'_>) -> Result<()> {
    acme.run(0, ["asset", "create", "credits"])?;
    acme.run(0, ["asset", "mint", "credits", "acme", "340282366920938463463374607431768211455"])?;
    acme.run(3, ["asset", "mint", "credits", "acme", "1"])?;
    acme.run(0, ["asset", "transfer", "credits", "mill", "250"])?;
    mill.run(3, ["asset", "transfer", "credits", "acme", "251"])?;
    mill.run(3, ["asset", "mint", "credits", "mill", "1"])?;
    mill.run(0, ["asset", "burn", "credits", "50"])?;
    ensure!(mill.run(0, ["balance", "credits"])?.stdout.trim() == "200");
    let balance = acme.json(0, &["balance", "credits", "shop"])?;
    ensure!(text(&balance, "balance")? == "0", "{balance}");
    Ok(())
}

fn bulk(acme: &Terminal<'_>, home: &Path) -> Result<()> {
    let file = home.join("lines.jsonl");
    let put = |number: u32| {
        format!("{{\"put\": {{\"namespace\": \"notes\", \"key\": \"{number}\", \"value\": \"x\"}}}}\n")
    };
    let lines: String = (0..500).map(put).collect();
    fs::write(&file, &lines)?;
    let acknowledged = home.join("acknowledged").display().to_string();
    let path = file.display().to_string();
    let done = acme.json(0, &["bulk", &path, "--acknowledged", &acknowledged])?;
    ensure!(done["applied"] == 500, "{done}");
    ensure!(fs::read_to_string(&acknowledged)?.lines().count() == 500);

    // One line that the ledger rejects, one that is no operation.
    let rejected = lines.replace("\"7\"", "\"7\", \"expected_version\": 0");
    fs::write(&file, &rejected)?;
    acme.run(3, ["bulk", &path])?.says("line 8")?;
    fs::write(&file, format!("{lines}\n{{}}\n"))?;
    acme.run(2, ["bulk", &path])?.says("lines.jsonl:502")?;
    Ok(())
}

/// What an operator asks of a node on its own machine.
#[test]
fn every_command_of_an_operator() {
    with(&Plan::of(4), async |consortium| {
        let nothing = std::iter::empty::<&str>;
        let out = consortium.directory().join("export").display().to_string();
        consortium.node(0, "export", ["--out", &out])?.exits(4)?;
        consortium.start_all().await?;
        consortium.quorate("acme", ["asset", "create", "credits"])?.exits(0)?;

        let told = consortium.node(0, "status", nothing())?.exits(0)?;
        let told = told.says("ready         yes")?.says("committed     1 transactions")?;
        told.says("copies for each first one")?;
        let status = consortium.node(0, "status", ["--json"])?.exits(0)?.json()?;
        ensure!(text(&status, "name")? == "acme", "{status}");
        ensure!(consortium.http(0, "/healthz").await?.0 == 200);
        ensure!(consortium.http(0, "/readyz").await?.0 == 200);
        let (code, metrics) = consortium.http(0, "/metrics").await?;
        ensure!(code == 200 && metrics.contains("# TYPE quorate_") && metrics.trim_end().ends_with("# EOF"));

        // Init leaves what is there alone.
        let (genesis, keys) =
            (consortium.genesis().display().to_string(), consortium.keys("acme").display().to_string());
        let told = consortium.node(0, "init", ["--genesis", &genesis, "--keys", &keys])?;
        told.exits(2)?.says("exists already")?;

        consortium.stop(0).await?;
        consortium.node(0, "status", nothing())?.exits(7)?;
        consortium.node(0, "check", nothing())?.exits(0)?.says("every checksum good")?;
        consortium.node(0, "export", ["--out", &out])?.exits(0)?;

        // A mistake in the configuration is named with its line.
        let config = consortium.node_directory(0).join("node.toml");
        let text = fs::read_to_string(&config)?;
        fs::write(&config, format!("{text}\nlistne = 1\n"))?;
        consortium.node(0, "start", nothing())?.exits(2)?.says("listne")?;
        fs::write(&config, text)?;
        consortium.start(0)?;
        consortium.ready(0).await
    });
}
