//! From TOML to a [`Manifest`], reporting all that is wrong at once.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::fields::{Field, Fields};
use super::problem::{ManifestError, Problem, Problems};
use super::{
    Capabilities, Deploy, Instances, Limits, Manifest, Migration, OriginPattern, calls, canary,
    quantity, route, schedule, subscribe,
};
use crate::digest::Digest;
use crate::name::{InvalidServiceName, ServiceName};

/// The largest manifest that is read.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// How long a migration's name may be, in bytes.
const MAX_MIGRATION_NAME_BYTES: usize = 128;
/// How many origins a manifest may grant.
const MAX_ORIGINS: usize = 1000;

/// A manifest's text, and what messages call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestText {
    /// `cart.toml`, or `cart.wasm (hotdock.manifest)`.
    pub file: String,
    /// TOML.
    pub text: String,
}

impl Manifest {
    /// The manifest of `<stem>.wasm`: read from its text, or the default where
    /// there is none.
    ///
    /// # Errors
    /// Everything that is wrong with the text; or a stem that cannot name a
    /// service, where the text doesn't name it.
    pub fn read(stem: &str, text: Option<&ManifestText>) -> Result<Self, ManifestError> {
        let Some(ManifestText { file, text }) = text else {
            return name_from(stem).map(Self::default_for).map_err(|message| {
                let problem = Problem { file: format!("{stem}.wasm"), line: 1, column: 1, message };
                ManifestError { problems: vec![problem] }
            });
        };
        let mut problems = Problems::new(file, text);
        if text.len() > MAX_TEXT_BYTES {
            problems.report(&(0..0), format!("a manifest is at most {MAX_TEXT_BYTES} bytes long"));
            return Err(problems.into_error());
        }
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            problems.report(&error.span().unwrap_or_default(), error.message());
        }
        // What a broken text seems to say is not worth more messages.
        if problems.any() {
            return Err(problems.into_error());
        }
        let manifest = manifest(stem, document.get_ref(), &mut problems);
        match manifest {
            Some(manifest) if !problems.any() => {
                Ok(Self { digest: Digest::of(text.as_bytes()), ..manifest })
            }
            _ => Err(problems.into_error()),
        }
    }
}

fn manifest(stem: &str, document: &DeTable<'_>, problems: &mut Problems<'_>) -> Option<Manifest> {
    let mut fields = Fields::of("", document);
    let service = service(stem, fields.take("service"), problems);
    let routes = fields.take("route").map(|field| route::routes(&field, problems));
    let limits = section(&mut fields, "limits", problems, limits);
    let instances = section(&mut fields, "instances", problems, instances);
    let capabilities = section(&mut fields, "capabilities", problems, capabilities);
    let imports = fields.take("imports");
    let imports = imports.map(|field| calls::imports(&field, &capabilities.calls, problems));
    let deploy = section(&mut fields, "deploy", problems, deploy);
    let subscriptions =
        fields.take("subscribe").map(|field| subscribe::subscriptions(&field, problems));
    let schedules = fields.take("schedule").map(|field| schedule::schedules(&field, problems));
    let migrations = fields.take("migration").map(|field| migrations(&field, problems));
    fields.finish(problems);
    let defaults = Manifest::default_for(service?);
    Some(Manifest {
        routes_by_default: routes.is_none(),
        routes: routes.unwrap_or(defaults.routes),
        limits,
        instances,
        capabilities,
        imports: imports.unwrap_or_default(),
        deploy,
        subscriptions: subscriptions.unwrap_or_default(),
        schedules: schedules.unwrap_or_default(),
        migrations: migrations.unwrap_or_default(),
        ..defaults
    })
}

fn service(
    stem: &str,
    field: Option<Field<'_, '_>>,
    problems: &mut Problems<'_>,
) -> Option<ServiceName> {
    let mut named = None;
    if let Some(table) = field.and_then(|field| field.table(problems)) {
        let mut fields = Fields::of("[service] ", table);
        named = fields.take("name");
        fields.finish(problems);
    }
    match named {
        Some(field) => match field.text(problems)?.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                field.report(problems, format_args!("is wrong: {error}"));
                None
            }
        },
        None => name_from(stem).map_err(|message| problems.report(&(0..0), message)).ok(),
    }
}

/// The service of `<stem>.wasm`: a name has no underscores, and what cargo builds has no
/// hyphens.
///
/// # Errors
/// When it can be none.
pub fn service_name(stem: &str) -> Result<ServiceName, InvalidServiceName> {
    stem.replace('_', "-").parse()
}

