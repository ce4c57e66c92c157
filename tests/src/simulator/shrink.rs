//! The least that still fails: faults are taken out, noise and lies silenced, load and time cut, as long
//! as the same promise breaks.

use super::scenario::{Cut, Scenario};
use super::{Run, run};
use std::time::{Duration, Instant};

/// Runs tried at most for one failure.
const TRIES: usize = 150;

/// How long the search may take: recoveries that fail take long to simulate.
const PATIENCE: Duration = Duration::from_secs(60);

/// A smaller run with the same failure.
pub struct Shrunk {
    /// What was taken out.
    pub cut: Cut,
    /// The run that is left.
    pub run: Run,
    /// How many runs it took to find.
    pub tries: usize,
}

/// The search for one failure.
struct Search<'a> {
    whole: &'a Scenario,
    invariant: String,
    best: Cut,
    run: Run,
    tries: usize,
    began: Instant,
}

impl Search<'_> {
    /// Takes a cut if it still fails in the same way.
    fn accept(&mut self, cut: Cut) -> bool {
        if cut == self.best || self.tries >= TRIES || self.began.elapsed() > PATIENCE {
            return false;
        }
        self.tries += 1;
        let run = run(&self.whole.clone().with_cut(cut.clone()), false);
        let same = run.failure.as_ref().is_some_and(|failure| failure.invariant == self.invariant);
        if same {
            (self.best, self.run) = (cut, run);
        }
        same
    }

    fn shorten(&mut self) {
        // Nothing later than the failure matters to it, and perhaps much of what is earlier does not.
        let failed = self.run.failure.as_ref().map_or(Duration::MAX, |failure| failure.at);
        let whole = self.whole.stress;
        let most = self.best.stress_ms.map_or(whole, Duration::from_millis).min(failed);
        for share in [8, 4, 2, 1] {
            let stress = u64::try_from(most.as_millis()).unwrap_or(u64::MAX) / share;
            if self.accept(Cut { stress_ms: Some(stress.max(1)), ..self.best.clone() }) {
                break;
            }
        }
    }

    fn lighten(&mut self) {
        let most = self.best.load.unwrap_or(self.whole.load.transactions);
        for load in [0, 1, 2, 5, 10, 20, most / 2] {
            if load < most && self.accept(Cut { load: Some(load), ..self.best.clone() }) {
                break;
            }
        }
    }

    /// Takes out faults in halves, quarters, and one by one.
    fn mend(&mut self) {
        let mut keep = self.best.keep.clone().unwrap_or_else(|| (0..self.whole.faults.len()).collect());
        let mut size = keep.len().max(1);
        while size > 0 && !keep.is_empty() {
            let mut at = 0;
            while at < keep.len() {
                let end = (at + size).min(keep.len());
                let fewer: Vec<usize> = keep[..at].iter().chain(&keep[end..]).copied().collect();
                if self.accept(Cut { keep: Some(fewer.clone()), ..self.best.clone() }) {
                    keep = fewer;
                } else {
                    at = end;
                }
            }
            size /= 2;
        }
    }
}

/// Shrinks a failing run of `scenario`, or returns `None` if it does not fail.
pub fn shrink(scenario: &Scenario) -> Option<Shrunk> {
    let first = run(scenario, false);
    let invariant = first.failure.as_ref()?.invariant.clone();
    let mut search = Search {
        whole: scenario,
        invariant,
        best: scenario.cut.clone(),
        run: first,
        tries: 0,
        began: Instant::now(),
    };
    search.accept(Cut { honest: true, ..search.best.clone() });
    search.accept(Cut { quiet: true, ..search.best.clone() });
    search.accept(Cut { brisk: true, ..search.best.clone() });
    search.accept(Cut { nimble: true, ..search.best.clone() });
    for _ in 0..2 {
        search.shorten();
        search.mend();
        search.lighten();
    }
    Some(Shrunk { cut: search.best, run: search.run, tries: search.tries })
}
