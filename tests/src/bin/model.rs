//! Explores the model of the ordering protocol, and prints what was found.
//!
//! `model` exhausts the scopes and breaks the rules in every known way; `model --trace NAME` prints one
//! counterexample; `model --walks N` takes random walks in a scope too large to exhaust.

use clap::Parser;
use quorate_tests::model::{
    Outcome, Rules, SCOPES, Scope, Variation, explore, explore_after, prefix_of, scope_of, walk,
};
use std::process::ExitCode;
use std::time::Instant;

/// Explores the model of the ordering protocol to exhaustion.
#[derive(Parser)]
struct Arguments {
    /// Print the shortest counterexample of this variation, and stop.
    #[arg(long, value_name = "NAME", value_parser = variation)]
    trace: Option<Variation>,
    /// Take this many random walks at three heights and four views, and stop.
    #[arg(long, value_name = "N")]
    walks: Option<u64>,
    /// Where the random walks begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Search for every counterexample from the beginning, also for the deep ones: minutes, and the one
    /// of `parent-prepared-before` is out of reach.
    #[arg(long)]
    from_start: bool,
    /// Steps to try in each scope at most.
    #[arg(long, default_value_t = 400_000_000)]
    limit: usize,
}

fn variation(name: &str) -> Result<Variation, String> {
    let known = || Variation::ALL.map(Variation::name).join(", ");
    Variation::ALL.into_iter().find(|v| v.name() == name).ok_or_else(|| format!("one of: {}", known()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let right = if let Some(variation) = arguments.trace {
        trace(variation, &arguments)
    } else if let Some(walks) = arguments.walks {
        random(arguments.seed, walks)
    } else {
        // Both tables, also when the first has bad news.
        let sound = scopes(arguments.limit);
        variations(&arguments) && sound
    };
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn trace(variation: Variation, arguments: &Arguments) -> bool {
    let scope = scope_of(variation);
    println!("{}, at {scope}:\n", variation.what());
    let outcome = search(variation, arguments);
    match &outcome.violation {
        Some(trace) => print!("{trace}"),
        None => println!("no violation in {} states", outcome.states),
    }
    outcome.violation.is_some()
}

fn search(variation: Variation, arguments: &Arguments) -> Outcome {
    let prefix = if arguments.from_start { Vec::new() } else { prefix_of(variation) };
    explore_after(Rules::new(scope_of(variation)).broken_by(variation), &prefix, arguments.limit)
}

fn random(seed: u64, walks: u64) -> bool {
    let scope = Scope { heights: 3, views: 4, window: 3, choices: 2 };
    let start = Instant::now();
    match walk(Rules::new(scope), seed, walks) {
        Ok(steps) => {
            println!("{walks} walks at {scope}: {steps} steps, {:.0?}, agreement holds", start.elapsed());
            true
        }
        Err(trace) => {
            println!("AGREEMENT BROKEN at {scope}, seed {seed}:\n\n{trace}");
            false
        }
    }
}

fn scopes(limit: usize) -> bool {
    println!("{:<44} {:>10} {:>11} {:>6} {:>7}  verdict", "scope", "states", "steps", "depth", "time");
    let mut sound = true;
    for scope in SCOPES {
        let outcome = explore(Rules::new(scope), limit);
        let verdict = match (&outcome.violation, outcome.exhausted) {
            (Some(_), _) => "AGREEMENT BROKEN",
            (None, true) => "exhausted, agreement holds",
            (None, false) => "agreement holds so far; not exhausted",
        };
        println!(
            "{:<44} {:>10} {:>11} {:>6} {:>6.0}s  {verdict}",
            scope.to_string(),
            outcome.states,
            outcome.transitions,
            outcome.depth,
            outcome.elapsed.as_secs_f64()
        );
        if let Some(trace) = &outcome.violation {
            println!("\n{trace}");
        }
        sound &= outcome.exhausted;
    }
    sound
}

fn variations(arguments: &Arguments) -> bool {
    println!(
        "\n{:<24} {:<44} {:>6} {:>6} {:>10} {:>7}  verdict",
        "variation", "scope", "steps", "prefix", "states", "time"
    );
    let mut bites = true;
    for variation in Variation::ALL {
        let scope = scope_of(variation);
        let outcome = search(variation, arguments);
        let (steps, verdict) = match &outcome.violation {
            Some(trace) => (trace.steps().to_string(), "breaks agreement"),
            None => ("-".to_owned(), "NO VIOLATION FOUND"),
        };
        println!(
            "{:<24} {:<44} {steps:>6} {:>6} {:>10} {:>6.0}s  {verdict}",
            variation.name(),
            scope.to_string(),
            if arguments.from_start { 0 } else { prefix_of(variation).len() },
            outcome.states,
            outcome.elapsed.as_secs_f64()
        );
        bites &= outcome.violation.is_some();
    }
    bites
}