fn name_from(stem: &str) -> Result<ServiceName, String> {
    // Where it is wrong, it is told as it is written.
    service_name(stem).or_else(|_| stem.parse::<ServiceName>()).map_err(|error| {
        format!(
            "{error}; rename `{stem}.wasm`, or name the service in its manifest (`[service] name`)"
        )
    })
}

/// A section's value; its default where it is absent.
fn section<'t, 'i, T: Default>(
    fields: &mut Fields<'t, 'i>,
    key: &'static str,
    problems: &mut Problems<'_>,
    read: impl FnOnce(&'t DeTable<'i>, &mut Problems<'_>) -> T,
) -> T {
    let table = fields.take(key).and_then(|field| field.table(problems));
    table.map(|table| read(table, problems)).unwrap_or_default()
}

/// Takes `$key` into `$into`, if it is there and as it should be.
macro_rules! take {
    ($fields:ident, $problems:ident, $key:literal, $into:expr, $read:ident($bounds:ident)) => {
        if let Some(value) =
            $fields.take($key).and_then(|field| field.$read(&quantity::$bounds, $problems))
        {
            $into = value.try_into().expect("the bounds fit the type");
        }
    };
}

fn limits(table: &DeTable<'_>, problems: &mut Problems<'_>) -> Limits {
    let mut fields = Fields::of("[limits] ", table);
    let mut limits = Limits::default();
    take!(fields, problems, "memory", limits.memory, size(MEMORY));
    take!(fields, problems, "table-elements", limits.table_elements, count(TABLE_ELEMENTS));
    take!(fields, problems, "handles", limits.handles, count(HANDLES));
    take!(fields, problems, "host-memory", limits.host_memory, size(HOST_MEMORY));
    take!(fields, problems, "log", limits.log, size(LOG));
    take!(fields, problems, "cpu", limits.cpu, duration(CPU));
    take!(fields, problems, "deadline", limits.deadline, duration(DEADLINE));
    take!(fields, problems, "body-idle", limits.body_idle, duration(BODY_TIME));
    if let Some(field) = fields.take("body-deadline") {
        limits.body_deadline = field.duration(&quantity::BODY_TIME, problems);
    }
    take!(fields, problems, "streams", limits.streams, count(STREAMS));
    take!(fields, problems, "concurrency", limits.concurrency, count(CONCURRENCY));
    take!(fields, problems, "queue", limits.queue, count(QUEUE));
    take!(
        fields,
        problems,
        "outbound-requests",
        limits.outbound_requests,
        count(OUTBOUND_REQUESTS)
    );
    take!(fields, problems, "request-body", limits.request_body, size(REQUEST_BODY));
    take!(fields, problems, "replay-body", limits.replay_body, size(REPLAY_BODY));
    take!(fields, problems, "response-buffer", limits.response_buffer, size(RESPONSE_BUFFER));
    take!(fields, problems, "response-body", limits.response_body, size(RESPONSE_BODY));
    fields.finish(problems);
    limits
}

fn instances(table: &DeTable<'_>, problems: &mut Problems<'_>) -> Instances {
    let mut fields = Fields::of("[instances] ", table);
    let mut instances = Instances::default();
    take!(fields, problems, "reuse", instances.reuse, count(REUSE));
    take!(fields, problems, "idle", instances.idle, duration(IDLE));
    fields.finish(problems);
    instances
}

fn capabilities(table: &DeTable<'_>, problems: &mut Problems<'_>) -> Capabilities {
    let mut fields = Fields::of("[capabilities] ", table);
    let outbound = fields.take("outbound").map(|field| outbound(&field, problems));
    let config = fields.take("config").and_then(|field| field.table(problems));
    let environment = fields.take("environment").and_then(|field| field.table(problems));
    let secrets = fields.take("secrets").and_then(|field| field.elements(problems));
    let calls = fields.take("calls").map(|field| calls::granted(&field, problems));
    fields.finish(problems);
    let mut capabilities = Capabilities {
        outbound: outbound.unwrap_or_default(),
        calls: calls.unwrap_or_default(),
        ..Capabilities::default()
    };
    for field in secrets.into_iter().flatten() {
        let Some(name) = field.text(problems) else { continue };
        if !is_secret_name(name) {
            field.report(
                problems,
                format_args!(
                    "`{name}` is no name of a secret: letters, digits, `_`, `-` and `.`, not first"
                ),
            );
        } else if !capabilities.secrets.insert(name.to_owned()) {
            field.report(problems, format_args!("names `{name}` twice"));
        }
    }
    let tables = [
        ("config", config, &mut capabilities.config),
        ("environment", environment, &mut capabilities.environment),
    ];
    for (name, table, into) in tables {
        for (key, value) in table.into_iter().flatten() {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                other => {
                    let (key, found) = (key.get_ref(), other.type_str());
                    let message = format!(
                        "`[capabilities] {name}.{key}` must be a text in quotes; found: {found}"
                    );
                    problems.report(&value.span(), message);
                    continue;
                }
            };
            let key = key.get_ref().to_string();
            if name == "environment" && !is_variable(&key, &text) {
                let message = format!(
                    "`[capabilities] environment.{key}` is no environment variable: its name is \
                     not empty and has no `=`, and neither has a NUL"
                );
                problems.report(&value.span(), message);
                continue;
            }
            into.insert(key, text);
        }
    }
    if let Some(name) =
        capabilities.secrets.iter().find(|&name| capabilities.config.contains_key(name))
    {
        let message = format!("`{name}` is both in `[capabilities] config` and in `secrets`");
        problems.report(&(0..0), message);
    }
    capabilities
}

