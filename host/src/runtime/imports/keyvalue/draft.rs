//! `wasi:keyvalue@0.2.0-draft`: cursors and increments are `u64`.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView as _;

use super::{Bucket, KeyValueError, Result};
use crate::runtime::imports::Host;
use crate::runtime::imports::bindings::wasi::keyvalue0_2_0_draft::{atomics, batch, store};
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
        match error {
            KeyValueError::NoSuchStore => Ok(store::Error::NoSuchStore),
            KeyValueError::Other(message) => Ok(store::Error::Other(message)),
            KeyValueError::Trap(error) => Err(error),
        }
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
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse> {
        let after = match cursor {
            None => None,
            Some(cursor) => {
                let cursors = &self.ctx().table.get(&bucket)?.cursors;
                let index = usize::try_from(cursor).ok().and_then(|cursor| cursor.checked_sub(1));
                let key = index.and_then(|index| cursors.get(index)).cloned();
                Some(key.ok_or_else(|| {
                    KeyValueError::Other(format!("cursor {cursor} was not given by this bucket"))
                })?)
            }
        };
        let page = super::list(self, &bucket, after.as_deref()).await?;
        let cursors = &mut self.ctx().table.get_mut(&bucket)?.cursors;
        let cursor = page.next.map(|key| {
            cursors.push(key);
            cursors.len() as u64
        });
        Ok(store::KeyResponse { keys: page.keys, cursor })
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
        delta: u64,
    ) -> Result<u64> {
        let sum =
            super::increment(self, &bucket, &key, |current| current + i128::from(delta)).await?;
        let sum = u64::try_from(sum).map_err(|_| {
            KeyValueError::Other(format!("`{key}` plus {delta} is out of the range of u64"))
        })?;
        super::set(self, &bucket, &key, sum.to_string().into()).await?;
        Ok(sum)
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
