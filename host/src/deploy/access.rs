//! What a component's imports lead to: what its manifest asks for, and what the
//! host allows of it.

use serde::Serialize;

use crate::manifest::Manifest;
use crate::name::ServiceName;
use crate::runtime::functions::{is_of_services, unversioned};

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
    let calls_nobody = !interfaces.iter().any(|name| is_of_services(name));
    let calls = (!capabilities.calls.is_empty() && calls_nobody).then(|| {
        "[capabilities] calls has no use: the component imports no interface of another service"
            .to_owned()
    });
    let imported =
        |interface: &&String| interfaces.iter().any(|name| unversioned(name) == **interface);
    let unimported = manifest.imports.keys().filter(|interface| !imported(interface));
    let unimported = unimported.map(|interface| {
        format!("[imports] \"{interface}\" has no use: the component does not import it")
    });
    asked
        .into_iter()
        .filter(|(asked, _, prefixes)| *asked && !imports(prefixes))
        .map(|(_, key, prefixes)| {
            let wanted = prefixes[0].trim_end_matches('@');
            format!("[capabilities] {key} has no use: the component does not import {wanted}")
        })
        .chain(calls)
        .chain(unimported)
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
    if is_of_services(interface) {
        let callee = manifest.imports.get(unversioned(interface));
        let callees: Vec<&str> = match callee {
            Some(callee) => vec![callee.as_str()],
            None => capabilities.calls.iter().map(ServiceName::as_str).collect(),
        };
        return match callees.as_slice() {
            [] => denied("[capabilities] calls names no service"),
            [only] => Some(format!("the service {only}")),
            several => {
                Some(format!("the one of the services {} that exports it", several.join(", ")))
            }
        };
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
    fn an_import_of_another_service_says_which_one() {
        let carts = "shop:cart/carts@1.0.0";
        assert_eq!(
            access(carts, &manifest("")).as_deref(),
            Some("denied: [capabilities] calls names no service")
        );
        let calls = "[capabilities]\ncalls = [\"order\", \"stock\"]\n";
        assert_eq!(
            access(carts, &manifest(calls)).as_deref(),
            Some("the one of the services order, stock that exports it")
        );
        let chosen = manifest(&format!("{calls}[imports]\n\"shop:cart/carts\" = \"stock\"\n"));
        assert_eq!(access(carts, &chosen).as_deref(), Some("the service stock"));
        assert_eq!(unused(&[carts.to_owned()], &chosen), [""; 0]);
        assert_eq!(unused(&[], &chosen).len(), 2);
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
