//! How much chance each look at a canary may use up, so that all looks together roll a
//! version that is like the old one back in at most one canary of a thousand.

/// The probability that a canary is rolled back though its version is like the old one.
const PER_CANARY: f64 = 0.001;

/// Looks are taken in windows: a step, or a pause while it is held.
#[derive(Clone, Copy, Debug)]
pub(in crate::deploy) struct Spending {
    /// Counted from 1.
    window: f64,
    looks: f64,
}

impl Spending {
    /// From the step that it is at, counted from 0.
    pub(in crate::deploy) fn at_step(step: usize) -> Self {
        Self { window: step as f64 + 1.0, looks: 0.0 }
    }

    /// Another window.
    pub(in crate::deploy) fn next_window(&mut self) {
        self.window += 1.0;
        self.looks = 0.0;
    }

    /// For one more look in this window. All of them use half of what the window has,
    /// however many there are.
    pub(in crate::deploy) fn one_more_look(&mut self) -> f64 {
        self.looks += 1.0;
        0.5 * self.window() * series(self.looks)
    }

    /// For the look that ends the window, which has the other half.
    pub(in crate::deploy) fn last_look(&self) -> f64 {
        0.5 * self.window()
    }

    fn window(&self) -> f64 {
        PER_CANARY * series(self.window)
    }
}

/// 1/2, 1/6, 1/12, …: all together 1.
fn series(number: f64) -> f64 {
    1.0 / (number * (number + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_looks_together_use_no_more_than_there_is() {
        let mut spending = Spending::at_step(0);
        let mut sum = 0.0;
        for _ in 0..1000 {
            sum += (0..1000).map(|_| spending.one_more_look()).sum::<f64>() + spending.last_look();
            spending.next_window();
        }
        assert!((0.99 * PER_CANARY..=PER_CANARY).contains(&sum), "{sum}");
    }
}
