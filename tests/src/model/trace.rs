//! A run of the model as text.

use super::actions::Action;
use super::block::Block;
use super::rules::Rules;
use super::state::State;
use std::fmt;

/// Steps from the beginning, and what came of each.
#[derive(Debug, Clone)]
pub struct Trace {
    lines: Vec<(Action, Vec<String>)>,
}

impl Trace {
    /// The run that takes `actions` from the beginning, one after the other.
    pub fn of(rules: Rules, actions: impl IntoIterator<Item = Action>) -> Trace {
        let mut state = State::default();
        let mut lines = Vec::new();
        for action in actions {
            let next = rules.after(&state, action);
            lines.push((action, news(&state, &next)));
            state = next;
        }
        Trace { lines }
    }

    /// How many steps it takes.
    pub fn steps(&self) -> usize {
        self.lines.len()
    }
}

/// What `after` has that `before` had not.
fn news(before: &State, after: &State) -> Vec<String> {
    let mut news = Vec::new();
    for (view, (old, new)) in before.prepared.iter().zip(&after.prepared).enumerate() {
        for (old, new) in old.iter().zip(new) {
            let prepared = new.iter().filter(|block| !old.contains(*block));
            news.extend(prepared.map(|block| format!("{block} can be shown prepared in view {view}")));
        }
    }
    for (old, new) in before.certified.iter().zip(&after.certified) {
        if old != new && *new != Block::GENESIS {
            news.push(format!("{new} has a certificate"));
        }
    }
    if let Some((one, other)) = after.fork {
        news.push(format!("so have both {one} and {other}, of which neither extends the other"));
    }
    news
}

/// One line for each step: what was done, and after an arrow what came of it.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (action, news)) in self.lines.iter().enumerate() {
            write!(f, "{:4}  {action}", at + 1)?;
            if !news.is_empty() {
                write!(f, "  -> {}", news.join("; "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
