//! What a service was given that nobody else may see.

use std::collections::BTreeMap;
use std::fmt;

/// A service's secrets by name. Never shown, logged or stored.
#[derive(Clone, Default)]
pub struct Secrets {
    values: BTreeMap<String, String>,
}

impl Secrets {
    /// Adds one.
    pub fn insert(&mut self, name: String, value: String) {
        self.values.insert(name, value);
    }

    /// The secret of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}