/// As POSIX has them (Base Definitions, chapter 8).
fn is_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

/// It becomes the name of a file, in the operator's folder of secrets.
fn is_secret_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.starts_with('.') && !name.is_empty() && name.len() <= 128 && name.chars().all(allowed)
}

fn outbound(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Vec<OriginPattern> {
    let elements = field.elements(problems).unwrap_or_default();
    if elements.len() > MAX_ORIGINS {
        field.report(problems, format_args!("may have {MAX_ORIGINS} origins"));
        return Vec::new();
    }
    let mut origins = Vec::with_capacity(elements.len());
    for element in elements {
        let Some(text) = element.text(problems) else { continue };
        match text.parse() {
            Ok(origin) if origins.contains(&origin) => {
                element.report(problems, format_args!("has `{text}` twice"));
            }
            Ok(origin) => origins.push(origin),
            Err(error) => element.report(
                problems,
                format_args!(
                    "has `{text}`, which is no origin such as \"https://api.example.com\": {error}"
                ),
            ),
        }
    }
    origins
}

fn deploy(table: &DeTable<'_>, problems: &mut Problems<'_>) -> Deploy {
    let mut fields = Fields::of("[deploy] ", table);
    let mut deploy = Deploy::default();
    if let Some(field) = fields.take("health") {
        deploy.health = field.text(problems).map(str::to_owned);
        let valid = |path: &String| {
            path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok()
        };
        if deploy.health.as_ref().is_some_and(|path| !valid(path)) {
            field.report(problems, "must be a path that starts with `/`");
        }
    }
    take!(fields, problems, "drain", deploy.drain, duration(DRAIN));
    if let Some(allowed) = fields.take("allow-breaking").and_then(|field| field.yes_or_no(problems))
    {
        deploy.allow_breaking = allowed;
    }
    deploy.canary = fields.take("canary").and_then(|field| canary::canary(&field, problems));
    fields.finish(problems);
    deploy
}

fn migrations(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Vec<Migration> {
    let mut migrations: Vec<Migration> = Vec::new();
    for (table, span) in field.tables(problems) {
        let Some(migration) = migration(table, &span, problems) else { continue };
        if migrations.iter().any(|earlier| earlier.name == migration.name) {
            problems.report(&span, format!("migration `{}` is there twice", migration.name));
        }
        migrations.push(migration);
    }
    migrations
}

fn migration(
    table: &DeTable<'_>,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) -> Option<Migration> {
    let mut fields = Fields::of("[[migration]] ", table);
    let mut text = |key: &'static str| {
        let Some(field) = fields.take(key) else {
            problems.report(span, format!("`[[migration]]` has no `{key}`"));
            return None;
        };
        let text = field.text(problems)?;
        if text.trim().is_empty() {
            field.report(problems, "is empty");
        }
        if key == "name" && text.len() > MAX_MIGRATION_NAME_BYTES {
            field.report(problems, format_args!("is longer than {MAX_MIGRATION_NAME_BYTES} bytes"));
        }
        Some(text.to_owned())
    };
    let (name, sql) = (text("name"), text("sql"));
    fields.finish(problems);
    Some(Migration { name: name?, sql: sql? })
}

#[cfg(test)]
mod tests;
