//! Key-value buckets of the service's own store (`wasi:keyvalue`).

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::wasi::keyvalue::store;

/// A named collection of keys with their values. Reads see one snapshot for the
/// whole invocation, and the invocation's own writes.
#[derive(Debug)]
pub struct Bucket(store::Bucket);

/// Why a bucket could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host refused or failed.
    #[error("key-value store: {0}")]
    Store(String),
    /// The value is not JSON of the expected shape.
    #[error("the value of `{key}`: {source}")]
    Json {
        /// Whose value it is.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Bucket {
    /// Opens the bucket, which exists from its first key on.
    ///
    /// # Errors
    /// No bucket can have this name, or the host failed.
    pub fn open(name: &str) -> Result<Self, Error> {
        Ok(Self(store::open(name)?))
    }

    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// The host failed.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key)?)
    }

    /// The value of `key`, read as JSON.
    ///
    /// # Errors
    /// The host failed, or the value is not JSON of that shape.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let value = self.get(key)?;
        let value = value.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        value.map_err(|source| json(key, source))
    }

    /// Gives `key` this value.
    ///
    /// # Errors
    /// The host failed or a limit was met: 1 KiB for a key, 16 MiB for a value.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        Ok(self.0.set(key, value)?)
    }

    /// Gives `key` this value as JSON.
    ///
    /// # Errors
    /// As [`Bucket::set`], and when the value has no JSON form.
    pub fn set_json(&self, key: &str, value: &impl Serialize) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|source| json(key, source))?;
        self.set(key, &bytes)
    }

    /// Takes `key` away; not an error where it is absent.
    ///
    /// # Errors
    /// The host failed.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        Ok(self.0.delete(key)?)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// The host failed.
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.0.exists(key)?)
    }

    /// All keys, in no promised order, read page by page.
    ///
    /// # Errors
    /// The host failed.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.0.list_keys(cursor.as_deref())?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }
}

fn json(key: &str, source: serde_json::Error) -> Error {
    Error::Json { key: key.to_owned(), source }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(match error {
            store::Error::NoSuchStore => "no bucket can have this name".to_owned(),
            store::Error::AccessDenied => "the bucket is not for this service".to_owned(),
            store::Error::Other(message) => message,
        })
    }
}
