//! Webhooks whose endpoints want no more events: noted in the webhooks' store, so that
//! the next start does not begin to send again.

use std::sync::Arc;

use bytes::Bytes;
use http::Uri;

use crate::state::{Error, Store};

/// By a webhook's name, the URL that answered so: another URL is another endpoint.
const BUCKET: &str = "gone";

/// Notes it. Durable when it returns.
pub(super) async fn note(store: &Arc<Store>, webhook: &str, url: &Uri) -> Result<(), Error> {
    let mut transaction = store.begin();
    transaction.set(BUCKET, webhook, Bytes::from(url.to_string())).await?;
    transaction.finish().await?.durable().await
}

/// Whether it is noted.
pub(super) async fn is_noted(store: &Arc<Store>, webhook: &str, url: &Uri) -> Result<bool, Error> {
    let noted = store.begin().get(BUCKET, webhook).await?;
    Ok(noted.is_some_and(|noted| noted == url.to_string().as_bytes()))
}

/// Forgets it. Durable when it returns.
pub(super) async fn forget(store: &Arc<Store>, webhook: &str) -> Result<(), Error> {
    let mut transaction = store.begin();
    transaction.delete(BUCKET, webhook).await?;
    transaction.finish().await?.durable().await
}
