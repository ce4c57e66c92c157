//! Every fuzz target over its corpus and over seeded mutations of it.
//!
//! A failure says which input of which target broke which promise, keeps it as a file, and tells how to
//! run that one again. `QUORATE_FUZZ_RUNS` sets how many mutations are made of each input of the corpus
//! (100 if it is not set), `QUORATE_FUZZ_START` the first of their numbers (0).

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

use quorate_node::storage::Standing;
use quorate_tests::fuzz::corpus::{self, Seed};
use quorate_tests::fuzz::{TARGETS, disk, memory, mutate, target};
use quorate_types::codec::{self, DecodeError};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Mutations of each input where nothing else is asked for.
const RUNS: u64 = 100;

/// Counts memory on the thread of the work only, so that tests may run side by side.
fn install_meter() {
    memory::install(|work| allocation_counter::measure(work).bytes_max);
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// The inputs kept for a target: names and bytes, by name.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = corpus::directory().join(target);
    let entries =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// Runs one input; on failure keeps it and says how to have it again.
fn run(name: &str, what: &str, input: &[u8]) {
    let run = target(name).unwrap_or_else(|| panic!("there is no target {name}"));
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) else { return };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let why = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    let path = std::env::temp_dir().join(format!("quorate-fuzz-{name}-{:016x}", fingerprint(input)));
    let saved =
        std::fs::write(&path, input).map_or_else(|error| error.to_string(), |()| path.display().to_string());
    let shown = &input[..input.len().min(32 << 10)];
    panic!(
        "target {name}, {what}: {why}\n\
         input of {} bytes: {}{}\n\
         kept as {saved}; again: QUORATE_FUZZ_REPLAY={name}:{saved} cargo test --release -p quorate-tests \
         --test fuzz replay\n\
         for good: move it to tests/fuzz/corpus/{name}/regression-<what>",
        input.len(),
        shown.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        if shown.len() < input.len() { " and more" } else { "" },
    );
}

