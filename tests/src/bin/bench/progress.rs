//! What the person sees meanwhile, on standard error: a bar on a terminal, lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    started: Instant,
    bar: Option<ProgressBar>,
    section: &'static str,
    done: u64,
}

impl Progress {
    /// Of so many sections.
    pub(crate) fn new(sections: usize) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(sections as u64), target);
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let template = if plain {
                "{elapsed} {bar:30} {pos}/{len} {msg}"
            } else {
                "{elapsed} {bar:30.cyan} {pos}/{len} {msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Progress { started: Instant::now(), bar, section: "", done: 0 }
    }

    /// Begins the next section.
    pub(crate) fn section(&mut self, name: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
        self.done += 1;
        self.section = name;
        self.say("begins");
    }

    /// The section that runs.
    pub(crate) fn name(&self) -> &'static str {
        self.section
    }

    /// What is done now.
    pub(crate) fn say(&self, what: &str) {
        let section = self.section;
        match &self.bar {
            Some(bar) => bar.set_message(format!("{section}: {what}")),
            None => eprintln!("[{:6.1} s] {section}: {what}", self.started.elapsed().as_secs_f64()),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
