//! Hotdock runs services compiled to WebAssembly components: HTTP in, durable
//! state of their own, and a newer version swapped in without a failed request.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | service | a named unit of deployment: `cart`; owns its routes and state |
//! | component | the `.wasm` bytes, known by their SHA-256 digest |
//! | reference | a component in a registry: `oci://registry/repository:tag@digest` |
//! | manifest | what the service declares: routes, limits, capabilities, migrations |
//! | version | one component and one manifest, immutable, numbered per service: `cart v3` |
//! | candidate | a version on its way in: compiled, validated, warmed |
//! | traffic | which versions of a service get which of its requests |
//! | deployment | a candidate's way to its traffic, with its steps and times |
//! | canary | a version on trial: given more of the traffic step by step |
//! | lease | a request's hold on a version; a version drains when its leases are gone |
//! | dependent | a service that imports an interface which another service exports |
//! | pending | of a file: it waits for a service to export what its candidate imports |
//! | writer lease | the right to run alone on a store's writer connection |
//! | instance | one instantiation of a version: its own memory, one invocation at a time |
//! | invocation | one run of a guest for somebody: a request, a delivery, or a call |
//! | call | an invocation of a service's exported function by another service |
//! | caller, callee | the service that calls, and the one that is called |
//! | transaction | the state reads and writes and the published events of one invocation |
//! | store | a service's own SQLite file |
//! | event | a CloudEvents 1.0 record; routed by its type, ordered by its partition key |
//! | bus | the durable event log |
//! | subscription | a service and a pattern over types, with a durable cursor |
//! | delivery | one attempt to hand an event to a subscription |
//! | dead letter | an event whose deliveries are used up or that was rejected |
//! | key | a client's `Idempotency-Key`; claimed while its request runs, kept with its answer |
//!
//! # Modules, in the order data flows through them
//!
//! A request: [`listen`] takes its connection, [`http`] reads it and finds its route, [`service`] says which
//! version has the traffic and admits it, [`invocation`] runs it in an instance of the [`runtime`],
//! [`state`] holds its transaction, and [`http`] sends the answer once that is
//! durable.
//!
//! An event: published in a transaction ([`state`]), relayed by [`events`] to the
//! [`bus`], read by its subscriptions, and run by [`invocation`] as a delivery whose
//! transaction has its effect. [`event`] is the record itself.
//!
//! A deployment: [`deploy`] watches the folder or takes what an operator uploads
//! ([`admin`]), compiles, validates, warms, swaps and drains, tries canaries, and
//! keeps its record in the data folder. [`component`] reads what a component's
//! bytes say of its interfaces, [`oci`] brings components from registries and
//! takes them there.
//!
//! A call: the guest's import ([`runtime`]) leaves by `calls`, which finds the service that exports
//! the function, and is run by [`invocation`] as one of that service's own.
//!
//! A service's own requests: [`outbound`] checks where they go and sends them.
//!
//! What ends all of them: [`alarm`] rings where a file fails.
//!
//! Besides them: [`manifest`] (what a service declares), [`config`] (what the
//! operator sets), [`admin`] (the operator's listener), [`telemetry`] (the log),
//! [`cli`] (the command line), [`escape`] (how both show texts of others),
//! [`clock`] (the time), [`processors`] (how many threads serve), [`room`]
//! (the disk's), [`allocator`], [`bench`](mod@bench) (what an invocation
//! costs, stage by stage) and [`app`], the only place that wires the parts.

#![warn(clippy::print_stderr, reason = "text of others is escaped where it is written")]

pub mod admin;
pub mod alarm;
pub mod allocator;
pub mod app;
pub mod bench;
pub mod bus;
mod calls;
pub mod cli;
pub mod clock;
pub mod component;
pub mod config;
mod deadline;
pub mod deploy;
pub mod digest;
mod drain;
pub mod escape;
pub mod event;
pub mod events;
mod failpoint;
mod files;
pub mod http;
pub mod invocation;
mod journal;
mod keeper;
pub mod listen;
pub mod machine;
pub mod manifest;
pub mod name;
pub mod oci;
pub mod outbound;
pub mod processors;
pub mod room;
pub mod runtime;
pub mod service;
mod sqlite;
pub mod state;
pub mod tally;
pub mod telemetry;
mod turns;
