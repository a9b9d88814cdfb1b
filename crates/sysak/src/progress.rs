//! Progress on stderr: a line that is redrawn on a terminal, nothing otherwise.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sysak_report::{Speech, Stage, is_dumb, stage_name, watching};
use sysak_snapshot::{Stages, Watching};

/// The line on the terminal.
pub struct Line {
    bar: ProgressBar,
    speech: Speech,
    last: RefCell<Option<(Stage, Instant)>>,
}

/// Redrawing more often is only flicker.
const EVERY: Duration = Duration::from_millis(80);

impl Line {
    /// A line on stderr, if that is a terminal.
    pub fn new(speech: Speech) -> Line {
        let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
        let term = std::env::var_os("TERM");
        if !std::io::stderr().is_terminal() || is_dumb(term.as_deref()) {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {percent:>3}%")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Line { bar, speech, last: RefCell::new(None) }
    }

    /// Takes the line off the screen.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Stages for Line {
    fn tell(&self, stage: Stage, done: u64, total: u64) {
        let mut last = self.last.borrow_mut();
        if last.is_some_and(|(before, when)| before == stage && when.elapsed() < EVERY) {
            return;
        }
        *last = Some((stage, Instant::now()));
        // What watching has seen follows at once.
        if stage != Stage::Collect {
            self.bar.set_message(stage_name(self.speech.lang, stage));
        }
        self.bar.set_length(total.max(1));
        self.bar.set_position(done.min(total));
    }

    fn watching(&self, seen: &Watching<'_>) {
        let lang = self.speech.lang;
        let stage = stage_name(lang, Stage::Collect);
        let said = watching(lang, seen.events, seen.outstanding, seen.front_runner);
        self.bar.set_message(self.speech.show(&format!("{stage}: {said}")));
    }
}
