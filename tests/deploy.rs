//! Deployment by file: what a user drops, and what becomes of it; and by an
//! operator's word.

mod busy_compiler;
mod canary;
mod canary_log;
mod changes;
mod command_line;
mod compatibility;
mod components;
mod deaths;
mod drains;
mod folder_and_operator;
mod full_disk;
mod host;
mod hostile_files;
mod hostile_registry;
mod hostile_texts;
mod load;
mod logs;
mod migrations;
mod notices;
pub mod operator;
mod providers;
mod refusals;
mod registries;
mod settings;
mod steering;
mod stopping;
mod uploads;
