//! Hotdock from the outside: the program itself, its services, and components
//! that were made to be difficult. One binary, so that it links once.

mod bench_invoke;
mod calls;
mod deploy;
mod ends;
mod events;
mod formats;
mod harness;
mod hostile;
mod http;
mod languages;
mod layers;
mod outbound;
mod readme;
mod shop;
mod state;
