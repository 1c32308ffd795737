//! `wasi:keyvalue@0.2.0-draft2`: cursors are keys, and there is compare-and-swap.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView as _;

use super::{Bucket, Cas, KeyValueError, Result};
use crate::runtime::imports::Host;
use crate::runtime::imports::bindings::wasi::keyvalue0_2_0_draft2::{atomics, batch, store};
use crate::runtime::instance::InstanceState;

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, Host>(linker, |state| state)?;
    atomics::add_to_linker::<_, Host>(linker, |state| state)?;
    batch::add_to_linker::<_, Host>(linker, |state| state)
}

impl store::Host for InstanceState {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>> {
        super::open(self, identifier)
    }

    fn convert_error(&mut self, error: KeyValueError) -> wasmtime::Result<store::Error> {
        guest_error(error)
    }
}

impl store::HostBucket for InstanceState {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>> {
        Ok(super::get(self, &bucket, &key).await?.map(Into::into))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<()> {
        super::set(self, &bucket, &key, value.into()).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<()> {
        super::delete(self, &bucket, &key).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool> {
        super::exists(self, &bucket, &key).await
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse> {
        let page = super::list(self, &bucket, cursor.as_deref()).await?;
        Ok(store::KeyResponse { keys: page.keys, cursor: page.next })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.ctx().table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for InstanceState {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64> {
        let sum =
            super::increment(self, &bucket, &key, |current| current + i128::from(delta)).await?;
        let sum = i64::try_from(sum).map_err(|_| {
            KeyValueError::Other(format!("`{key}` plus {delta} is out of the range of s64"))
        })?;
        super::set(self, &bucket, &key, sum.to_string().into()).await?;
        Ok(sum)
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<std::result::Result<(), atomics::CasError>> {
        let Cas { bucket, key, seen } = self.ctx().table.delete(cas)?;
        let bucket = self.ctx().table.push(Bucket { name: bucket, cursors: Vec::new() })?;
        let swapped = swap(self, &bucket, &key, seen, value).await;
        let Bucket { name, .. } = self.ctx().table.delete(bucket)?;
        Ok(match swapped {
            Ok(None) => Ok(()),
            Ok(Some(seen)) => {
                let again = self.ctx().table.push(Cas { bucket: name, key, seen })?;
                Err(atomics::CasError::CasFailed(again))
            }
            Err(error) => Err(atomics::CasError::StoreError(guest_error(error)?)),
        })
    }
}

/// Sets the value if it is still `seen`; what it is now otherwise.
async fn swap(
    state: &mut InstanceState,
    bucket: &Resource<Bucket>,
    key: &str,
    seen: Option<bytes::Bytes>,
    value: Vec<u8>,
) -> Result<Option<Option<bytes::Bytes>>> {
    // What others wrote meanwhile is met when the transaction is validated;
    // here the value can only differ by this invocation's own writes.
    let current = super::get(state, bucket, key).await?;
    if current != seen {
        return Ok(Some(current));
    }
    super::set(state, bucket, key, value.into()).await?;
    Ok(None)
}

impl atomics::HostCas for InstanceState {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>> {
        let seen = super::get(self, &bucket, &key).await?;
        let bucket = super::name(self, &bucket)?;
        Ok(self.ctx().table.push(Cas { bucket, key, seen })?)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>> {
        Ok(self.ctx().table.get(&cas)?.seen.clone().map(Into::into))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.ctx().table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for InstanceState {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>> {
        super::get_many(self, bucket, keys).await
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        super::set_many(self, bucket, pairs).await
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<()> {
        super::delete_many(self, bucket, keys).await
    }
}

fn guest_error(error: KeyValueError) -> wasmtime::Result<store::Error> {
    match error {
        KeyValueError::NoSuchStore => Ok(store::Error::NoSuchStore),
        KeyValueError::Other(message) => Ok(store::Error::Other(message)),
        KeyValueError::Trap(error) => Err(error),
    }
}