/// FNV-1a: a name for a file.
fn fingerprint(input: &[u8]) -> u64 {
    input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How many times the usual number of mutations a target gets: what reads a whole store, or makes a file,
/// takes as long as a hundred others.
fn share(runs: u64, target: &str) -> u64 {
    match target {
        "store" => runs.div_ceil(10),
        "guard" | "export" | "marker" | "key_file" | "parameters" | "transaction" => runs.div_ceil(2),
        _ => runs,
    }
}

fn fuzz(name: &str) {
    install_meter();
    let kept = kept(name);
    for (file, input) in &kept {
        run(name, &format!("corpus file {file}"), input);
    }
    let made = corpus::oversize();
    for Seed { name: input, bytes, .. } in made.iter().filter(|seed| seed.target == name) {
        run(name, &format!("oversize input {input}"), bytes);
    }
    let inputs: Vec<Vec<u8>> = kept.iter().map(|(_, input)| input.clone()).collect();
    let (start, runs) = (number("QUORATE_FUZZ_START", 0), share(number("QUORATE_FUZZ_RUNS", RUNS), name));
    for (file, input) in &kept {
        for seed in start..start + runs {
            // Two inputs must not be changed alike.
            let seed = seed ^ fingerprint(file.as_bytes());
            run(name, &format!("seed {seed} of {file}"), &mutate::mutate(seed, input, &inputs));
        }
    }
}

macro_rules! each_target {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        mod target_of {
            $(#[test] fn $name() { super::fuzz(stringify!($name)); })*
        }
    };
}

each_target! {
    block card certificate config evidence export frames genesis gossip_frame guard hello identity
    key_file marker merkle message operations parameters prepared receipt receipt_file records
    request response state_proof store submission sync_frame transaction votes_frame
}

#[test]
fn every_target_has_its_test_its_corpus_and_its_binary() {
    let of_table: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(of_table, NAMES);
    let directories = std::fs::read_dir(corpus::directory()).unwrap();
    let directories: BTreeSet<String> =
        directories.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(directories, of_table.iter().map(|name| (*name).to_owned()).collect());
    let binaries = std::fs::read_to_string(corpus::directory().join("../Cargo.toml")).unwrap();
    for name in of_table {
        assert!(binaries.contains(&format!("name = \"{name}\"")), "tests/fuzz has no binary {name}");
        assert!(corpus::directory().join(format!("../targets/{name}.rs")).is_file(), "{name}");
    }
}

/// The files of the corpus are those that the generator makes, beside what was found.
#[test]
fn the_corpus_is_what_its_generator_makes() {
    let directory = corpus::directory();
    let made = corpus::seeds();
    let path = |seed: &Seed| directory.join(seed.target).join(format!("seed-{}", seed.name));
    let known: BTreeSet<PathBuf> = made.iter().map(&path).collect();
    let write = std::env::var_os("QUORATE_FUZZ_CORPUS").is_some_and(|value| value == "write");
    if write {
        for seed in &made {
            std::fs::create_dir_all(directory.join(seed.target)).unwrap();
            std::fs::write(path(seed), &seed.bytes).unwrap();
        }
    }
    let mut bytes = 0;
    for (name, _) in TARGETS {
        for (file, input) in kept(name) {
            // Other names are those of a run of libFuzzer, which git does not keep.
            if !["seed-", "found-", "regression-"].iter().any(|start| file.starts_with(start)) {
                continue;
            }
            bytes += input.len();
            let path = directory.join(name).join(&file);
            if file.starts_with("seed-") && !known.contains(&path) {
                assert!(write, "{} is made by nothing", path.display());
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    for seed in &made {
        let found =
            std::fs::read(path(seed)).unwrap_or_else(|error| panic!("{}: {error}", path(seed).display()));
        assert!(found == seed.bytes, "{} has changed", path(seed).display());
    }
    assert!(bytes < 400 << 10, "a corpus of {bytes} bytes");
}

/// An input that is refused at the door says nothing of what lies behind it.
#[test]
fn the_guard_files_of_the_corpus_are_believed() {
    install_meter();
    for seed in corpus::seeds().iter().filter(|seed| seed.target == "guard") {
        if ["first", "second", "both"].contains(&seed.name.as_str()) {
            assert_eq!(disk::guard_standing(&seed.bytes), Standing::Settled, "{}", seed.name);
        }
    }
}

/// Runs one input of one target, named as `target:file`.
#[test]
fn replay() {
    let Ok(input) = std::env::var("QUORATE_FUZZ_REPLAY") else { return };
    let (name, file) = input.split_once(':').expect("QUORATE_FUZZ_REPLAY is target:file");
    install_meter();
    run(name, file, &std::fs::read(Path::new(file)).unwrap());
}

/// A type that reads more bytes than it writes: only the comparison in `codec` can refuse those.
#[derive(Debug, PartialEq, Serialize)]
struct Even(u8);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Even, D::Error> {
        u8::deserialize(deserializer).map(|byte| Even(byte & 0xfe))
    }
}

#[test]
fn a_second_spelling_is_refused_whatever_the_type_lets_pass() {
    assert_eq!(codec::decode(&[6], 1), Ok(Even(6)));
    assert_eq!(codec::decode::<Even>(&[7], 1), Err(DecodeError::NotCanonical));
    let list = [&2u64.to_le_bytes()[..], &[6, 7]].concat();
    assert_eq!(codec::decode::<Vec<Even>>(&list, 64), Err(DecodeError::NotCanonical));
}

/// The caps themselves: a decoder that took what a list claims would be found out.
#[test]
fn the_meter_sees_what_is_taken_and_given_back() {
    install_meter();
    let cap = memory::Cap { fixed: 1 << 10, each: 1 };
    assert_eq!(memory::bounded(cap, 0, || vec![0u8; 1000].len()), 1000);
    let greedy = || memory::bounded(cap, 10, || drop(black_box(Vec::<u8>::with_capacity(1 << 20))));
    assert!(catch_unwind(greedy).is_err());
}
