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
    let note = async {
        transaction.set(BUCKET, webhook, Bytes::from(url.to_string())).await?;
        transaction.finish().await?.durable().await
    };
    store.patiently("a note of an endpoint that is gone", note).await
}

/// Whether it is noted.
pub(super) async fn is_noted(store: &Arc<Store>, webhook: &str, url: &Uri) -> Result<bool, Error> {
    let mut transaction = store.begin();
    let read = transaction.get(BUCKET, webhook);
    let noted = store.patiently("which endpoints are gone", read).await?;
    Ok(noted.is_some_and(|noted| noted == url.to_string().as_bytes()))
}

/// Forgets it. Durable when it returns.
pub(super) async fn forget(store: &Arc<Store>, webhook: &str) -> Result<(), Error> {
    let mut transaction = store.begin();
    let forget = async {
        transaction.delete(BUCKET, webhook).await?;
        transaction.finish().await?.durable().await
    };
    store.patiently("forgetting that an endpoint is gone", forget).await
}
