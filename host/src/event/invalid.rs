//! Why something is no event.

use std::fmt;

/// Something is no event, and why. It names the attribute that is wrong, and
/// in a batch which event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidEvent {
    /// Which event of a batch, counted from 0.
    pub index: Option<usize>,
    /// The attribute, or `data`; `None` where it isn't one alone.
    pub attribute: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidEvent {
    /// The whole is wrong, not one attribute.
    pub(super) fn whole(reason: impl Into<String>) -> Self {
        Self { index: None, attribute: None, reason: reason.into() }
    }

    /// This attribute is wrong.
    pub(crate) fn attribute(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { index: None, attribute: Some(name.into()), reason: reason.into() }
    }

    /// The same of a batch's event, counted from 0.
    pub(super) fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }
}

impl fmt::Display for InvalidEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(f, "event {index}: ")?;
        }
        if let Some(attribute) = &self.attribute {
            write!(f, "{attribute}: ")?;
        }
        f.write_str(&self.reason)
    }
}
