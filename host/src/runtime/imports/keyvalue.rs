//! `wasi:keyvalue`: named buckets in the service's own store.
//!
//! Every operation is part of the invocation's transaction, so `increment`,
//! `swap` and the batches are atomic with everything else it does. A bucket
//! exists as soon as it is named.

mod draft;
mod draft2;

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{Linker, Resource, ResourceTableError};
use wasmtime_wasi::WasiView as _;

use super::{Abort, hold_to_read, hold_to_write};
use crate::runtime::account::TooMuchHeld;
use crate::runtime::instance::InstanceState;
use crate::runtime::pace::Pace;
use crate::state;

/// Bytes of a bucket's name.
const MAX_BUCKET_NAME: usize = 256;

/// The bucket that is meant where none is named, as in other hosts.
const DEFAULT_BUCKET: &str = "default";

/// Keys that one page of `list-keys` has at most.
const KEYS_PER_PAGE: usize = 1_000;

/// An open bucket: a name, and where the listings that run through it stand.
#[derive(Debug)]
pub struct Bucket {
    name: String,
    /// The last key of each page that was given out; 0.2.0-draft has numbers
    /// for cursors, which count these.
    cursors: Vec<String>,
}

/// A compare-and-swap handle: the key and the value seen last.
#[derive(Debug)]
pub struct Cas {
    bucket: String,
    key: String,
    seen: Option<Bytes>,
}

/// What a call comes to: an error for the guest, or the end of the run.
#[derive(Debug)]
pub enum KeyValueError {
    /// The bucket's name cannot be one.
    NoSuchStore,
    /// Anything else that the guest should read.
    Other(String),
    /// The run ends.
    Trap(wasmtime::Error),
}

type Result<T, E = KeyValueError> = std::result::Result<T, E>;

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    draft::add_to_linker(linker)?;
    draft2::add_to_linker(linker)
}

fn open(state: &mut InstanceState, identifier: String) -> Result<Resource<Bucket>> {
    if identifier.len() > MAX_BUCKET_NAME {
        return Err(KeyValueError::NoSuchStore);
    }
    let name = if identifier.is_empty() { DEFAULT_BUCKET.to_owned() } else { identifier };
    let bucket = Bucket { name, cursors: Vec::new() };
    Ok(state.ctx().table.push(bucket)?)
}

fn name(state: &mut InstanceState, bucket: &Resource<Bucket>) -> Result<String> {
    Ok(state.ctx().table.get(bucket)?.name.clone())
}

async fn get(
    state: &mut InstanceState,
    bucket: &Resource<Bucket>,
    key: &str,
) -> Result<Option<Bytes>> {
    let name = name(state, bucket)?;
    Ok(hold_to_read(state).await?.transaction().get(&name, key).await?)
}

async fn exists(state: &mut InstanceState, bucket: &Resource<Bucket>, key: &str) -> Result<bool> {
    let name = name(state, bucket)?;
    Ok(hold_to_read(state).await?.transaction().exists(&name, key).await?)
}

async fn set(
    state: &mut InstanceState,
    bucket: &Resource<Bucket>,
    key: &str,
    value: Bytes,
) -> Result<()> {
    let name = name(state, bucket)?;
    Ok(hold_to_write(state)?.transaction().set(&name, key, value).await?)
}

async fn delete(state: &mut InstanceState, bucket: &Resource<Bucket>, key: &str) -> Result<()> {
    let name = name(state, bucket)?;
    Ok(hold_to_write(state)?.transaction().delete(&name, key).await?)
}

async fn list(
    state: &mut InstanceState,
    bucket: &Resource<Bucket>,
    after: Option<&str>,
) -> Result<state::KeyPage> {
    let name = name(state, bucket)?;
    Ok(hold_to_read(state).await?.transaction().list_keys(&name, after, KEYS_PER_PAGE).await?)
}

/// Adds to a number, which is stored as decimal text; an absent key counts as 0.
async fn increment(
    state: &mut InstanceState,
    bucket: &Resource<Bucket>,
    key: &str,
    add: impl FnOnce(i128) -> i128,
) -> Result<i128> {
    let current = match get(state, bucket, key).await? {
        None => 0,
        Some(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.parse::<i128>().ok())
            .ok_or_else(|| KeyValueError::Other(format!("the value of `{key}` is not a number")))?,
    };
    Ok(add(current))
}

async fn get_many(
    state: &mut InstanceState,
    bucket: Resource<Bucket>,
    keys: Vec<String>,
) -> Result<Vec<Option<(String, Vec<u8>)>>> {
    let (account, mut pace) = (Arc::clone(&state.account), Pace::start());
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        let value = get(state, &bucket, &key).await?;
        pace.step(&account, value.as_ref().map_or(0, Bytes::len)).await?;
        values.push(value.map(|value| (key, value.into())));
    }
    Ok(values)
}

async fn set_many(
    state: &mut InstanceState,
    bucket: Resource<Bucket>,
    pairs: Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let (account, mut pace) = (Arc::clone(&state.account), Pace::start());
    for (key, value) in pairs {
        pace.step(&account, value.len()).await?;
        set(state, &bucket, &key, value.into()).await?;
    }
    Ok(())
}

async fn delete_many(
    state: &mut InstanceState,
    bucket: Resource<Bucket>,
    keys: Vec<String>,
) -> Result<()> {
    let (account, mut pace) = (Arc::clone(&state.account), Pace::start());
    for key in keys {
        pace.step(&account, 0).await?;
        delete(state, &bucket, &key).await?;
    }
    Ok(())
}

impl From<state::Error> for KeyValueError {
    fn from(error: state::Error) -> Self {
        match error {
            state::Error::Limit(message) => Self::Other(message),
            error => Self::Trap(Abort(error).into()),
        }
    }
}

impl From<super::Answered> for KeyValueError {
    fn from(_: super::Answered) -> Self {
        super::Unwritable::Answered.into()
    }
}

impl From<super::Unwritable> for KeyValueError {
    fn from(unwritable: super::Unwritable) -> Self {
        Self::Other(unwritable.to_string())
    }
}

impl From<TooMuchHeld> for KeyValueError {
    fn from(error: TooMuchHeld) -> Self {
        Self::Trap(error.into())
    }
}

impl From<ResourceTableError> for KeyValueError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}
