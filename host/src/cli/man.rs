//! `hotdock man`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Arguments, console};

/// Print hotdock's manual page, or write one for each command into a folder.
///
/// `hotdock man | man -l -` shows it; `hotdock man ~/.local/share/man/man1` installs them all.
#[derive(Debug, clap::Args)]
pub(super) struct Manual {
    /// Where hotdock.1, hotdock-up.1 and so on go; it is made if it isn't there
    folder: Option<PathBuf>,
}

impl Manual {
    /// Whether all there is of it is what it prints.
    pub(super) fn only_prints(&self) -> bool {
        self.folder.is_none()
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match &self.folder {
            Some(folder) => std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
                .with_context(|| folder.display().to_string())?,
            None => {
                let mut page = Vec::new();
                Man::new(Arguments::command()).render(&mut page)?;
                console::own(&page)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
