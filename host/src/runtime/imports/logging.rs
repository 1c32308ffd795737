//! `wasi:logging`: into the host's log, with service and version.

use wasmtime::component::Linker;

use super::Host;
use super::bindings::wasi::logging::logging::{self, Level};
use crate::runtime::instance::InstanceState;

/// A message is cut here.
const MESSAGE_LIMIT: usize = 8 << 10;

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    logging::add_to_linker::<_, Host>(linker, |state| state)
}

impl logging::Host for InstanceState {
    async fn log(
        &mut self,
        level: Level,
        context: String,
        message: String,
    ) -> wasmtime::Result<()> {
        let message = cut(&message);
        let context = cut(&context);
        if !self.log_budget.spend(message.len() + context.len(), &self.version) {
            return Ok(());
        }
        let service = &self.version.service;
        let version = self.version.number;
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(target: "guest", %service, version, context, "{message}")
            };
        }
        match level {
            Level::Trace => log!(trace),
            Level::Debug => log!(debug),
            Level::Info => log!(info),
            Level::Warn => log!(warn),
            // The host's log knows no level above error.
            Level::Error | Level::Critical => log!(error),
        }
        Ok(())
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_LIMIT)]
}
