//! How long something has been going on, on a terminal, below what is printed.

use std::time::{Duration, Instant};

use super::console::{self, Screen};

/// What is over by then need not be talked about.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time since the last step began.
pub(super) struct Elapsed {
    screen: Option<Screen>,
    since: Instant,
    /// The seconds that are on the screen.
    shown: Option<u64>,
}

impl Elapsed {
    /// Shown if it is `wanted` and there is a terminal.
    pub(super) fn new(wanted: bool) -> Self {
        let live = wanted && console::is_terminal();
        Self { screen: live.then(Screen::default), since: Instant::now(), shown: None }
    }

    /// Makes room for what is printed next; with `next` another step began.
    pub(super) fn clear(&mut self, next: bool) -> std::io::Result<()> {
        if next {
            (self.since, self.shown) = (Instant::now(), None);
            self.screen.as_mut().map_or(Ok(()), Screen::clear)?;
        }
        Ok(())
    }

    /// Shows it.
    pub(super) fn show(&mut self) -> std::io::Result<()> {
        let seconds = self.since.elapsed().as_secs();
        match &mut self.screen {
            Some(screen) if seconds >= PATIENCE.as_secs() && self.shown != Some(seconds) => {
                self.shown = Some(seconds);
                screen.show(&[format!("    {seconds} s")])
            }
            _ => Ok(()),
        }
    }
}
