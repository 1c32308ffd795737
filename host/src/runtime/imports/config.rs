//! `wasi:config`: what the manifest's `[capabilities] config` gives the service,
//! and its secrets to whoever asks for them by name.

use wasmtime::component::Linker;

use super::Host;
use super::bindings::wasi::config0_2_0_draft as draft;
use super::bindings::wasi::config0_2_0_draft_2024_09_27 as draft_2024_09_27;
use super::bindings::wasi::config0_2_0_rc_1 as rc_1;
use crate::runtime::instance::InstanceState;

type Entries = Vec<(String, String)>;

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    draft::store::add_to_linker::<_, Host>(linker, |state| state)?;
    draft::runtime::add_to_linker::<_, Host>(linker, |state| state)?;
    draft_2024_09_27::store::add_to_linker::<_, Host>(linker, |state| state)?;
    rc_1::store::add_to_linker::<_, Host>(linker, |state| state)
}

fn get(state: &InstanceState, key: &str) -> Option<String> {
    let config = state.manifest.capabilities.config.get(key).map(String::as_str);
    config.or_else(|| state.secrets.get(key)).map(str::to_owned)
}

fn get_all(state: &InstanceState) -> Entries {
    let config = &state.manifest.capabilities.config;
    config.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The four interfaces differ in their names only.
macro_rules! serve_config {
    ($($interface:path => $error:path),* $(,)?) => {$(
        impl $interface for InstanceState {
            async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, $error>> {
                Ok(Ok(get(self, &key)))
            }

            async fn get_all(&mut self) -> wasmtime::Result<Result<Entries, $error>> {
                Ok(Ok(get_all(self)))
            }
        }
    )*};
}

serve_config! {
    draft::store::Host => draft::store::Error,
    draft::runtime::Host => draft::runtime::ConfigError,
    draft_2024_09_27::store::Host => draft_2024_09_27::store::Error,
    rc_1::store::Host => rc_1::store::Error,
}
