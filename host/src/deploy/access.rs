//! What a component's imports lead to: what its manifest asks for, and what the
//! host allows of it.

use serde::Serialize;

use crate::manifest::Manifest;

/// An import, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The interface, with its version.
    pub interface: String,
    /// What a call of it reaches, where that depends on the manifest or is
    /// nothing at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// Whether the host has it.
    pub provided: bool,
}

/// Each import with what it reaches, all of them being provided.
pub(super) fn imports(interfaces: Vec<String>, manifest: &Manifest) -> Vec<Import> {
    interfaces
        .into_iter()
        .map(|interface| Import { access: access(&interface, manifest), interface, provided: true })
        .collect()
}

/// What the manifest asks for and the component has no import to use.
pub(super) fn unused(interfaces: &[String], manifest: &Manifest) -> Vec<String> {
    let imports = |prefixes: &[&str]| {
        interfaces.iter().any(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    };
    let capabilities = &manifest.capabilities;
    let asked = [
        (!capabilities.outbound.is_empty(), "outbound", OUTGOING),
        (!capabilities.config.is_empty(), "config", CONFIG),
        (!capabilities.secrets.is_empty(), "secrets", CONFIG),
    ];
    asked
        .into_iter()
        .filter(|(asked, _, prefixes)| *asked && !imports(prefixes))
        .map(|(_, key, prefixes)| {
            let wanted = prefixes[0].trim_end_matches('@');
            format!("[capabilities] {key} has no use: the component does not import {wanted}")
        })
        .collect()
}

const OUTGOING: &[&str] = &["wasi:http/outgoing-handler@", "wasi:http/client@"];
const CONFIG: &[&str] = &["wasi:config/"];

fn access(interface: &str, manifest: &Manifest) -> Option<String> {
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| interface.starts_with(prefix));
    let capabilities = &manifest.capabilities;
    let denied = |what: &str| Some(format!("denied: {what}"));
    if is(OUTGOING) {
        let origins: Vec<String> = capabilities.outbound.iter().map(ToString::to_string).collect();
        return match origins.as_slice() {
            [] => denied("[capabilities] outbound names no origin"),
            origins => Some(format!("requests to {}", origins.join(", "))),
        };
    }
    if is(CONFIG) {
        let config = capabilities.config.keys().map(String::as_str);
        let secrets = capabilities.secrets.iter().map(|name| format!("{name} (secret)"));
        let names: Vec<String> = config.map(str::to_owned).chain(secrets).collect();
        return match names.as_slice() {
            [] => Some("empty: [capabilities] has neither config nor secrets".to_owned()),
            names => Some(names.join(", ")),
        };
    }
    if is(&["wasi:filesystem/preopens@"]) {
        return denied("there are no folders");
    }
    if is(&["wasi:sockets/"]) {
        return denied("there are no sockets; wasi:http sends requests");
    }
    if is(&["wasi:cli/environment@"]) {
        let names: Vec<&str> = capabilities.environment.keys().map(String::as_str).collect();
        return Some(match names.as_slice() {
            [] => "empty: [capabilities] has no environment".to_owned(),
            names => names.join(", "),
        });
    }
    if is(&["wasi:cli/stdin@"]) {
        return Some("closed".to_owned());
    }
    if is(&["wasi:cli/stdout@", "wasi:cli/stderr@", "wasi:logging/"]) {
        return Some("the host's log".to_owned());
    }
    if is(&["wasi:keyvalue/", "hotdock:sql/", "hotdock:transaction/"]) {
        return Some("the service's own store".to_owned());
    }
    if is(&["hotdock:events/publisher@"]) {
        return Some("the bus".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ManifestText;

    fn manifest(text: &str) -> Manifest {
        let text = ManifestText { file: "cart.toml".to_owned(), text: text.to_owned() };
        Manifest::read("cart", Some(&text)).expect("a good manifest")
    }

    #[test]
    fn an_import_says_what_the_manifest_opens_of_it() {
        let outgoing = "wasi:http/outgoing-handler@0.2.12";
        let closed = manifest("");
        assert_eq!(
            access(outgoing, &closed).as_deref(),
            Some("denied: [capabilities] outbound names no origin")
        );
        let open = manifest(
            "[capabilities]\noutbound = [\"https://api.example.com\"]\nsecrets = [\"KEY\"]\n",
        );
        assert_eq!(access(outgoing, &open).as_deref(), Some("requests to https://api.example.com"));
        assert_eq!(access("wasi:config/store@0.2.0-rc.1", &open).as_deref(), Some("KEY (secret)"));
        assert_eq!(access("wasi:clocks/wall-clock@0.2.0", &open), None);
    }

    #[test]
    fn what_is_asked_for_without_use_is_said() {
        let asks = manifest("[capabilities]\noutbound = [\"https://api.example.com\"]\n");
        let unused = unused(&["wasi:cli/stdin@0.2.0".to_owned()], &asks);
        assert_eq!(
            unused,
            ["[capabilities] outbound has no use: the component does not import \
              wasi:http/outgoing-handler"]
        );
    }
}
