//! What the person sees: numbered steps, and a bar on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often progress is told where there is no terminal.
const PLAIN: Duration = Duration::from_secs(2);

/// Numbered steps, with the time since the start.
pub(crate) struct Steps {
    started: Instant,
    number: u32,
}

impl Steps {
    pub(crate) fn new() -> Steps {
        Steps { started: Instant::now(), number: 0 }
    }

    /// Begins the next step.
    pub(crate) fn next(&mut self, what: &str) {
        self.number += 1;
        let time = self.started.elapsed().as_secs_f64();
        if colour() {
            println!("\x1b[1m{}. {what}\x1b[0m  \x1b[2m{time:.1} s\x1b[0m", self.number);
        } else {
            println!("{}. {what}  [{time:.1} s]", self.number);
        }
    }

    /// A line of the present step.
    pub(crate) fn say(&self, what: &str) {
        println!("   {what}");
    }
}

fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Progress of something that is counted.
pub(crate) struct Progress {
    bar: ProgressBar,
    plain: Option<Instant>,
    total: u64,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Progress {
        if !std::io::stdout().is_terminal() {
            return Progress { bar: ProgressBar::hidden(), plain: Some(Instant::now()), total };
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stdout());
        let template =
            if colour() { "   {bar:40.cyan} {pos}/{len} {msg}" } else { "   {bar:40} {pos}/{len} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar, plain: None, total }
    }

    /// So many are done.
    pub(crate) fn tell(&mut self, done: u64, message: impl FnOnce() -> String) {
        match &mut self.plain {
            None => {
                self.bar.set_position(done);
                self.bar.set_message(message());
            }
            Some(last) if last.elapsed() >= PLAIN => {
                *last = Instant::now();
                println!("   {done} of {}, {}", self.total, message());
            }
            Some(_) => {}
        }
    }

    /// Prints a line without tearing the bar.
    pub(crate) fn say(&self, what: &str) {
        self.bar.suspend(|| println!("   {what}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
