//! `log`: what is logged, by `tracing`'s filters.

use serde::de::{Deserialize, Deserializer, Error as _};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Targets of the host's own that need no level, everything of them: itself, and the guests.
const OWN: [&str; 2] = ["hotdock", "guest"];

/// How alike a target is to one of the host's own that was meant.
const ALIKE: f64 = 0.9;

/// Whether a text says what to log.
///
/// # Errors
/// What is wrong with it.
pub fn check_log_filter(text: &str) -> Result<(), String> {
    // A word alone would be a target of that name, of which everything is logged.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let is_target = |word: &str| word.contains(['=', '[', ':']) || OWN.contains(&word);
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let expected = "error, warn, info, debug, trace, off, or TARGET=LEVEL are expected";
    if let Some(word) = words.into_iter().find(|word| !is_level(word) && !is_target(word)) {
        return Err(format!("`{word}` says nothing of what to log: {expected}"));
    }
    let targets = text.split(',').filter_map(|word| word.trim().split_once('='));
    for (target, _) in targets {
        let name = target.split(['[', ':']).next().unwrap_or_default();
        // What the host's crates log may be wanted, too, and none of them is called nearly so.
        let is_meant = |own: &&str| *own != name && strsim::jaro_winkler(own, name) >= ALIKE;
        if let Some(meant) = OWN.iter().copied().find(is_meant) {
            return Err(format!(
                "`{name}` is no part of the host; did you mean `{meant}`? {expected}"
            ));
        }
    }
    let filter = EnvFilter::try_new(text).map(drop);
    filter.map_err(|error| format!("`{text}` is no log filter ({error}): {expected}"))
}

pub(super) fn log<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    check_log_filter(&text).map_err(D::Error::custom)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FileConfig;

    #[test]
    fn a_filter_that_says_nothing_is_refused_with_its_place() {
        for good in [
            "info",
            "WARN",
            "off",
            "warn,guest=info",
            "hotdock::deploy=debug",
            "guest",
            "info,guest",
            "info,hyper=debug",
            "hotdock[request]=debug",
        ] {
            check_log_filter(good).expect(good);
        }
        let misspelled = ["hotdok=debug", "hotdok::deploy=debug"];
        for wrong in ["verbose", "info,verbose", "guest=loud"].into_iter().chain(misspelled) {
            let error = check_log_filter(wrong).expect_err(wrong);
            assert!(error.ends_with("TARGET=LEVEL are expected"), "{error}");
            let text = format!("data = \"x\"\nlog = \"{wrong}\"\n");
            let told = FileConfig::parse("hotdock.toml", &text).expect_err(wrong).to_string();
            assert!(told.starts_with("hotdock.toml:2:7: `log`: "), "{told}");
            assert!(told.ends_with(&error), "{told}");
        }
    }
}
