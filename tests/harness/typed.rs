//! Components made of WIT alone: they export what their world says, can be
//! instantiated, and trap when they are called.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// The packages of WASI that the worlds name.
const WASI: &str = include_str!("../hostile/world.wit");
const EVENTS: &str = include_str!("../../wit/hotdock-events/events.wit");

pub const REQUESTS: &str = "export wasi:http/incoming-handler@0.2.0;";
pub const EVENT_HANDLER: &str = "export hotdock:events/handler@0.1.0;";

/// A component of the world with this content, and these packages beside those of
/// WASI and `hotdock:events`.
pub fn component(world: &str, packages: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_str("events.wit", EVENTS).expect("the events");
    let text = format!("{WASI}\nworld typed {{ {world} }}\n{packages}");
    let package = resolve.push_str("typed.wit", &text);
    let package = package.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let world = resolve.select_world(&[package], Some("typed")).expect("the world");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("a module with metadata");
    let mut encoder = ComponentEncoder::default().module(&module).expect("a module");
    encoder.encode().expect("a component")
}

/// A service that takes requests, and exports `shop:stock/stock` of this version
/// and content.
pub fn stock(version: &str, content: &str) -> Vec<u8> {
    component(
        &format!("{REQUESTS} export shop:stock/stock@{version};"),
        &format!("package shop:stock@{version} {{ interface stock {{ {content} }} }}"),
    )
}
