//! What the flags of `hotdock up` are given: one that is wrong is told with all else that is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use clap::builder::{PossibleValue, TypedValueParser};

use crate::config::LogFormat;
use crate::escape;

/// The argument that names the plugin folder, which is no flag.
pub(super) const FOLDER: &str = "folder";

/// A flag's value, or what is wrong with it, which is told with all else that is wrong: clap would
/// end at the first.
pub(super) type Given<T> = Result<T, String>;

/// The flags whose values are wrong.
#[derive(Debug, Default)]
pub(super) struct WrongFlags {
    /// Their names; an [`app::Problem`](crate::app::Problem) calls its settings so, too.
    pub(super) keys: Vec<&'static str>,
    /// What is wrong with each.
    pub(super) words: Vec<String>,
}

impl WrongFlags {
    /// What a flag says, unless that is wrong.
    pub(super) fn unless<T>(&mut self, flag: &'static str, given: Option<Given<T>>) -> Option<T> {
        let wrong = match given? {
            Ok(value) => return Some(value),
            Err(wrong) => wrong,
        };
        let variable = flag.to_uppercase().replace('-', "_");
        let name = if flag == FOLDER { variable.clone() } else { format!("--{flag}") };
        self.keys.push(flag);
        self.words.push(format!("{name} (HOTDOCK_{variable}): {wrong}"));
        None
    }
}

/// Reads a flag's text; one that is wrong is told with all else.
#[derive(Clone)]
pub(super) struct Text<T>(pub(super) fn(&str) -> Given<T>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Text<T> {
    type Value = Given<T>;

    fn parse_ref(
        &self,
        _: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        Ok(text(value).and_then(self.0))
    }
}

/// A flag's value, where it is text. Values may begin with a hyphen, for what is meant as a number
/// to be told; but no other flag is taken for one.
fn text(value: &OsStr) -> Given<&str> {
    match value.to_str() {
        Some(flag) if flag.starts_with("--") => {
            Err(format!("a value is missing: `{flag}` is another flag"))
        }
        Some(text) => Ok(text),
        None => Err(format!("`{}` is no UTF-8 text", escape::path(Path::new(value)))),
    }
}

/// Reads a flag's path; one that can be none is told with all else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paths;

impl TypedValueParser for Paths {
    type Value = Given<PathBuf>;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        if value.as_encoded_bytes().starts_with(b"-") {
            let flag = escape::path(Path::new(value));
            return Ok(Err(format!(
                "a path is missing: `{flag}` begins as a flag does; ./{flag} is one of that name"
            )));
        }
        Folders.parse_ref(command, argument, value)
    }
}

/// The same of the argument that is no flag's: clap tells those from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folders;

impl TypedValueParser for Folders {
    type Value = Given<PathBuf>;

    fn parse_ref(
        &self,
        _: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        Ok(match value.is_empty() {
            true => Err("it is empty: name one, or leave it out".to_owned()),
            false => Ok(PathBuf::from(value)),
        })
    }
}

/// The forms of the log, which help and completions list; another is told with all else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Formats;

impl TypedValueParser for Formats {
    type Value = Given<LogFormat>;

    fn parse_ref(
        &self,
        _: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        Ok(text(value).and_then(|text| {
            let wrong = |_| format!("`{text}` is no form of the log: text or json is expected");
            LogFormat::from_str(text, false).map_err(wrong)
        }))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let all = LogFormat::value_variants().iter();
        Some(Box::new(all.filter_map(LogFormat::to_possible_value)))
    }
}
