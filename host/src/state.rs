//! stand-in
#![allow(missing_docs, clippy::all, unused)]
use std::sync::Arc;
use std::path::PathBuf;
use bytes::Bytes;
#[derive(Debug, Clone, Copy)]
pub enum Rerun { Leased, Alone }
#[derive(Debug, thiserror::Error)]
pub enum Error { #[error("rerun")] Rerun(Rerun), #[error("lease")] NeedsLease, #[error("e")] LeaseExpired, #[error("f")] Full, #[error("{0}")] Limit(String), #[error("x")] Sql(SqlError) }
#[derive(Debug)]
pub struct SqlError { pub kind: SqlErrorKind, pub message: String }
#[derive(Debug)]
pub enum SqlErrorKind { Syntax, Constraint, Parameters, Denied, Limit }
#[derive(Debug, Clone)]
pub enum Value { Null, Integer(i64), Real(f64), Text(String), Blob(Vec<u8>) }
pub struct Rows { pub columns: Vec<String>, pub values: Vec<Vec<Value>> }
pub struct Execution { pub changes: u64, pub last_insert_id: i64 }
pub struct KeyPage { pub keys: Vec<String>, pub next: Option<String> }
#[derive(Debug)]
pub struct Store;
pub struct Transaction;
pub struct Committed;
impl Store {
    pub fn new(path: PathBuf, service: &str) -> Arc<Store> { Arc::new(Store) }
    pub fn begin(self: &Arc<Self>) -> Transaction { Transaction }
    pub async fn begin_leased(self: &Arc<Self>, alone: bool) -> Result<Transaction, Error> { Ok(Transaction) }
}
impl Transaction {
    pub async fn get(&mut self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> { Ok(None) }
    pub async fn exists(&mut self, bucket: &str, key: &str) -> Result<bool, Error> { Ok(false) }
    pub async fn set(&mut self, bucket: &str, key: &str, value: Bytes) -> Result<(), Error> { Ok(()) }
    pub async fn delete(&mut self, bucket: &str, key: &str) -> Result<(), Error> { Ok(()) }
    pub async fn list_keys(&mut self, bucket: &str, after: Option<&str>, limit: usize) -> Result<KeyPage, Error> { Ok(KeyPage{keys:vec![],next:None}) }
    pub async fn query(&mut self, statement: &str, parameters: Vec<Value>) -> Result<Rows, Error> { todo!() }
    pub async fn execute(&mut self, statement: &str, parameters: Vec<Value>) -> Result<Execution, Error> { todo!() }
    pub async fn take_lease(&mut self) -> Result<(), Error> { Ok(()) }
    pub async fn rollback(&mut self) -> Result<(), Error> { Ok(()) }
    pub async fn commit(&mut self) -> Result<(), Error> { Ok(()) }
    pub async fn finish(self) -> Result<Committed, Error> { Ok(Committed) }
}
impl Committed { pub async fn durable(self) -> Result<(), Error> { Ok(()) } }
